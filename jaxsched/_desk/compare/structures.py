"""The structure of a schedule as the unknown: its composition, its warmup, its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.compare import sentences
from jaxsched._desk.compare.clocks import fixed
from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.compare.solve import Unknown
from jaxsched._desk.compare.unknowns import members_in, moved, with_changes
from jaxsched._desk.placed import epoch_lengths, is_warmup
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR, clamp
from jaxsched._schedules.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from jaxsched._schedules.epochs import per_epoch, smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_DECAYS = 10**4


def structures(reading: Reading, log: Log) -> Iterator[Unknown]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    yield from _smoothness(reading, log)
    late = _late_in_optax(reading, int(log.counts[-1]))
    yield fixed(late, sentences.OPTAX_LATE, cost=2, needs=2)
    for path, member in members_in(reading.schedule):
        if isinstance(member, (SequentialLR, ChainedScheduler)):
            yield from _compositions(reading, path, member)
        elif isinstance(member, clamp):
            free = with_changes(reading, {path: member.schedule})
            yield fixed(free, sentences.not_clamped(member.last_count), cost=1, needs=2)
        else:
            for other in _classes(member):
                variant = with_changes(reading, {path: other})
                yield fixed(variant, sentences.another_class(member, other), cost=3.5)
            if isinstance(member, CosineAnnealingLR):
                held = with_changes(reading, {path: clamp(member, member.T_max)})
                yield fixed(held, sentences.clamped(member.T_max), cost=2, needs=2)
    yield from _added_warmups(reading, log)
    yield Unknown(
        lambda last: reading.shifted(
            lambda counts: np.minimum(counts, last), lambda s: clamp(s, last)
        ),
        int(log.counts[-1]),
        sentences.clamped,
        cost=2,
        values=lambda log: [int(log.counts[log.changes[-1]])] if len(log.changes) else [],
    )


# -- smooth or in steps --------------------------------------------------------------------------


def _rebuilt(reading: Reading, change: Callable[[Any], Any]) -> Reading | None:
    try:
        schedule = reading.schedule._rebuilt(change)
    except (TypeError, ValueError):
        return None
    return None if schedule is reading.schedule else reading._replace(schedule=schedule)


def _smoothness(reading: Reading, log: Log) -> Iterator[Unknown]:
    def decay(member: Any) -> Any:
        if isinstance(member, StepLR) and member.gamma:
            return ExponentialLR(member.base_lr, member.gamma ** (1 / member.step_size))
        return member

    def epochs(member: Any) -> Any:
        return smooth_epochs(*member._values()) if isinstance(member, per_epoch) else member

    def stand_still(member: Any) -> Any:
        return per_epoch(*member._values()) if isinstance(member, smooth_epochs) else member

    for change in (epochs, decay, lambda member: epochs(decay(member))):
        smooth = fixed(_rebuilt(reading, change), sentences.SMOOTH, cost=2)
        yield smooth._replace(is_last=change is not epochs)
    lengths = [*epoch_lengths(reading.schedule)]
    if still := _rebuilt(reading, stand_still):
        yield fixed(still, sentences.stands_still(lengths[0]), cost=2)
    yield Unknown(
        lambda n: (
            reading.shifted(lambda counts: counts // n * n) if n > 1 and not lengths else None
        ),
        1,
        sentences.stands_still,
        cost=1,
        needs=3,
        values=lambda log: [int(np.diff(log.counts[log.changes[:2]]).sum())],
    )


def _late_in_optax(reading: Reading, last: int) -> Reading | None:
    def in_updates(member: Any) -> Any:
        if isinstance(member, per_epoch) and isinstance(step := member.schedule, StepLR):
            if isinstance(length := member.steps_per_epoch, int):
                return StepLR(step.base_lr, step.step_size * length, step.gamma)
        return member

    def with_late(member: Any) -> Any:
        if not isinstance(member, StepLR) or last // member.step_size > _MOST_DECAYS:
            return member
        counts = member.step_size * np.arange(1, last // member.step_size + 1)
        # XLA divides by a constant through its reciprocal, in float32.
        reciprocal = np.float32(1) / np.float32(member.step_size)
        is_late = np.floor(counts.astype(np.float32) * reciprocal) < counts // member.step_size
        late = MultiStepLR(member.base_lr, counts + is_late, member.gamma)
        return late if is_late.any() else member

    return _rebuilt(_rebuilt(reading, in_updates) or reading, with_late)


# -- compositions --------------------------------------------------------------------------------


def _compositions(reading: Reading, path: Any, whole: Any) -> Iterator[Unknown]:
    """Without its warmup, and SequentialLR for ChainedScheduler, or the other way round."""
    members = whole.schedulers
    is_chain = isinstance(whole, ChainedScheduler)
    for i, warmup in enumerate(members):
        if len(members) > 1 and is_warmup(warmup) and (is_chain or i == 0):
            for rest in _without(whole, i):
                variant = with_changes(reading, {path: rest})
                yield fixed(variant, sentences.no_warmup(warmup), cost=1)
    others: list[Any] = []
    try:
        if not is_chain:
            others = [ChainedScheduler(members)]
        elif all(hasattr(member, "total_iters") for member in members[:-1]):
            lengths = [member.total_iters for member in members[:-1]]  # pyright: ignore[reportAttributeAccessIssue]
            others = [SequentialLR(members, np.cumsum(lengths).tolist())]
    except ValueError:
        pass
    if not is_chain:
        yield from _on_other_clocks(reading, path, whole)
    for other in others:
        variant = with_changes(reading, {path: other})
        yield fixed(variant, sentences.another_composition(other), cost=2, needs=2)


def _without(whole: Any, i: int) -> Iterator[Any]:
    members = [member for j, member in enumerate(whole.schedulers) if j != i]
    if isinstance(whole, ChainedScheduler):
        yield members[0] if len(members) == 1 else ChainedScheduler(members)
    elif len(members) == 1:
        yield members[0]
        yield moved(members[0], whole.milestones[0])  # which may decay where it did
    else:
        first, *later = whole.milestones
        yield SequentialLR(members, [milestone - first for milestone in later])


def _on_other_clocks(reading: Reading, path: Any, whole: SequentialLR) -> Iterator[Unknown]:
    """Milestones that count from the start of the run, where the member's own clock was meant."""
    for i, start in enumerate(whole.milestones, 1):
        member = whole.schedulers[i]
        for by, when in ((-start, "earlier"), (start, "later")):
            other: Any = moved(member, by)
            if other is member:
                continue
            (decay,) = (m for m in other._walk() if isinstance(m, MultiStepLR))
            variant = with_changes(reading, {(*path, ("schedulers", i)): other})
            yield fixed(variant, sentences.milestones_clock(decay, start, when), cost=1)


def _added_warmups(reading: Reading, log: Log) -> Iterator[Unknown]:
    """One before the schedule, from the first row's learning rate on, of a length to solve for."""
    peak, start = log.value(reading, 0), float(log.lrs[0])
    if not 0 <= start < peak or log.top < 2 or any(map(is_warmup, reading.schedule._walk())):
        return

    def add(n: int, compose: Callable[..., Schedule]) -> Reading | None:
        try:
            warmup = LinearLR(peak, start / peak, total_iters=n)
            return reading._replace(schedule=compose(warmup, reading.schedule, n))
        except (TypeError, ValueError):  # no factor of one base_lr
            return None

    for compose in (
        lambda warmup, rest, n: SequentialLR([warmup, rest], [n]),
        lambda warmup, rest, n: ChainedScheduler([warmup, rest]),
    ):
        yield Unknown(
            lambda n, compose=compose: add(n, compose),
            int(log.counts[log.top]),
            lambda n: sentences.added_warmup(start, n),
            cost=1,
            needs=3,
        )


# -- classes -------------------------------------------------------------------------------------


def _classes(member: Any) -> Iterator[Any]:
    """Schedules of another class with the same ends."""

    def built(cls: Any, *arguments: Any) -> list[Any]:
        try:
            return [cls(*arguments)] if cls is not type(member) else []
        except ValueError:
            return []

    match member:
        case CosineAnnealingLR(base_lr=top, T_max=n, eta_min=end):
            pass
        case CosineAnnealingWarmRestarts(base_lr=top, T_0=n, eta_min=end):
            pass
        case PolynomialLR(base_lr=top, total_iters=n):
            end = 0.0
        case LinearLR(base_lr=base, start_factor=first, end_factor=last, total_iters=n) if first:
            top, end = base * first, base * last
            yield from built(ConstantLR, base, first, n)
        case ConstantLR(base_lr=base, factor=factor, total_iters=n):
            yield from built(LinearLR, base, factor, 1.0, n)
            return
        case StepLR(base_lr=top, step_size=n, gamma=gamma):
            yield from built(MultiStepLR, top, [n], gamma)
            yield from built(ExponentialLR, top, gamma)
            return
        case MultiStepLR(base_lr=top, milestones=(n, *_), gamma=gamma) if n:
            yield from built(StepLR, top, n, gamma)
            return
        case _:
            return
    yield from built(CosineAnnealingLR, top, n, end)
    yield from built(CosineAnnealingWarmRestarts, top, n, 1, end)
    yield from built(LinearLR, top, 1.0, end / top if top else 0.0, n)
    if not end:
        yield from built(PolynomialLR, top, n)


def tables(reading: Reading, log: Log) -> Iterator[Unknown]:
    """A recording, or the table of a function, times a number."""
    found = [(path, m) for path, m in members_in(reading.schedule) if isinstance(m, RecordedLR)]
    if found:

        def make(factor: float) -> Reading | None:
            changes = {path: RecordedLR(factor * member.values) for path, member in found}
            return with_changes(reading, changes)

        yield Unknown(make, 1.0, sentences.times_a_table, cost=1, needs=1)
