"""What a log that differs from its schedule looks like: explanations, found by trying them.

Each function in `_mistakes` takes a reading of the schedule and proposes others, with one
mistake more. A proposal explains the log only if it gives every row. So a proposal may be a guess,
and proposals from proposals find two mistakes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched._desk.curve import MOST_TABULATED, Finding
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.plateau import ReduceLROnPlateau

_FEWEST_ROWS = 4


class Reading(NamedTuple):
    """A schedule, and the count at which it is read for each count of the log."""

    schedule: Any
    at: Callable[[np.ndarray], np.ndarray] = lambda counts: counts

    def shifted(self, shift: Callable[[np.ndarray], np.ndarray]) -> Reading:
        return self._replace(at=lambda counts: self.at(shift(counts)))


class Proposal(NamedTuple):
    reading: Reading
    finding: Finding
    cost: int
    """How many different values a log has to have, so that this is no guess."""
    is_last: bool = False
    """Whether what is said of a further mistake would not fit the schedule that was given."""


Mistake = Callable[[Reading, "Log"], Iterator[Proposal]]


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """A recorded log, in the unit in which the schedule is read."""

    counts: np.ndarray
    """Of each row. They never fall. For a plateau they are the rows."""
    lrs: np.ndarray
    slack: np.ndarray
    """How far each learning rate may be off, because it is printed with few digits."""
    schedule: Any
    """What it is compared with."""
    horizon: int
    """The number of counts at which that is known."""
    replay: Callable[[ReduceLROnPlateau], RecordedLR]
    """A plateau's learning rates for the metrics of the log."""
    in_float32: bool = False
    """Whether the log may have lost what float32 arithmetic loses."""

    def expected(self, reading: Reading, counts: np.ndarray) -> np.ndarray:
        schedule, counts = reading.schedule, reading.at(counts)
        if isinstance(schedule, ReduceLROnPlateau):
            schedule = self.replay(schedule)
        return np.where(counts < self.horizon, schedule(counts), np.nan)

    def is_close(self, rows: Any, lrs: np.ndarray) -> np.ndarray:
        """Whether these rows have these learning rates. `compare` states the rule."""
        allowed = np.maximum(2.0**-23 * np.abs(lrs), self.slack[rows] * (1 + 1e-9))
        # float32 arithmetic loses a part of the largest number in it.
        lost = (2.0**-21 if self.in_float32 else 1e-15) * self.peak
        return np.abs(self.lrs[rows] - lrs) <= allowed + lost

    def agrees(self, reading: Reading, rows: Any = slice(None)) -> np.ndarray:
        return self.is_close(rows, self.expected(reading, self.counts[rows]))

    def is_explained(self, reading: Reading) -> bool:
        return bool(self.agrees(reading, self.probes).all() and self.agrees(reading).all())

    @functools.cached_property
    def curve(self) -> np.ndarray:
        """The schedule at many counts more than the log has."""
        num_counts = min(4096 * (int(self.counts[-1]) + 1), self.horizon, MOST_TABULATED)
        return np.asarray(self.schedule(np.arange(num_counts)))

    @functools.cached_property
    def peak(self) -> float:
        return float(np.abs(self.lrs).max())

    @functools.cached_property
    def changes(self) -> np.ndarray:
        """The rows whose learning rate is not that of the row before."""
        return np.flatnonzero(np.diff(self.lrs)) + 1

    @functools.cached_property
    def probes(self) -> np.ndarray:
        """Some rows, on which most proposals fail."""
        ends = np.concatenate([self.changes[:16], self.changes[-16:]])
        spread = np.linspace(0, len(self.lrs) - 1, 32).astype(int)
        return np.unique(np.concatenate([spread, ends - 1, ends]))


_IN_FLOAT32 = Finding(
    "float32-arithmetic",
    "Some rows differ in the last digits: the log is computed in float32.",
    "There is nothing to change. torch and jaxsched compute in double, optax in float32.",
)


def diagnose(
    reading: Reading, logs: dict[str, Log], mistakes: Sequence[Mistake]
) -> tuple[str | None, tuple[Finding, ...]]:
    """The findings that together explain every row of one of the logs, and the name of that log.

    They are one mistake, or float32 arithmetic, or two mistakes, or mistakes in float32: the first
    that explains it. If nothing does, there are none.
    """
    logs = {name: log for name, log in logs.items() if len(log.lrs) >= _FEWEST_ROWS}
    floats = {name: dataclasses.replace(log, in_float32=True) for name, log in logs.items()}
    with np.errstate(all="ignore"):
        for number, kind in ((1, logs), (0, floats), (2, logs), (1, floats), (2, floats)):
            for name, log in kind.items():
                for last, findings in _explanations(reading, log, mistakes, number):
                    if log.is_explained(last):
                        return name, findings + (_IN_FLOAT32,) * log.in_float32
    return None, ()


def _explanations(
    reading: Reading,
    log: Log,
    mistakes: Sequence[Mistake],
    number: int,
    before: tuple[Finding, ...] = (),
    spent: int = 0,
) -> Iterator[tuple[Reading, tuple[Finding, ...]]]:
    if number == 0:
        yield reading, before
        return
    affordable = len(log.changes) + 1 - spent
    for mistake in mistakes:
        for last, finding, cost, is_last in mistake(reading, log):
            if cost > affordable or any(finding.code == other.code for other in before):
                continue
            if number == 1 or not is_last:
                findings = (*before, finding)
                yield from _explanations(last, log, mistakes, number - 1, findings, spent + cost)
