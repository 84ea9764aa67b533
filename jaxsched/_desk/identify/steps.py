"""Reads the schedules that stand still out of a log: StepLR, MultiStepLR, ConstantLR."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.identify.points import Points, between, shows_level, tried
from jaxsched._desk.numerals import numbers, whole_numbers
from jaxsched._schedules.decay import ConstantLR, MultiStepLR, StepLR

_MOST_MILESTONES = 64
_MOST_POWERS = 20_000


def steps(points: Points) -> Iterator[Schedule]:
    """By the ratios of the levels, which are powers of the smallest one."""
    points = points.told
    if not len(points.changes) or 2 * len(points.changes) > len(points.lrs) + 8:
        return
    yield from _constant(points)
    levels = points.of(np.array([0, *points.changes]))
    powers = _powers(levels.lrs)
    if powers is None:
        return
    rows = np.flatnonzero(powers)
    for base_lr in numbers(levels.low[0], levels.high[0]):
        if powers[-1] == 1 and levels.lrs[-1] == 0:
            gammas = [0.0]
        else:
            with np.errstate(all="ignore"):
                low = (np.maximum(levels.low[rows], 0) / base_lr) ** (1 / powers[rows])
                high = (levels.high[rows] / base_lr) ** (1 / powers[rows])
            gammas = numbers(float(low.max()), float(high.min()))
        for gamma in gammas:
            yield from _step(points, base_lr, powers, gamma)
            yield from _multi_step(points, base_lr, powers, gamma)


def _constant(points: Points) -> Iterator[Schedule]:
    if len(points.changes) == 1 and points.lrs[-1] > points.lrs[0]:
        row = int(points.changes[0])
        if not shows_level(points, row):
            return
        for base_lr in numbers(points.low[row], points.high[row]):
            for factor in numbers(points.low[0] / base_lr, points.high[0] / base_lr):
                for total in whole_numbers(*between(points, row)):
                    yield from tried(ConstantLR, base_lr, factor, total)


def _powers(levels: np.ndarray) -> np.ndarray | None:
    """How often each level has been multiplied, or None if levels are no powers of one number."""
    if len(levels) == 2 and levels[0] > 0 and levels[1] == 0:
        return np.array([0, 1])
    if (levels <= 0).any():
        return None
    logs = np.log(levels / levels[0])
    gaps = np.diff(logs)
    if (gaps[0] > 0) != (gaps > 0).all():
        return None
    unit = float(gaps[np.argmin(np.abs(gaps))])
    last = np.rint(logs[-1] / unit)  # the last level has the best of it
    if not 0 < last <= _MOST_POWERS:
        return None
    powers = np.rint(logs * last / logs[-1]).astype(int)
    return powers if bool(np.all(np.diff(powers) > 0)) else None


def _step(points: Points, base_lr: float, powers: np.ndarray, gamma: float) -> Iterator[Schedule]:
    first = np.array([0, *points.changes])
    last = np.append(points.changes - 1, len(points.lrs) - 1)
    high = (points.counts[first][1:] / powers[1:]).min()
    low = (points.counts[last] / (powers + 1)).max()
    for step_size in whole_numbers(math.floor(low) + 1, high):
        yield from tried(StepLR, base_lr, step_size, gamma)


def _multi_step(
    points: Points, base_lr: float, powers: np.ndarray, gamma: float
) -> Iterator[Schedule]:
    if powers[-1] > _MOST_MILESTONES:
        return
    choices = [whole_numbers(*between(points, int(row)), 2) for row in points.changes]
    times = np.diff(powers).tolist()
    # The roundest, and with the next one at one place: what else gives the rows.
    for place in range(-1, len(choices)):
        if place >= 0 and len(choices[place]) < 2:
            continue
        milestones = []
        for i, (choice, number) in enumerate(zip(choices, times, strict=True)):
            milestones += number * [choice[i == place]]
        yield from tried(MultiStepLR, base_lr, milestones, gamma)
