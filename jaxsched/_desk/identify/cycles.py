"""Reads the curves that turn out of a log: warm restarts, CyclicLR, OneCycleLR."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jaxsched._base.ops import NUMPY
from jaxsched._base.schedule import Schedule
from jaxsched._desk.identify.curves import by_three_rows
from jaxsched._desk.identify.points import Points, between, tried
from jaxsched._desk.numerals import fractions, numbers, whole_numbers
from jaxsched._schedules.cosine import CosineAnnealingWarmRestarts
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR

_MOST_T_MULT, _FEW_T_MULT = 10, 3  # the fewer, where rows do not show where a cycle starts
_FIRST = 64  # rows on which most cycles fail
_PARTS = (0.3, 0.1, 0.2, 0.25, 0.5, 0.05, 0.4, 0.15, 0.35, 0.45, 0.01, 0.02, 0.03, 0.6)


def restarts(points: Points) -> Iterator[Schedule]:
    """By the rows at which it is back at base_lr."""
    some, gaps = points.sample, np.diff(points.lrs)
    if points.counts[0] != 0 or not gaps.any():
        return
    sign = np.sign(gaps[np.flatnonzero(gaps)[0]])
    back = np.flatnonzero(gaps * sign < 0) + 1
    if not len(back):
        return
    first = between(points, int(back[0]))
    most = _MOST_T_MULT if first[0] == first[1] else _FEW_T_MULT
    pairs = [(n, m) for n in whole_numbers(*first, 8) for m in range(1, most + 1)]
    if first[0] <= 4:  # the first cycles may be too short to be seen
        pairs += [(n, m) for n in (1, 2) for m in (1, 2, 3)]
    for base_lr in numbers(points.low[0], points.high[0]):
        for T_0, T_mult in dict.fromkeys(pairs):
            left = _restarted(some.counts[:_FIRST], T_0, T_mult)
            low, high = some.of(slice(0, _FIRST)).solve(1 - left, base_lr * left)
            if low > high:  # as for most pairs
                continue
            left = _restarted(some.counts, T_0, T_mult)
            for eta_min in numbers(*some.solve(1 - left, base_lr * left)):
                yield from tried(CosineAnnealingWarmRestarts, base_lr, T_0, T_mult, eta_min)


def _restarted(counts: np.ndarray, T_0: int, T_mult: int) -> np.ndarray:
    return CosineAnnealingWarmRestarts(1.0, T_0, T_mult)._value(counts, 0, NUMPY)


# -- CyclicLR ------------------------------------------------------------------------------------


def cyclic(points: Points) -> Iterator[Schedule]:
    """By its first turn, and by where it is back at base_lr."""
    if points.counts[0] != 0 or len(points.changes) < 4:
        return
    for base_lr in numbers(points.low[0], points.high[0]):
        for up, down in _turns(points.counts, points.lrs):
            for mode in ("triangular", "triangular2"):
                yield from _cyclic(points, base_lr, up, down, mode, 1.0)
        for gamma in _gammas(points, base_lr):
            powers = np.exp(-points.counts * math.log(gamma))
            for up, down in _turns(points.counts, (points.lrs - base_lr) * powers):
                yield from _cyclic(points, base_lr, up, down, "exp_range", gamma)


def _cyclic(
    points: Points, base_lr: float, up: int, down: int, mode: str, gamma: float
) -> Iterator[Schedule]:
    some, size_down = points.sample, None if down == up else down
    made = tried(CyclicLR, 0.0, 1.0, up, size_down, mode, gamma)
    height = made[0](some.counts) if made else np.zeros(len(some.counts))
    for max_lr in numbers(*some.solve(height, base_lr * (1 - height))):
        yield from tried(CyclicLR, base_lr, max_lr, up, size_down, mode, gamma)


def _turns(counts: np.ndarray, lrs: np.ndarray) -> list[tuple[int, int]]:
    """The counts to the first turn, and from there to the second: where straight lines meet."""
    gaps = np.diff(lrs) / np.diff(counts)
    noise = 1e-9 * np.abs(lrs).max()
    signs = np.sign(np.where(np.abs(np.diff(lrs)) <= noise, 0, gaps))
    if not signs[0]:
        return []
    (turns,) = np.nonzero(signs[1:] * signs[:-1] < 0)
    turns = turns[:3] + 1  # the rows nearest to the turns
    if len(turns) < 2:
        return []
    edges = [0, *turns.tolist(), len(lrs) - 1][:4]
    found = []
    for row, before, after in zip(edges[1:3], edges[:2], edges[2:4], strict=True):
        here = int(counts[row])
        near = [here]
        if counts[row] - counts[row - 1] > 1 and row - 1 > before and after > row + 1:
            a, b = gaps[before + (before > 0)], gaps[row + 1]
            if a != b:
                meet = counts[row - 1] + (
                    lrs[row + 1] - lrs[row - 1] - b * (counts[row + 1] - counts[row - 1])
                ) / (a - b)
                near = whole_numbers(float(meet) - 0.6, float(meet) + 0.6)
        found.append(near)
    ups, ends = found
    return [(up, end - up) for up in ups for end in ends if up < end]


def _gammas(points: Points, base_lr: float) -> list[float]:
    """Of the heights divided by their counts, while it rises for the first time."""
    heights = points.lrs - base_lr
    rows = np.arange(1, min(len(heights), 4096))
    per_count = heights[rows] / points.counts[rows]
    if not per_count[0]:
        return []
    with np.errstate(all="ignore"):
        ratio = np.log(per_count / per_count[0])
        slope = ratio[1] / (points.counts[2] - points.counts[1]) if len(rows) > 1 else 0.0
        gaps = points.counts[rows] - points.counts[1]
        is_straight = np.abs(ratio - slope * gaps) <= 1e-6 + 0.02 * np.abs(slope * gaps)
    last = int(np.argmin(is_straight)) if not is_straight.all() else len(rows)
    if last < 3 or not slope:
        return []
    some = points.of(rows[1:last])
    over = 1 / gaps[1:last]
    first = (points.low[1] - base_lr, points.high[1] - base_lr)
    scale = points.counts[1] / some.counts
    with np.errstate(all="ignore"):
        one = ((some.low - base_lr) * scale / first[1]) ** over
        other = ((some.high - base_lr) * scale / first[0]) ** over
    bounds = np.sort([one, other], axis=0)
    low, high = float(np.fmax.reduce(bounds[0])), float(np.fmin.reduce(bounds[1]))
    return [gamma for gamma in numbers(low, high, 3) if gamma > 0]


# -- OneCycleLR ----------------------------------------------------------------------------------


def one_cycle(points: Points) -> Iterator[Schedule]:
    """By its peak, which lies between rows, and by its end."""
    peak = int(np.argmax(points.lrs))
    if points.counts[0] != 0 or not 1 <= peak < len(points.lrs) - 1:
        return
    if not points.lrs[-1] <= points.lrs[0] < points.lrs[peak] or points.lrs[0] <= 0:
        return
    row = int(points.changes[-1])
    ends = [points.end]
    if row < len(points.lrs) - 1:
        ends += whole_numbers(*between(points, row), 3)
    around = (int(points.counts[peak - 1]), int(points.counts[peak + 1]))
    rising = points.of(slice(0, peak)).sample
    low, high = by_three_rows(rising, float(points.lrs[0])) if peak > 2 else (0, math.inf)
    narrow = max(low * (1 - 1e-9), around[0]), min(high * (1 + 1e-9), around[1])
    for strategy, (first, last) in (("cos", narrow), ("linear", around)):
        for end in ends:
            total = end + 1
            for pct in _parts((first + 1) / total, (last + 1) / total, total):
                yield from _one_cycle(points, total, pct, strategy)
        for pct in _PARTS if last - first < 1 else ():
            for total in whole_numbers((first + 1) / pct, (last + 1) / pct, 2):
                if total > points.end:
                    yield from _one_cycle(points, total, pct, strategy)


def _parts(low: float, high: float, total: int) -> list[float]:
    found = [part for part in _PARTS if low <= part <= high]
    found += [k / 100 for k in whole_numbers(100 * low, 100 * high, 12)]
    if len(found) < 12:
        found += [k / 1000 for k in whole_numbers(1000 * low, 1000 * high, 12)]
    found += [*numbers(low, high), *fractions(low, high)]
    found += [k / total for k in whole_numbers(total * low, total * high, 3)]
    return [part for part in dict.fromkeys(found) if 0 < part < 1]


def _one_cycle(points: Points, total: int, pct: float, strategy: str) -> Iterator[Schedule]:
    some, last, peak = points.sample, total - 1.0, pct * total - 1
    counts = np.minimum(some.counts, last)

    def left(start: float, end: float) -> np.ndarray:
        part = (end - counts) / (end - start)
        return np.sin(math.pi / 2 * part) ** 2 if strategy == "cos" else part

    if not 0 < peak < last:
        return
    for three_phase in (False, True):
        if three_phase and not 2 * peak < last:
            continue
        up, top = counts <= peak, 2 * peak if three_phase else peak
        down = counts > top
        f = float(some.lrs[0])
        parts, rising = left(0.0, peak)[up], some.of(up)
        peaks = rising.solve(1 - parts, f * parts)
        if (middle := ~up & ~down).any():
            parts = left(peak, top)[middle]
            more = some.of(middle).solve(parts, f * (1 - parts))
            peaks = max(peaks[0], more[0]), min(peaks[1], more[1])
        for max_lr in numbers(*peaks):
            parts, falling = left(top, last)[down], some.of(down)
            if not len(parts):
                continue
            before = f if three_phase else max_lr
            ends = falling.solve(1 - parts, before * parts)
            for div in numbers(max_lr / some.high[0], max_lr / some.low[0]):
                for final in _final(f, *ends):
                    yield from tried(
                        OneCycleLR,
                        max_lr,
                        total,
                        pct_start=pct,
                        anneal_strategy=strategy,
                        div_factor=div,
                        final_div_factor=final,
                        three_phase=three_phase,
                    )


def _final(first: float, low: float, high: float) -> list[float]:
    if not 0 < high < math.inf or low > high:
        return []
    least, greatest = first / high, first / low if low > 0 else 100 * first / high
    if low <= 0:
        greatest = math.inf
        found = [1e4] if least <= 1e4 else numbers(least, 10 * least)
        return found
    return numbers(least, greatest)
