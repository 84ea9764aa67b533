"""Reads compositions out of a log: a warmup before the rest, products, epochs, what holds."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxsched._base.ops import NUMPY
from jaxsched._base.schedule import Schedule
from jaxsched._desk.identify.curves import cosine, exponential, linear, polynomial, swa
from jaxsched._desk.identify.cycles import cyclic, one_cycle, restarts
from jaxsched._desk.identify.points import Points, between, shows_level, tried
from jaxsched._desk.identify.steps import steps
from jaxsched._desk.numerals import numbers, whole_numbers
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR, clamp
from jaxsched._schedules.decay import ConstantLR, ExponentialLR, LinearLR
from jaxsched._schedules.epochs import Clock, per_epoch

Reader = Callable[[Points], Iterator[Schedule]]
_FEWEST = 3  # rows of a part
_FEW_CHANGES = 8  # do not show how long an epoch is
_CURVES: tuple[Reader, ...] = (
    exponential,
    linear,
    polynomial,
    cosine,
    restarts,
    cyclic,
    one_cycle,
)


def simple(points: Points) -> Iterator[Schedule]:
    """One class alone."""
    for reader in (steps, *_CURVES):
        with np.errstate(all="ignore"):
            yield from reader(points)


def composed(points: Points) -> Iterator[Schedule]:
    """Classes one after another, or multiplied, or held."""
    for reader in (after_warmup, chained, held, swa):
        with np.errstate(all="ignore"):
            yield from reader(points)


def in_epochs(points: Points, clock: Clock | None = None) -> Iterator[Schedule]:
    """A value for each epoch: the greatest common divisor of where they change is its length."""
    if clock is None:
        if np.diff(points.counts).max(initial=1) > 1:
            return  # no row shows exactly where an epoch begins
        where = points.counts[points.changes]
        gap = math.gcd(*where.tolist()) if len(where) > 1 else 1
        # The length may be a part of it, if they are too few to show it.
        parts = (1, 2, 5, 10, 20, 50, 100) if len(where) < _FEW_CHANGES else (1,)
        for length in [gap // part for part in parts if gap % part == 0]:
            if length > 1:
                yield from in_epochs(points, Clock(length))
        return
    epochs = clock.epoch(points.counts, NUMPY)[0]
    first = np.flatnonzero(np.diff(epochs, prepend=-1))
    if (points.lrs != np.repeat(points.lrs[first], np.diff(np.append(first, len(epochs))))).any():
        return
    own = dataclasses.replace(points.of(first), counts=epochs[first])
    if len(first) > _FEWEST:
        for schedule in itertools.chain(simple(own), composed(own)):
            yield from tried(per_epoch, schedule, clock.lengths)


# -- one after another ---------------------------------------------------------------------------


def after_warmup(points: Points) -> Iterator[Schedule]:
    """A constant or a line, then the rest: it starts at the top, or near where the line breaks."""
    if points.counts[0] != 0 or not len(points.changes):
        return
    row = int(points.changes[0])
    rises = points.lrs[row] > points.lrs[0] and points.counts[row] > 1
    if rises and shows_level(points, row) and row < len(points.lrs) - _FEWEST:
        for start in whole_numbers(*between(points, row), 3):
            for rest in _rests(points.of(points.counts >= start, start)):
                base_lr = _base_lr(rest)
                for factor in numbers(points.low[0] / base_lr, points.high[0] / base_lr):
                    for head in tried(ConstantLR, base_lr, factor, start):
                        yield from _joined(head, rest, start)
    for start in _breaks(points):
        for rest in _rests(points.of(points.counts >= start, start)):
            for head in _line_before(points.of(points.counts < start), _base_lr(rest)):
                yield from _joined(head, rest, start)
    yield from _after_hold(points)


def _breaks(points: Points) -> list[int]:
    """The counts at which the rest may start, after a line that rises."""
    row = line_end(points)
    if row < 2 or points.lrs[1] <= points.lrs[0] or row > len(points.lrs) - 2:
        return []
    counts, top = points.counts, int(np.argmax(points.lrs))
    if (np.diff(counts[: row + 2]) == 1).all():
        near = [counts[row], counts[row] + 1, counts[row] - 1]
    else:
        near = whole_numbers(counts[row - 1] + 1, counts[row + 1], 8)
    if top <= row:
        near.append(counts[top])
    return [int(n) for n in dict.fromkeys(near) if 1 <= n < points.end - _FEWEST]


def line_end(points: Points) -> int:
    """The last row that is on the line of the first ones."""
    counts, lrs = points.counts, points.lrs
    if len(lrs) < 3:
        return 0
    low = (points.low[1:] - points.high[0]) / (counts[1:] - counts[0])
    high = (points.high[1:] - points.low[0]) / (counts[1:] - counts[0])
    is_on = np.maximum.accumulate(low) <= np.minimum.accumulate(high)
    return int(np.argmin(is_on)) if not is_on.all() else len(lrs) - 1


def _line_before(head: Points, base_lr: float) -> Iterator[Schedule]:
    """The ramp to that learning rate, or to where the rest begins."""
    rows = head.counts > 0
    if not rows.any():
        return
    start, counts = head.lrs[0], head.counts[rows]
    low, high = (counts * (base_lr - start) / (y[rows] - start) for y in (head.high, head.low))
    for total in whole_numbers(float(low.max()), float(high.min()), 6):
        done = np.minimum(head.counts, total) / total
        for factor in numbers(*head.solve(base_lr * (1 - done), base_lr * done)):
            yield from tried(LinearLR, base_lr, factor, total_iters=total)


def _after_hold(points: Points) -> Iterator[Schedule]:
    """The first learning rate for a while, then the rest."""
    row = int(points.changes[0])
    if row < 3 or len(points.lrs) - row < _FEWEST:
        return
    low, high = between(points, row)
    near = [high - 1, high] if low == high else whole_numbers(low - 1, high, 12)
    for start in near:
        for reader in _CURVES:
            for rest in reader(points.of(points.counts >= start, start)):
                yield from _joined(ConstantLR(_base_lr(rest), 1.0, 1), rest, start)


def _rests(points: Points) -> Iterator[Schedule]:
    if len(points.lrs) < _FEWEST:
        return
    yield from simple(points)
    yield from swa(points)
    yield from in_epochs(points)
    if len(points.changes):
        yield from _after_hold(points)


def _joined(head: Schedule, rest: Schedule, start: int) -> Iterator[Schedule]:
    if isinstance(rest, SequentialLR):
        starts = [start, *(start + milestone for milestone in rest.milestones)]
        yield from tried(SequentialLR, [head, *rest.schedulers], starts)
    else:
        yield from tried(SequentialLR, [head, rest], [start])


def _base_lr(schedule: Any) -> float:
    named = [member.base_lr for member in schedule._walk() if "base_lr" in member._checks]
    return named[0] if named else schedule(0)


# -- multiplied ----------------------------------------------------------------------------------


def chained(points: Points) -> Iterator[Schedule]:
    """A power of the count, or steps, times what is left."""
    points = points.told
    if (points.lrs <= 0).any() or len(points.changes) < 2:
        return
    for gamma in _common_ratios(points):
        flat = points.times(gamma ** -points.counts.astype(float))
        for other in itertools.chain(steps(_levelled(flat)), linear(_levelled(flat))):
            power = ExponentialLR(_base_lr(other), gamma)
            pair = [other, power] if isinstance(other, (LinearLR, ConstantLR)) else [power, other]
            yield from tried(ChainedScheduler, pair)
    yield from _ramp_with_steps(points)
    rises = np.flatnonzero(np.diff(points.lrs) > 0) + 1
    starts = whole_numbers(*between(points, int(rises[0])), 3) if len(rises) == 1 else []
    for start in (*starts, *_breaks(points)):
        rest = points.of(points.counts >= start)
        if len(rest.changes):
            yield from _factors(points, rest)


def _ramp_with_steps(points: Points) -> Iterator[Schedule]:
    """Steps that begin in the ramp: rows that are a part of what the two before lead to."""
    lrs = points.lrs
    if (np.diff(points.counts) != 1).any() or len(lrs) < 8 or lrs[1] <= lrs[0]:
        return
    expected = 2 * lrs[1:-1] - lrs[:-2]
    parts = np.where(expected > 0, lrs[2:] / expected, 1.0)
    rows = np.flatnonzero((parts < 0.9) & (parts > 0)) + 2
    if not 1 <= len(rows) <= _FEW_CHANGES or rows[0] > np.argmax(lrs) + 1:
        return
    part = float(parts[rows[0] - 2])
    error = 8 * part * float(points.tolerance[rows[0]] / lrs[rows[0]])
    for gamma in numbers(part - error, part + error):
        times = np.zeros(len(lrs), int)
        times[rows] = np.rint(np.log(parts[rows - 2]) / np.log(gamma))
        factors = gamma ** np.cumsum(times)
        for ramp in linear(_levelled(points.times(1 / factors))):
            levels = _levelled(points.times(1 / lrs * _base_lr(ramp) * factors))
            for decay in itertools.chain(steps(levels), in_epochs(levels)):
                yield from tried(ChainedScheduler, [ramp, decay])


def _factors(points: Points, rest: Points) -> Iterator[Schedule]:
    """What the rows are after a warmup, on the same clock, and the warmup that they leave."""
    for decay in itertools.chain(steps(rest), in_epochs(rest), exponential(rest)):
        base_lr = _base_lr(decay)
        flat = _levelled(points.times(base_lr / decay(points.counts)))
        for warmup in itertools.chain(linear(flat), steps(flat)):
            if _base_lr(warmup) == base_lr:
                yield from tried(ChainedScheduler, [warmup, decay])


def _common_ratios(points: Points) -> list[float]:
    """Of the rows that follow one another at the longest stretch with one ratio."""
    gaps = np.diff(points.counts)
    ratios = np.log(points.lrs[1:] / points.lrs[:-1]) / gaps
    error = 2.5 * (points.tolerance / points.lrs)[1:] / gaps
    middle = np.median(ratios[len(ratios) // 2 :])
    if not middle:
        return []
    is_same = np.abs(ratios - middle) <= 2 * error
    edges = np.flatnonzero(~np.concatenate([[False], is_same, [False]]))
    longest = int(np.argmax(np.diff(edges)))
    first, last = edges[longest], edges[longest + 1] - 1
    if last - first < 3:
        return []
    over = 1 / (points.counts[last] - points.counts[first])
    low = (points.low[last] / points.high[first]) ** over
    high = (points.high[last] / points.low[first]) ** over
    return numbers(float(low), float(high), 3)


def _levelled(points: Points) -> Points:
    """Each row as the one before, if it is that within bounds: what was divided is no level."""
    starts = np.flatnonzero(np.abs(np.diff(points.lrs)) > points.tolerance[1:]) + 1
    starts = np.concatenate([[0], starts])
    lengths = np.diff(np.append(starts, len(points.lrs)))
    return dataclasses.replace(points, lrs=np.repeat(points.lrs[starts], lengths))


# -- held ----------------------------------------------------------------------------------------


def held(points: Points) -> Iterator[Schedule]:
    """A curve up to the last change."""
    row = int(points.changes[-1]) if len(points.changes) else 0
    if row < _FEWEST or row == len(points.lrs) - 1:
        return
    own = points.of(slice(0, row + 1))
    for schedule in itertools.chain(cosine(own), exponential(own), after_warmup(own)):
        for last in whole_numbers(*between(points, row), 2):
            yield from tried(clamp, schedule, last)
