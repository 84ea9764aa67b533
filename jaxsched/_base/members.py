"""Arguments that are schedules: the members of an adapter or a composition."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxsched._base.arguments import Function, function, is_list
from jaxsched._base.hints import describe, hint_for_list, is_optimizer
from jaxsched._base.schedule import Schedule
from jaxsched._base.value import argument

if TYPE_CHECKING:
    from jaxsched._base.arguments import Field


class _Function(Schedule):
    """A user's own callable `count -> value` as a schedule."""

    _is_traced = True

    fn: Function = argument(function, static=True)

    def _value(self, count, fraction, ops):
        return ops.call(self.fn, count + fraction, "`schedule`")

    def __repr__(self) -> str:
        return repr(self.fn)


if TYPE_CHECKING:
    Member = Field[Function, Schedule]
    Members = Field[Sequence[Function], tuple[Schedule, ...]]
else:  # what is kept
    Member, Members = Schedule, tuple[Schedule, ...]


def as_schedule(name: str, value: Any) -> Schedule:
    """A schedule; any other callable `count -> value` is made one."""
    return value if isinstance(value, Schedule) else _Function(function(name, value))


def as_schedules(name: str, value: Any) -> tuple[Schedule, ...]:
    if not is_list(value) or is_optimizer(value):
        got = f"{describe(value)}{hint_for_list(value, members=True)}"
        raise TypeError(f"`{name}` must be a sequence of schedules, got {got}")
    schedules = tuple(as_schedule(f"{name}[{i}]", schedule) for i, schedule in enumerate(value))
    if not schedules:
        raise ValueError(f"`{name}` must be a sequence of schedules, got {value!r}: none")
    return schedules


def shorten(schedule: Schedule) -> str:
    """Its repr, shortened for a message: the repr of a recording can be very long."""
    return textwrap.shorten(repr(schedule)[:1000], 200, placeholder=" ...")
