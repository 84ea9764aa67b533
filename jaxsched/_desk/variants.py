"""Schedules like the given one, with one thing changed: what the mistakes are tried with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxsched._base.value import Frozen
from jaxsched._desk.curve import epoch_lengths
from jaxsched._desk.diagnose import Reading
from jaxsched._schedules.epochs import per_epoch, smooth_epochs


def schedules_in(schedule: Frozen) -> list[Any]:
    """The schedule, its members, their members, and so on."""
    return [*schedule._walk()]


def is_adapter(member: Any) -> bool:
    return isinstance(member, (per_epoch, smooth_epochs))


def variant_of(reading: Reading, change: Callable[[Any], Any]) -> Reading | None:
    """The reading with a changed schedule; None if nothing changes, or a schedule refuses it."""
    try:
        schedule = reading.schedule._rebuilt(change)
    except (TypeError, ValueError):
        return None
    return None if schedule is reading.schedule else reading._replace(schedule=schedule)


def setting(name: str, old: Any, new: Any) -> Callable[[Any], Any]:
    """The change of an argument that has the old value, wherever it stands, to the new one."""

    def change(member: Any) -> Any:
        is_it = name in member._checks and getattr(member, name) == old
        return dataclasses.replace(member, **{name: new}) if is_it else member

    return change


def replacing(old: Any, new: Any) -> Callable[[Any], Any]:
    return lambda member: new if member is old else member


def values_of(schedule: Frozen, *names: str) -> dict[tuple[str, Any], None]:
    """The different values of these arguments, anywhere in the schedule."""
    found = [(n, member) for member in schedule._walk() for n in names if n in member._checks]
    return dict.fromkeys((name, getattr(member, name)) for name, member in found)


def whole_epoch_lengths(schedule: Any) -> list[int]:
    return sorted(n for n in epoch_lengths(schedule) if isinstance(n, int))
