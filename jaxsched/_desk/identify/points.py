"""A log's rows as points of a curve, each with bounds, and what a reader asks of them."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.numerals import is_within

_MOST_SLACK = 0.05  # part of a learning rate that a log may leave open by printing few digits
_SAMPLE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """The rows of a log, or of a part of one on its own clock. Their counts rise."""

    counts: np.ndarray
    lrs: np.ndarray
    slack: np.ndarray
    """How far each learning rate may be off, because it is printed with few digits."""
    relative: float
    """How far, as a part of it."""
    peak: float
    """The largest learning rate of the log. Less than 1e-15 of it counts as 0."""

    @functools.cached_property
    def tolerance(self) -> np.ndarray:
        return np.maximum(self.relative * np.abs(self.lrs), self.slack) + 1e-15 * self.peak

    @functools.cached_property
    def low(self) -> np.ndarray:
        return self.lrs - self.tolerance

    @functools.cached_property
    def high(self) -> np.ndarray:
        return self.lrs + self.tolerance

    @functools.cached_property
    def changes(self) -> np.ndarray:
        """The rows whose learning rate is not that of the row before."""
        return np.flatnonzero(self.lrs[1:] != self.lrs[:-1]) + 1

    @property
    def end(self) -> int:
        """The last count."""
        return int(self.counts[-1])

    @functools.cached_property
    def sample(self) -> Points:
        """Some of the rows: those near the ends and near changes, and others in between."""
        n = len(self.lrs)
        if n <= 2 * _SAMPLE:
            return self
        ends = np.concatenate([self.changes[:64], self.changes[-64:]])
        some = np.concatenate([np.linspace(0, n - 1, _SAMPLE), np.arange(64), n - 1 - np.arange(8)])
        rows = np.unique(np.concatenate([some.astype(int), ends - 1, ends]))
        return self.of(rows)

    @functools.cached_property
    def told(self) -> Points:
        """The rows whose digits say what they are."""
        is_told = np.abs(self.lrs) * _MOST_SLACK >= self.slack
        return self if is_told.all() else self.of(is_told)

    def of(self, rows: Any, start: int = 0) -> Points:
        """These rows, on the clock of what starts at a count."""
        return dataclasses.replace(
            self, counts=self.counts[rows] - start, lrs=self.lrs[rows], slack=self.slack[rows]
        )

    def times(self, factors: np.ndarray) -> Points:
        """The curve with each learning rate multiplied by its factor."""
        lrs = self.lrs * factors
        relative = 1.5 * self.relative + 1e-15
        return dataclasses.replace(
            self, lrs=lrs, slack=self.slack * factors, relative=relative, peak=np.abs(lrs).max()
        )

    def solve(self, weight: Any, rest: Any = 0.0) -> tuple[float, float]:
        """The bounds of x, where each learning rate is x * weight + rest."""
        weight = np.broadcast_to(np.asarray(weight, float), self.lrs.shape)
        used = np.abs(weight) > 1e-9
        if not used.any():
            return math.inf, -math.inf
        one, other = ((y - rest)[used] / weight[used] for y in (self.low, self.high))
        return float(np.minimum(one, other).max()), float(np.maximum(one, other).min())

    def given_by(self, schedule: Schedule) -> bool:
        """Whether each row has the schedule's learning rate."""
        return bool(self.sample.agree(schedule).all() and self.agree(schedule).all())

    def agree(self, schedule: Schedule) -> np.ndarray:
        """Which rows have it, by the rule of `compare`."""
        lrs = schedule(self.counts)
        allowed = np.maximum(self.relative * np.abs(lrs), self.slack * (1 + 1e-9))
        return is_within(self.lrs, lrs, allowed + 1e-15 * self.peak)


def tried(make: Any, *args: Any, **named: Any) -> list[Any]:
    """The schedule with these arguments, or none if it refuses them."""
    try:
        return [make(*args, **named)]
    except (ValueError, OverflowError):
        return []


def between(points: Points, row: int) -> tuple[int, int]:
    """The counts at which what is first seen in a row may have happened."""
    return int(points.counts[row - 1]) + 1, int(points.counts[row])


def shows_level(points: Points, row: int) -> bool:
    """Whether the rows before this one stand still: one row alone may be of anything."""
    return row > 1 or points.counts[row] - points.counts[row - 1] == 1


def lengths_to_the_end(points: Points) -> list[int]:
    """Of a schedule that ends with the log: at its last count, or after it."""
    gap = int(points.counts[-1] - points.counts[-2])
    return [n for n in dict.fromkeys((points.end, points.end + 1, points.end + gap)) if n >= 1]
