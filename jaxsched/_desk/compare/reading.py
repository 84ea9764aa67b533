"""A log beside the schedule that it is compared with: what an explanation has to give."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._desk.numerals import is_within
from jaxsched._desk.placed import Beyond
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.plateau import ReduceLROnPlateau

Write = Callable[[Any], Schedule | None]


class Reading(NamedTuple):
    """A schedule, and the count at which it is read for each count of the log."""

    schedule: Any
    at: Callable[[Any], Any] = lambda counts: counts
    write: Write = lambda schedule: schedule
    """A schedule that is the same read at the log's own counts, if there is one."""

    def shifted(self, shift: Callable[[Any], Any], write: Write = lambda _: None) -> Reading:
        return self._replace(
            at=lambda counts: self.at(shift(counts)),
            write=lambda schedule: write(self.write(schedule)),
        )

    def written(self) -> Any:
        """The schedule that gives the same at the log's own counts, or None."""
        try:
            return self.write(self.schedule)
        except (AttributeError, TypeError, ValueError):  # of None, or what refuses the schedule
            return None


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """A recorded log, in the unit in which the schedule is read."""

    counts: np.ndarray
    """Of each row. They never fall. For a plateau they are the rows."""
    lrs: np.ndarray
    slack: np.ndarray
    """How far each learning rate may be off, because it is printed with few digits."""
    horizon: int
    """The number of counts at which the schedule is known."""
    replay: Callable[[ReduceLROnPlateau], RecordedLR]
    """A plateau's learning rates for the metrics of the log."""
    in_float32: bool = False
    """Whether the log may have lost what float32 arithmetic loses."""

    def expected(self, reading: Reading, counts: np.ndarray) -> np.ndarray:
        schedule, counts = reading.schedule, reading.at(counts)
        if isinstance(schedule, ReduceLROnPlateau):
            schedule = self.replay(schedule)
        return np.where(counts < self.horizon, schedule(counts), np.nan)

    def value(self, reading: Reading, row: int) -> float:
        """What is expected in one row, in a hundredth of the time."""
        schedule, count = reading.schedule, int(reading.at(self.counts[row]))
        if isinstance(schedule, ReduceLROnPlateau):
            schedule = self.replay(schedule)
        try:
            # Not by a call, which first looks for arrays in the schedule: there are none.
            return schedule._value(max(count, 0), 0, PYTHON) if count < self.horizon else math.nan
        except ArithmeticError:
            return math.nan

    def is_close(self, rows: Any, lrs: Any) -> Any:
        """Whether these rows have these learning rates. `compare` states the rule."""
        allowed = np.maximum(2.0**-23 * np.abs(lrs), self.slack[rows] * (1 + 1e-9))
        return is_within(self.lrs[rows], lrs, allowed + self._lost)

    def is_near(self, reading: Reading) -> bool:
        """Whether all rows are as expected but for a few last bits of float32."""
        lrs = self.expected(reading, self.counts)
        return bool(is_within(self.lrs, lrs, 2.0**-21 * np.abs(lrs) + 4 * self.slack).all())

    @property
    def may_be_float32(self) -> bool:
        """Whether each number is one of float32, or is printed with few digits."""
        with np.errstate(over="ignore"):
            is_float32 = self.lrs.astype(np.float32) == self.lrs
        return bool((is_float32 | (self.slack > 0)).all())

    def side(self, reading: Reading, row: int) -> float:
        """0 if a row has what is expected, else 1 or -1: expected is above it, or below."""
        lr, found = self.value(reading, row), float(self.lrs[row])
        allowed = max(2.0**-23 * abs(lr), float(self.slack[row]) * (1 + 1e-9)) + self._lost
        if lr == found or (abs(lr) < math.inf and abs(lr - found) <= allowed):
            return 0.0
        return math.nan if lr != lr else math.copysign(1.0, lr - found)

    def agrees(self, reading: Reading, rows: Any = slice(None)) -> np.ndarray:
        """Whether these rows are as expected, or as torch has it when a OneCycleLR is over."""
        agrees = self.is_close(rows, self.expected(reading, self.counts[rows]))
        beyond = None if agrees.all() else Beyond.of(reading.schedule)
        if beyond is not None:
            counts = self.counts[rows]  # torch's log ends there
            is_there = (reading.at(counts) == beyond.at) & (counts == self.counts[-1])
            agrees |= is_there & self.is_close(rows, beyond.lr)
        return agrees

    def first_wrong(self, reading: Reading) -> int | None:
        """A row that is not as expected: the first of the probes, or of all. None if all are."""
        for rows in (self.probes, slice(None)):
            agrees = self.agrees(reading, rows)
            if not agrees.all():
                row = int(np.argmin(agrees))
                return row if isinstance(rows, slice) else int(rows[row])
        return None

    def is_explained(self, reading: Reading) -> bool:
        return self.first_wrong(reading) is None

    @functools.cached_property
    def peak(self) -> float:
        return float(np.abs(self.lrs[np.isfinite(self.lrs)]).max(initial=0.0))

    @functools.cached_property
    def _lost(self) -> float:
        """float32 arithmetic loses a part of the largest number in it, and double a smaller one."""
        return (2.0**-21 if self.in_float32 else 1e-15) * self.peak

    @functools.cached_property
    def changes(self) -> np.ndarray:
        """The rows whose learning rate is not that of the row before."""
        return np.flatnonzero(np.diff(self.lrs)) + 1

    @functools.cached_property
    def top(self) -> int:
        """The row at which the learning rate first stops to rise."""
        falls = np.flatnonzero(np.diff(self.lrs) < 0)
        return int(np.argmax(self.lrs[: falls[0] + 1] if len(falls) else self.lrs))

    @functools.cached_property
    def probes(self) -> np.ndarray:
        """Some rows, on which most proposals fail."""
        ends = np.concatenate([self.changes[:16], self.changes[-16:]])
        spread = np.linspace(0, len(self.lrs) - 1, 32).astype(int)
        return np.unique(np.concatenate([spread, ends - 1, ends]))
