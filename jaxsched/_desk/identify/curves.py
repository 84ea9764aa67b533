"""Reads the curves that go one way out of a log: lines, powers, polynomials, cosines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.identify.points import Points, between, lengths_to_the_end, tried
from jaxsched._desk.numerals import digits, numbers, whole_numbers
from jaxsched._schedules.cosine import SWALR, CosineAnnealingLR
from jaxsched._schedules.decay import ExponentialLR, LinearLR, PolynomialLR

_POWERS = (1.0, 2.0, 0.9, 0.5, 3.0, 4.0, 1.5, 2.5, 0.8, 0.7, 0.6, 5.0, 1.2)
_ENDS = (0.0, 0.1, 0.01, 0.001, 0.5, 0.2, 0.05, 0.02, 0.002, 0.005, 0.25, 1 / 3)  # parts of base_lr

_SHORT = 4  # digits


def exponential(points: Points) -> Iterator[Schedule]:
    points = points.told.sample
    counts, moved = points.counts, points.counts > points.counts[0]
    if len(points.changes) < 3 or (points.lrs <= 0).any():
        return
    if counts[0] == 0:
        for base_lr in numbers(points.low[0], points.high[0]):
            low = (points.low[moved] / base_lr) ** (1 / counts[moved])
            high = (points.high[moved] / base_lr) ** (1 / counts[moved])
            for gamma in numbers(float(low.max()), float(high.min())):
                yield from tried(ExponentialLR, base_lr, gamma)
        return
    low, high = points.low[moved] / points.high[0], points.high[moved] / points.low[0]
    over = 1 / (counts[moved] - counts[0])
    for gamma in numbers(float((low**over).max()), float((high**over).min())):
        for base_lr in numbers(*points.solve(gamma**counts)):
            yield from tried(ExponentialLR, base_lr, gamma)


# -- lines ---------------------------------------------------------------------------------------


def linear(points: Points) -> Iterator[Schedule]:
    """By the slope, and where it ends: at the last change, or with the log, or at a short end."""
    if not len(points.changes):
        return
    row = int(points.changes[-1])
    is_over = row < len(points.lrs) - 1
    line = points.of(slice(0, row)) if is_over else points
    if len(line.lrs) < 2:
        yield from _line(points, *[w for w in whole_numbers(*between(points, row))][:1])
        return
    first, low, high = int(line.counts[0]), *_slope(line)
    if low > high or low <= 0 <= high:
        return
    slope, start = (low + high) / 2, float(line.lrs[0]) - (low + high) / 2 * first
    if is_over:
        lengths = _lengths(line, points.lrs[-1], points.tolerance[-1], low, high)
        here = between(points, row)
        for total in whole_numbers(max(lengths[0], here[0]), min(lengths[1], here[1])):
            yield from _line(points, total)
        return
    for total in lengths_to_the_end(points):
        for schedule in _line(points, total):  # any length gives the rows: its end has to be short
            if _is_short(schedule):
                yield schedule
    ends = [start * end for end in _ENDS] if slope < 0 else []
    for end in ends:
        for total in whole_numbers(*_lengths(line, end, 0.0, low, high), 2):
            if total > points.end:
                yield from _line(points, total, end)


def _is_short(schedule: Any) -> bool:
    if isinstance(schedule, PolynomialLR):
        return True
    return max(map(digits, (schedule.start_factor, schedule.end_factor))) <= _SHORT


def _slope(line: Points) -> tuple[float, float]:
    """The bounds of the slope, by the first row; the first row's own bounds widen them."""
    line = line.sample
    over = (line.counts - line.counts[0])[1:]
    low, high = (line.low[1:] - line.high[0]) / over, (line.high[1:] - line.low[0]) / over
    return float(low.max()), float(high.min())


def _lengths(
    line: Points, end: float, tolerance: float, low: float, high: float
) -> tuple[float, float]:
    """The bounds of the count at which the line is at its end."""
    first = line.counts[0]
    rises = [
        (end + sign * tolerance - y) / slope
        for sign in (-1, 1)
        for y in (line.low[0], line.high[0])
        for slope in (low, high)
    ]
    return first + min(rises) - 1e-9, first + max(rises) + 1e-9


def _line(points: Points, total: int, end: float | None = None) -> Iterator[Schedule]:
    """The line of that length: where it starts, where it ends, and the factors of both."""
    some = points.sample
    done = np.minimum(some.counts, total) / total
    if some.counts[0] == 0:
        starts = numbers(some.low[0], some.high[0])
    else:  # both ends are unknown: the slope says where it was at count 0
        at_first, at_last = done[0], done[-1]
        if at_first == at_last:
            return
        lows, highs = some.low[[0, -1]], some.high[[0, -1]]
        corners = [
            (a * at_last - b * at_first) / (at_last - at_first)
            for a in (lows[0], highs[0])
            for b in (lows[1], highs[1])
        ]
        starts = numbers(min(corners), max(corners))
    if points.lrs[-1] > points.lrs[0]:  # it rises to base_lr
        ends = numbers(*some.solve(done, some.lrs[0] * (1 - done))) if done[0] == 0 else []
        if done[-1] == 1:
            ends = numbers(some.low[-1], some.high[-1])
        for base_lr in ends:
            for factor in numbers(*some.solve(base_lr * (1 - done), base_lr * done)):
                yield from tried(LinearLR, base_lr, factor, total_iters=total)
        return
    for base_lr in starts:
        bounds = some.solve(base_lr * done, base_lr * (1 - done))
        if end is not None:
            bounds = (max(bounds[0], end / base_lr * 0.99), min(bounds[1], end / base_lr * 1.01))
            bounds = bounds if end else (max(bounds[0], 0.0), bounds[1])
        for factor in numbers(*bounds):
            if factor == 0:
                yield from tried(PolynomialLR, base_lr, total)
            yield from tried(LinearLR, base_lr, 1.0, factor, total)


# -- polynomials ---------------------------------------------------------------------------------


def polynomial(points: Points) -> Iterator[Schedule]:
    """By where it is 0, or else by a short power or by the log's end."""
    some = points.sample
    if len(points.changes) < 4 or points.lrs[0] <= points.lrs[-1]:
        return
    row = int(points.changes[-1])
    totals = lengths_to_the_end(points)
    if row < len(points.lrs) - 1:
        if points.low[-1] > 0:
            return
        totals = whole_numbers(*between(points, row), 4)
    for base_lr in numbers(some.low[0], some.high[0]) if some.counts[0] == 0 else ():
        for total in totals:
            left = 1 - some.counts / total
            rows = (left > 0) & (left < 1) & (some.low > 0)
            if rows.any():
                powers = np.log([some.high[rows] / base_lr, some.low[rows] / base_lr])
                low, high = powers / np.log(left[rows])
                for power in numbers(float(low.max()), float(high.min())):
                    yield from tried(PolynomialLR, base_lr, total, power)
        rows = (some.counts > 0) & (some.low > 0) & (some.high < base_lr)
        if not rows.any():
            continue
        for power in _POWERS:
            left = [(y[rows] / base_lr) ** (1 / power) for y in (some.low, some.high)]
            low, high = (some.counts[rows] / (1 - x) for x in left)
            for total in whole_numbers(float(low.max()), float(high.min()), 2):
                yield from tried(PolynomialLR, base_lr, total, power)


# -- cosines -------------------------------------------------------------------------------------


def cosine(points: Points) -> Iterator[Schedule]:
    """By its turn, the log's end, a short eta_min, or by three rows of it."""
    if len(points.changes) < 3:
        return
    some = points.sample
    sign = 1 if points.lrs[int(points.changes[0])] < points.lrs[0] else -1
    turn = int(np.argmin(sign * points.lrs))
    if turn == 0:
        return
    falling = some.of(some.counts <= points.counts[turn])
    totals = lengths_to_the_end(points)
    near = (int(points.counts[turn - 1]), int(points.counts[min(turn + 1, len(points.lrs) - 1)]))
    totals += whole_numbers(*near, 8)
    for base_lr in _starts(some, totals):
        ends = numbers(points.low[turn], points.high[turn])
        ends += [base_lr * end for end in _ENDS[:4]] + [1e-5, 1e-6, 1e-7, 1e-8] if sign > 0 else []
        found = dict.fromkeys(totals)
        for eta_min in dict.fromkeys(ends):
            found |= dict.fromkeys(whole_numbers(*_half_period(falling, base_lr, eta_min), 3))
        found |= dict.fromkeys(whole_numbers(*by_three_rows(falling, base_lr), 24))
        for total in found:
            left = _half_wave(some.counts, total)
            for eta_min in numbers(*some.solve(1 - left, base_lr * left)):
                yield from tried(CosineAnnealingLR, base_lr, total, eta_min)


def _starts(some: Points, totals: list[int]) -> list[float]:
    if some.counts[0] == 0:
        return numbers(some.low[0], some.high[0])
    return [x for n in totals for x in numbers(*some.solve(_half_wave(some.counts, n)), 1)]


def _half_wave(counts: np.ndarray, total: int) -> np.ndarray:
    return np.sin(math.pi / 2 * np.abs((counts % (2 * total)) / total - 1)) ** 2


def _half_period(falling: Points, base_lr: float, eta_min: float) -> tuple[float, float]:
    """The bounds of T_max, if eta_min is known."""
    rows = falling.counts > 0
    if base_lr == eta_min or not rows.any():
        return 1, 0
    heights = [(y[rows] - eta_min) / (base_lr - eta_min) for y in (falling.low, falling.high)]
    bounds = [1 - 2 / math.pi * np.arcsin(np.sqrt(np.clip(h, 0, 1))) for h in heights]
    bounds = np.sort(falling.counts[rows] / np.maximum(bounds, 1e-12), axis=0)
    return float(bounds[0].max()), float(bounds[1].min())


def by_three_rows(falling: Points, base_lr: float) -> tuple[float, float]:
    """The bounds of T_max by the rows at 0, k and 2k: of the falls 2 (1 + cos(pi k / T_max))."""
    counts = falling.counts
    pairs = np.flatnonzero(np.isin(2 * counts, counts) & (counts > 0))
    if not len(pairs):
        return 1, 0
    twice = np.searchsorted(counts, 2 * counts[pairs])
    fall, falls = falling.lrs[pairs] - base_lr, falling.lrs[twice] - base_lr
    with np.errstate(all="ignore"):
        ratio = falls / fall
        error = (falling.tolerance[twice] + ratio * falling.tolerance[pairs]) / np.abs(fall)
        angles = [np.arccos(np.clip((ratio + sign * error) / 2 - 1, -1, 1)) for sign in (1, -1)]
        high, low = (math.pi * counts[pairs] / angle for angle in angles)
    return float(np.fmax.reduce(low)), float(np.fmin.reduce(high))


def swa(points: Points) -> Iterator[Schedule]:
    """A cosine, if the rows stand still after it."""
    row = int(points.changes[-1]) if len(points.changes) else 0
    if row < 3 or row == len(points.lrs) - 1:
        return
    for schedule in cosine(points.of(slice(0, row + 1))):
        assert isinstance(schedule, CosineAnnealingLR)
        for total in {schedule.T_max, *whole_numbers(*between(points, row), 2)}:
            yield from tried(SWALR, schedule.base_lr, schedule.eta_min, total)
