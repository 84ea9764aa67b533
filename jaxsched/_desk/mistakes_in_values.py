"""Mistakes in a value: another learning rate, another gamma."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxsched._desk.curve import Finding
from jaxsched._desk.diagnose import Log, Proposal, Reading
from jaxsched._desk.variants import schedules_in, setting, values_of, variant_of
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.plateau import ReduceLROnPlateau


def _near(value: float, tolerance: float) -> list[float]:
    """The number with the fewest digits within the tolerance, and the number itself."""
    if not 0 <= value < math.inf:
        return []
    if not value or not tolerance < 0.1:
        return [value]
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return [next(x for x in shorter if abs(x - value) <= tolerance * value), value]


def _tolerances(log: Log, rows: np.ndarray) -> np.ndarray:
    return np.maximum(2.0**-25, log.slack[rows] / np.abs(log.lrs[rows]))


def _fitted(
    reading: Reading, name: str, old: float, estimates: Iterable[tuple[Any, Any]]
) -> Iterator[Proposal]:
    for new in dict.fromkeys(x for pair in estimates for x in _near(*map(float, pair))):
        # float32 arithmetic makes the smaller differences.
        if abs(new - old) > 1e-6 * old and (
            variant := variant_of(reading, setting(name, old, new))
        ):
            code = f"another-{name.replace('_', '-')}"
            message = f"The log has {name}={new:.9g}, not {old:.9g}."
            advice = f"Use {name}={new:.9g} here, or {name}={old:.9g} in that run."
            yield Proposal(variant, Finding(code, message, advice), cost=1)


def another_lr(reading: Reading, log: Log) -> Iterator[Proposal]:
    last = len(log.lrs) - 1
    rows = np.unique([0, int(np.argmax(log.lrs)), *log.changes[:1], last // 4, last // 2, last])
    counts, lrs, tolerances = log.counts[rows], log.lrs[rows], _tolerances(log, rows)
    now, schedule = log.expected(reading, counts), reading.schedule
    highest = np.nanmax(log.expected(reading, log.counts[log.probes]))
    for name, old in values_of(schedule, "base_lr", "max_lr", "eta_min", "swa_lr"):
        # Each value is a straight line in this argument: two points of it give the third.
        unit = old or log.peak
        zero, one = (variant_of(reading, setting(name, old, x)) for x in (0.0, unit))
        at_zero, at_one = (now if x is None else log.expected(x, counts) for x in (zero, one))
        fitted = unit * (lrs - at_zero) / (at_one - at_zero)
        estimates = [*zip(fitted, tolerances, strict=True), (unit * log.peak / highest, 2.0**-25)]
        yield from _fitted(reading, name, old, estimates)
    if any(isinstance(member, RecordedLR) for member in schedules_in(reading.schedule)):
        ratios = (lrs / now)[np.isfinite(lrs / now)]
        for new in dict.fromkeys(x for ratio in ratios for x in _near(float(ratio), 2.0**-25)):
            variant = variant_of(
                reading,
                lambda member, new=new: (
                    RecordedLR(new * member.values) if isinstance(member, RecordedLR) else member
                ),
            )
            if variant:
                message = f"The log is {new:.9g} times the schedule."
                advice = (
                    f"Multiply the learning rates here by {new:.9g}, or divide them in that run."
                )
                yield Proposal(variant, Finding("another-base-lr", message, advice), cost=1)


def another_gamma(reading: Reading, log: Log) -> Iterator[Proposal]:
    counts, lrs = log.counts[log.probes], log.lrs[log.probes]
    names = ["factor" if isinstance(reading.schedule, ReduceLROnPlateau) else "gamma"]
    for name, old in values_of(reading.schedule, *names):
        zero, other = (variant_of(reading, setting(name, old, x)) for x in (0.0, 0.999 * old))
        if zero is None or other is None:
            continue
        # A value is a + b * gamma ** n. Three gammas give n, and n gives the gamma of the log.
        a = log.expected(zero, counts)
        now, then = log.expected(reading, counts) - a, log.expected(other, counts) - a
        times = np.log(then / now) / math.log(0.999)
        fitted = old * ((lrs - a) / now) ** (1 / times)
        good = np.flatnonzero(np.isfinite(fitted) & (times > 1e-6))
        good = good[[0, len(good) // 2, -1]] if len(good) else good
        tolerances = _tolerances(log, log.probes[good]) / times[good]
        yield from _fitted(reading, name, old, zip(fitted[good], tolerances, strict=True))
