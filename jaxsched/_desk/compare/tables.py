"""A schedule as the tools read it: in Python's numbers, and functions as tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import COUNT_MAX
from jaxsched._base.functions import FunctionDiffers
from jaxsched._base.members import as_schedule
from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import MOST_TABULATED, concrete, curve
from jaxsched._desk.logs.record import Record
from jaxsched._desk.placed import default_counts, epoch_lengths
from jaxsched._schedules.custom import MultiplicativeLR, RecordedLR
from jaxsched._schedules.epochs import Clock, per_epoch


class Known(NamedTuple):
    """A schedule on the host."""

    schedule: Any
    horizon: int
    """At how many counts it is known."""
    functions: dict[int, Schedule]
    """What each table in it stands for, by the table's id."""

    def with_functions(self, schedule: Any) -> Any:
        """A schedule made of this one, with the functions again. None if it has other tables."""
        if not self.functions or schedule is None:
            return schedule
        tables = [m for m in schedule._walk() if isinstance(m, RecordedLR)]
        if any(id(table) not in self.functions for table in tables):
            return None
        return schedule._rebuilt(lambda member: self.functions.get(id(member), member))


def of_schedule(other: Any, schedule: Any, clock: Clock | None) -> tuple[Record, tuple[str, ...]]:
    """The rows of a schedule in the place of a log, until both are over and once more as long.

    Those that have no end are compared at some far counts, too.
    """
    both = [concrete(other), concrete(schedule)]
    if clock is not None:
        both = [x if epoch_lengths(x) else per_epoch(x, clock.lengths) for x in both]
    known = [x for x in both if isinstance(x, Schedule)]
    num_counts = min(2 * max([500, *map(default_counts, known)]), MOST_TABULATED - 2)
    counts = np.arange(num_counts)
    is_plain = len(known) == 2 and not any(m._is_traced for x in known for m in x._walk())
    if is_plain:
        counts = np.append(counts, np.unique(num_counts * 1.25 ** np.arange(1, 64)).astype(int))
    lrs = curve(both[0], num_counts) if not is_plain else both[0](counts)
    what = f"They are compared at counts 0 to {num_counts - 1:,}"
    note = f"{what} and at some as far as {counts[-1]:,}." if is_plain else f"{what}."
    record = Record(lrs, np.zeros(len(lrs)), "", counts, "count", False, None, None, [], "", ())
    return record, (note,)


def tabulated(schedule: Any, num_counts: int) -> Known:
    """The schedule in Python's numbers, and at how many counts it is known.

    Functions become tables, since calling one for each row takes long.
    """
    if not isinstance(schedule, Schedule):
        if num_counts > MOST_TABULATED:
            raise ValueError(
                f"`recorded` must have counts below {MOST_TABULATED:,} for a function that is no "
                f"schedule, got {num_counts - 2:,}"
            )
        table = RecordedLR(curve(schedule, num_counts))
        return Known(table, num_counts, {id(table): as_schedule("schedule", schedule)})
    functions: dict[int, Schedule] = {}

    def in_table(member: Any) -> Any:
        if not _calls(member):
            return member
        counts = np.arange(num_counts)
        try:  # as the optimizer calls it
            with jax.enable_x64(True):
                table = RecordedLR(np.asarray(jax.jit(member)(jnp.asarray(counts))))
        except (TypeError, FunctionDiffers):  # JAX does not trace it, and Python's numbers count
            table = RecordedLR(member(counts))
        functions[id(table)] = member
        return table

    schedule = concrete(schedule)
    if num_counts <= MOST_TABULATED and any(map(_calls, schedule._walk())):
        try:
            return Known(schedule._rebuilt(in_table), num_counts, functions)
        except ValueError:  # smooth_epochs takes no table, and a table no negative number
            pass
    return Known(schedule, COUNT_MAX, {})


def _calls(member: Any) -> bool:
    """Whether it calls a function: at each count, or for a table that each copy makes again."""
    return member._is_traced or isinstance(member, MultiplicativeLR)
