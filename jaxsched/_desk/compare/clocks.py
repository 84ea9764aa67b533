"""The clock of a log as the unknown: late, early, faster, slower, begun again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._desk.compare import sentences
from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.compare.solve import Unknown, wrong_rows
from jaxsched._desk.compare.unknowns import members_in, with_changes
from jaxsched._desk.curve import MOST_TABULATED
from jaxsched._desk.placed import epoch_lengths, is_warmup
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR
from jaxsched._schedules.decay import ConstantLR
from jaxsched._schedules.epochs import per_epoch, smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_TRIED = 64
_MANY = 10


def fixed(reading: Reading | None, finding: Any, cost: float, needs: int = 1) -> Unknown:
    """What has nothing to solve for."""
    return Unknown(lambda _: reading, 0, lambda _: finding, cost, needs, lambda _: [0])


def clocks(reading: Reading) -> Iterator[Unknown]:
    schedule = reading.schedule
    lengths = sorted(n for n in epoch_lengths(schedule) if isinstance(n, int) and n > 1)
    for by, unit in [(1, "count"), *((length, "epoch") for length in lengths)]:
        yield fixed(_ahead(reading, by), sentences.early(unit, by), cost=2)
        yield fixed(_behind(reading, by), sentences.late(unit), cost=2)
    if isinstance(schedule, ReduceLROnPlateau):
        return
    for old in lengths:  # the first two changes may show it where another thing is other, too
        yield Unknown(
            lambda new, old=old: _of_length(reading, old, new) if new not in (0, old) else None,
            old,
            lambda new, old=old: sentences.epoch_length(old, new),
            cost=1,
            values=lambda log: [int(np.diff(log.counts[log.changes[:2]]).sum())],
        )
    still = reading.shifted(lambda counts: 0 * counts, lambda s: ConstantLR(s(0), 1.0))
    yield fixed(still, sentences.NEVER_STEPPED, cost=0)
    for path, whole in members_in(schedule):
        if isinstance(whole, (SequentialLR, ChainedScheduler)):
            for i, member in enumerate(whole.schedulers):
                if is_warmup(member) and member.total_iters > 1:
                    early = with_changes(reading, {(*path, ("schedulers", i)): _one_ahead(member)})
                    finding = sentences.early_member(type(member).__name__)
                    yield fixed(early, finding, cost=2)
    yield Unknown(
        lambda by: _behind(reading, by) if by > 1 else None, 1, sentences.skipped, cost=2, needs=2
    )
    yield Unknown(
        lambda by: _ahead(reading, by) if by > 1 else None, 1, sentences.ahead, cost=4, needs=3
    )
    for change, tell in (
        (_slower, sentences.updates_for_epochs),
        (_faster, sentences.faster),
    ):
        yield Unknown(
            lambda k, change=change: change(reading, k) if k > 1 else None,
            1,
            tell,
            # Many counts are rather the updates of an epoch than another argument.
            cost=lambda k: 2 if k < _MANY else -0.5,
            needs=3,
        )


def _of_length(reading: Reading, old: int, new: int) -> Reading:
    def other(member: Any) -> Any:
        if isinstance(member, (per_epoch, smooth_epochs)) and member.steps_per_epoch == old:
            return type(member)(member.schedule, new)
        return member

    return reading._replace(schedule=reading.schedule._rebuilt(other))


def _ahead(reading: Reading, by: int) -> Reading:
    return reading.shifted(lambda counts: counts + by)


def _behind(reading: Reading, by: int) -> Reading:
    return reading.shifted(
        lambda counts: np.maximum(counts - by, 0),
        lambda s: SequentialLR([ConstantLR(s(0), 1.0), s], [by]),
    )


def _slower(reading: Reading, k: int) -> Reading | None:
    if epoch_lengths(reading.schedule):
        return None
    return reading.shifted(lambda counts: counts // k, lambda s: per_epoch(s, k))


def _faster(reading: Reading, k: int) -> Reading:
    return reading.shifted(lambda counts: counts * k)


def _one_ahead(warmup: Any) -> Any:
    total = warmup.total_iters
    if isinstance(warmup, ConstantLR):
        return dataclasses.replace(warmup, total_iters=total - 1)
    start = (warmup.start_factor * (total - 1) + warmup.end_factor) / total
    return dataclasses.replace(warmup, start_factor=start, total_iters=total - 1)


def restart(reading: Reading, log: Log) -> Iterator[Unknown]:
    """The log goes on from count 0, or from another one that was before."""
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    counts, lrs = log.counts, log.lrs
    again = log.changes[log.is_close(log.changes, lrs[0])][:8]
    found = {(int(counts[row]), int(counts[row] - counts[0])) for row in again}
    wrong = wrong_rows(log, reading)
    first = int(wrong[0]) if len(wrong) else 0
    later = log.changes[log.changes >= first]
    if first and len(later) > 1:  # one change later may be another milestone
        # How far it is behind shows where the schedule makes the log's last change.
        row = int(later[-1])
        gap = int(counts[row] - counts[row - 1])
        curve = log.expected(reading, np.arange(min(int(counts[row]), MOST_TABULATED)))
        places = np.flatnonzero(log.is_close(row, curve))
        places = places[places >= gap]
        places = places[log.is_close(row - 1, curve[places - gap])]
        for by in (int(counts[row]) - places[-_MOST_TRIED:]).tolist():
            behind = lambda c, by=by: np.maximum(reading.at(c - by), 0)  # noqa: E731
            agrees = log.agrees(reading._replace(at=behind))
            if not agrees[first:].all():
                continue
            before = counts[first - 1 - int(np.argmin(agrees[:first][::-1]))]
            starts_at_zero = (agrees[:first].all() or before < by) and by <= counts[first]
            found.add((by if starts_at_zero else int(counts[first]), by))
    for at, by in sorted(found, key=lambda pair: pair[0] - pair[1]):
        start = int(reading.at(at - by))
        if start >= 0 and np.count_nonzero(counts >= at) > 2:
            begun_again = reading.shifted(
                lambda c, at=at, by=by: np.where(c < at, c, c - by),
                lambda s, at=at, by=by: SequentialLR([s, s], [at]) if at == by else None,
            )
            finding = sentences.restart(at, start)
            yield fixed(begun_again, finding, cost=7 - (not start), needs=3 - (not start))
