"""The parts of a schedule: their counts, their unit, and until when they have an effect."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from jaxsched._base.arguments import integer, is_array
from jaxsched._base.hints import describe
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR, clamp
from jaxsched._schedules.cycle import OneCycleLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, StepLR
from jaxsched._schedules.epochs import Clock, per_epoch, smooth_epochs


def size(name: str, value: Any) -> int:
    """An integer >= 1, and no array: a number of counts, or of updates in an epoch."""
    if is_array(value):
        raise TypeError(f"`{name}` must be an integer >= 1, got {describe(value)}")
    return integer(at_least=1)(name, value)


class Placed(NamedTuple):
    """A schedule in a schedule, and where it is."""

    schedule: Schedule
    at: Callable[[int], int]
    """The count of the whole at which this schedule is at its own count."""
    stop: float
    """The count of the whole from which it has no effect."""
    adapter: per_epoch | smooth_epochs | None
    """What turns its epochs into updates."""
    whole: Callable[[Schedule], Schedule]
    """The whole with another schedule in the place of this one."""


def placed(
    schedule: Schedule,
    at: Callable[[int], int] = lambda count: count,
    stop: float = math.inf,
    adapter: per_epoch | smooth_epochs | None = None,
    whole: Callable[[Schedule], Schedule] = lambda schedule: schedule,
) -> Iterator[Placed]:
    """The schedule, its members, their members, and so on, each with its own clock and unit."""
    yield Placed(schedule, at, stop, adapter, whole)

    def around(name: str, i: int | None = None) -> Callable[[Schedule], Schedule]:
        def with_another(new: Schedule) -> Schedule:
            old = getattr(schedule, name)
            value = new if i is None else (*old[:i], new, *old[i + 1 :])
            return whole(dataclasses.replace(schedule, **{name: value}))  # pyright: ignore[reportArgumentType]

        return with_another

    match schedule:
        case SequentialLR(schedulers=members, milestones=milestones):
            stops = [*map(at, milestones), math.inf]
            for i, (start, end) in enumerate(zip((0, *milestones), stops, strict=True)):
                shifted = lambda count, start=start: at(start + count)  # noqa: E731
                inside = around("schedulers", i)
                yield from placed(members[i], shifted, min(stop, end), adapter, inside)
        case ChainedScheduler(schedulers=members):
            for i, inner in enumerate(members):
                yield from placed(inner, at, stop, adapter, around("schedulers", i))
        case clamp(schedule=inner, last_count=last):
            is_smooth = isinstance(adapter, smooth_epochs)  # then it holds from `last` itself on
            end = at(last) + 1 if is_smooth else at(last + 1)
            yield from placed(inner, at, min(stop, end), adapter, around("schedule"))
        case per_epoch(schedule=inner) | smooth_epochs(schedule=inner):
            clock = schedule._clock
            in_updates = lambda epoch: at(clock.first_update(epoch, PYTHON))  # noqa: E731
            yield from placed(inner, in_updates, stop, schedule, around("schedule"))


class Beyond(NamedTuple):
    """After the last update of a OneCycleLR torch runs on along its formula, for one count."""

    at: int
    lr: float

    @classmethod
    def of(cls, schedule: Any) -> Beyond | None:
        """Of a schedule that ends in a OneCycleLR."""
        start = 0
        while isinstance(schedule, SequentialLR):
            start += schedule.milestones[-1] if schedule.milestones else 0
            schedule = schedule.schedulers[-1]
        if not isinstance(schedule, OneCycleLR):
            return None
        _, _, length, first_lr, last_lr = schedule._phases[-1]
        left = -1 / length
        if schedule.anneal_strategy == "cos":
            left = PYTHON.half_wave(left)
        return cls(start + schedule._total, last_lr + (first_lr - last_lr) * left)


def is_warmup(member: Any) -> TypeGuard[ConstantLR | LinearLR]:
    return isinstance(member, ConstantLR) or (
        isinstance(member, LinearLR) and member.start_factor < member.end_factor
    )


def epoch_lengths(schedule: Any) -> set[int | tuple[int, ...]]:
    """The `steps_per_epoch` that it names. If there are any, its counts are updates."""
    found = set()
    for member in schedule._walk() if isinstance(schedule, Schedule) else ():
        if isinstance(member, (per_epoch, smooth_epochs)):
            found.add(member.steps_per_epoch)
        elif isinstance(member, OneCycleLR) and member.total_steps is None:
            found.add(member.steps_per_epoch)
    return found


def clock_of(schedule: Any, steps_per_epoch: Any) -> Clock | None:
    """How epochs become updates: as given, or as the schedule names it."""
    if steps_per_epoch is not None:
        return Clock(steps_per_epoch)
    named = epoch_lengths(schedule)
    return Clock(*named) if len(named) == 1 else None


def epoch_length(schedule: Any, steps_per_epoch: Any) -> int | None:
    """Updates in an epoch, if all have as many: as given, or as the schedule names it."""
    if steps_per_epoch is not None:
        return size("steps_per_epoch", steps_per_epoch)
    clock = clock_of(schedule, None)
    return clock.lengths if clock and isinstance(clock.lengths, int) else None


def default_counts(schedule: Schedule) -> int:
    """A bit past the last change, or one period, or until little is left; else 100."""
    counts = 0
    for member in placed(schedule):
        inner: Any = member.schedule
        if n := inner._length(0.01):
            after = member.at(n + (inner.step_size if isinstance(inner, StepLR) else 1))
            if isinstance(member.adapter, smooth_epochs):
                after = member.at(n) + 1
            counts = max(counts, int(min(after, member.stop)))
    counts = counts or 100
    return min(counts + counts // 20 + 1 if holds(schedule, counts) else counts, 10**6)


def holds(schedule: Schedule, num_counts: int) -> bool:
    """Whether the last value of that many counts stays."""
    course = schedule._course(np.float64)
    return course is not None and not course.period and course.starts[-1] < num_counts


def moves(schedule: Schedule) -> bool:
    """Whether a part moves at each count: a cosine does, and does not inside of per_epoch."""
    return any(
        member.schedule._is_smooth
        and len([*member.schedule._walk()]) == 1
        and not isinstance(member.adapter, per_epoch)
        for member in placed(schedule)
    )
