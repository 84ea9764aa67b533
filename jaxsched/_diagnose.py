"""What a log that differs from its schedule looks like: explanations, found by trying them.

Each function in `_CHANGES` takes a reading of the schedule and proposes others, with one mistake
more. A proposal is an explanation only if it gives all rows of the log. So an estimate in such a
function may be wrong, and two mistakes are found by proposals from proposals.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._compose import ChainedScheduler, SequentialLR
from jaxsched._curve import Finding
from jaxsched._custom import RecordedLR
from jaxsched._decay import ConstantLR, ExponentialLR, LinearLR, MultiStepLR, StepLR
from jaxsched._epochs import per_epoch, smooth_epochs
from jaxsched._plateau import ReduceLROnPlateau
from jaxsched._schedule import Schedule

_FEWEST_ROWS = 4
_MOST_TRIED = 64  # integers in a range
_MOST_COUNTS = 10**6
_MOST_DECAYS = 10**4


def _same(counts: np.ndarray) -> np.ndarray:
    return counts


class Reading(NamedTuple):
    """A schedule, and the count at which it is read for each count of the log."""

    schedule: Any
    at: Callable[[np.ndarray], np.ndarray] = _same

    def shifted(self, shift: Callable[[np.ndarray], np.ndarray]) -> Reading:
        return Reading(self.schedule, lambda counts: self.at(shift(counts)))


class Proposal(NamedTuple):
    reading: Reading
    finding: Finding
    cost: int
    """How many values of the log it takes to know it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """A recorded log, in the unit in which the schedule is read."""

    counts: np.ndarray
    """Of each row. They never fall. With a plateau they are the rows."""
    lrs: np.ndarray
    slack: np.ndarray | float
    known: int
    """The counts at which the schedule is known; it may be a table."""
    replay: Callable[..., RecordedLR] | None
    """A plateau's learning rates for the metrics of the log, as torch's or as optax's."""

    def expected(self, reading: Reading, counts: np.ndarray) -> np.ndarray:
        schedule, counts = reading.schedule, reading.at(counts)
        if isinstance(schedule, ReduceLROnPlateau):
            schedule = self.replay(schedule, False)
        lrs = np.asarray(schedule(counts), np.float64)
        return np.where(counts < self.known, lrs, np.nan)

    def agrees(self, reading: Reading, rows: Any = slice(None), loose: bool = False) -> np.ndarray:
        """Whether each row has the value that the reading expects there."""
        slack = self.slack if isinstance(self.slack, float) else self.slack[rows]
        expected = self.expected(reading, self.counts[rows])
        return is_close(self.lrs[rows], expected, slack, self.peak, loose)

    @functools.cached_property
    def peak(self) -> float:
        return float(np.abs(self.lrs).max())

    @functools.cached_property
    def changes(self) -> np.ndarray:
        """The rows whose learning rate is not that of the row before."""
        return np.flatnonzero(np.diff(self.lrs)) + 1

    @functools.cached_property
    def probes(self) -> np.ndarray:
        """Some rows, by which most proposals fail."""
        ends = np.concatenate([self.changes[:16], self.changes[-16:]])
        spread = np.linspace(0, len(self.lrs) - 1, 32).astype(int)
        return np.unique(np.concatenate([spread, ends - 1, ends]))

    def is_explained(self, reading: Reading, loose: bool) -> bool:
        some = self.agrees(reading, self.probes, loose)
        return bool(some.all() and self.agrees(reading, loose=loose).all())


def is_close(found: Any, expected: Any, slack: Any, peak: float, loose: bool = False) -> np.ndarray:
    """Equality: to the precision of float32, or to the printed digits. See `compare`."""
    with np.errstate(all="ignore"):
        allowed = np.maximum(2.0**-23 * np.abs(expected), slack * (1 + 1e-9))
        # What float32 arithmetic loses depends on the largest number in it.
        return np.abs(found - expected) <= allowed + (2.0**-21 if loose else 1e-15) * peak


def diagnose(reading: Reading, logs: dict[str, Log]) -> tuple[str, tuple[Finding, ...]]:
    """The mistakes that together explain every row of one of the logs, and the name of that log.

    One or two, and the simplest ones; or none.
    """
    with np.errstate(all="ignore"):
        for loose, mistakes in ((False, 1), (True, 0), (False, 2), (True, 1), (True, 2)):
            for name, log in logs.items():
                if len(log.lrs) < _FEWEST_ROWS:
                    continue
                for last, findings in _explanations(reading, log, mistakes):
                    if log.is_explained(last, loose):
                        return name, findings + (_FLOAT32,) * loose
    return "", ()


_FLOAT32 = Finding(
    "float32-arithmetic",
    "Some rows differ in the last digits of float32: the log is computed in float32.",
    "Nothing. torch and jaxsched compute in double precision; optax's schedules do not.",
)


def _explanations(
    reading: Reading, log: Log, mistakes: int
) -> Iterator[tuple[Reading, tuple[Finding, ...]]]:
    if mistakes == 0:
        yield reading, ()
        return
    for change, first in _proposals(reading, log):
        if mistakes == 1:
            if first.cost <= len(log.changes) + 1:
                yield first.reading, (first.finding,)
            continue
        for other, second in _proposals(first.reading, log):
            if other is not change and first.cost + second.cost <= len(log.changes) + 1:
                yield second.reading, (first.finding, second.finding)


def _proposals(reading: Reading, log: Log) -> Iterator[tuple[Any, Proposal]]:
    for change in _CHANGES:
        for proposal in change(reading, log):
            yield change, proposal


# -- schedules with another argument -------------------------------------------------------------


def _parts(schedule: Any) -> list[Any]:
    return [*schedule._parts()] if isinstance(schedule, Schedule) else [schedule]


def changed(schedule: Any, change: Callable[[Any], Any]) -> Any:
    """The schedule with `change` done to each part, to members first; itself if nothing changes."""

    def deep(value: Any) -> Any:
        if isinstance(value, Schedule):
            return changed(value, change)
        if isinstance(value, tuple) and any(isinstance(part, Schedule) for part in value):
            new = tuple(map(deep, value))
            return value if all(a is b for a, b in zip(new, value, strict=True)) else new
        return value

    fields = schedule.__getstate__()
    new = {name: deep(value) for name, value in fields.items()}
    new = {name: value for name, value in new.items() if value is not fields[name]}
    return change(dataclasses.replace(schedule, **new) if new else schedule)


def _variants(reading: Reading, changes: Iterable[Callable[[Any], Any]]) -> Iterator[Any]:
    """For each change the reading with it; None where it changes nothing or is refused."""
    for change in changes:
        try:
            schedule = changed(reading.schedule, change)
        except (TypeError, ValueError):
            yield None
            continue
        yield None if schedule is reading.schedule else reading._replace(schedule=schedule)


def _setting(field: str, old: Any, new: Any) -> Callable[[Any], Any]:
    def change(part: Any) -> Any:
        if field not in part.__getstate__() or getattr(part, field) != old:
            return part
        return dataclasses.replace(part, **{field: new})

    return change


def is_adapter(part: Any) -> bool:
    return isinstance(part, (per_epoch, smooth_epochs))


def _values(schedule: Any, *fields: str) -> list[tuple[str, Any]]:
    found = [
        (field, getattr(part, field))
        for part in _parts(schedule)
        for field in fields
        if field in part.__getstate__()
        if not (field == "factor" and isinstance(part, ConstantLR))
    ]
    return list(dict.fromkeys(found))


def _near(value: float, tolerance: float) -> list[float]:
    """The number with the fewest digits that is as good, and the number itself."""
    if not (math.isfinite(value) and value >= 0):
        return []
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= tolerance * value:
            return [short, value]
    return [value]


def _fit(reading: Reading, log: Log, field: str, old: float, estimates: Any) -> Iterator[Proposal]:
    tried = dict.fromkeys(x for estimate in estimates for x in _near(*estimate) if x != old)
    for new, variant in zip(
        tried, _variants(reading, (_setting(field, old, x) for x in tried)), strict=True
    ):
        if variant is not None:
            yield Proposal(
                variant,
                Finding(
                    f"another-{field.replace('_', '-')}",
                    f"The log has {field}={new:.9g}, not {old:.9g}.",
                    f"Give both runs one {field}.",
                ),
                1,
            )


def _tolerance(log: Log, row: int) -> float:
    slack = log.slack if isinstance(log.slack, float) else log.slack[row]
    return max(2.0**-25, float(slack) / abs(float(log.lrs[row]) or math.inf))


def _another_lr(reading: Reading, log: Log) -> Iterator[Proposal]:
    """A value is a straight line in each of these, so two values of it show the third."""
    rows = np.array([0, int(np.argmax(log.lrs)), *log.changes[:1], len(log.lrs) - 1])
    counts = log.counts[rows]
    now = log.expected(reading, counts)
    for field, old in _values(reading.schedule, "base_lr", "max_lr", "eta_min", "swa_lr"):
        unit = old or log.peak
        zero, one = _variants(reading, [_setting(field, old, 0.0), _setting(field, old, unit)])
        if zero is None and one is None:
            continue
        at_zero = now if zero is None else log.expected(zero, counts)
        at_one = now if one is None else log.expected(one, counts)
        fitted = unit * (log.lrs[rows] - at_zero) / (at_one - at_zero)
        highest = unit * log.peak / np.nanmax(log.expected(reading, log.counts[log.probes]))
        estimates = [(float(x), _tolerance(log, row)) for x, row in zip(fitted, rows, strict=True)]
        yield from _fit(reading, log, field, old, [*estimates, (float(highest), 2.0**-25)])
    if not _values(reading.schedule, "base_lr", "max_lr"):
        ratios = dict.fromkeys(float(x) for x in log.lrs[rows] / now if np.isfinite(x) and x > 0)
        for times in dict.fromkeys(x for ratio in ratios for x in _near(ratio, 2.0**-25)):
            (variant,) = _variants(
                reading,
                [lambda p, x=times: RecordedLR(x * p.values) if type(p) is RecordedLR else p],
            )
            if variant is not None:
                yield Proposal(
                    variant,
                    Finding(
                        "another-base-lr",
                        f"The log is {times:.9g} times the schedule.",
                        "Give both runs one learning rate.",
                    ),
                    1,
                )


def _another_gamma(reading: Reading, log: Log) -> Iterator[Proposal]:
    """Values with two gammas show how often each row has been multiplied, and so the third."""
    counts, lrs = log.counts[log.probes], log.lrs[log.probes]
    now = log.expected(reading, counts)
    for field, old in _values(reading.schedule, "gamma", "factor"):
        if not old:
            continue
        other, zero = _variants(
            reading, [_setting(field, old, 0.999 * old), _setting(field, old, 0.0)]
        )
        if other is None or zero is None:
            continue
        offset = log.expected(zero, counts)
        now_part, part, found = now - offset, log.expected(other, counts) - offset, lrs - offset
        times = np.log(now_part / part) / -math.log(0.999)
        fitted = old * (found / now_part) ** (1 / times)
        known = np.flatnonzero(np.isfinite(fitted) & (times > 1e-6) & (found > 0))
        picked = {known[i] for i in (0, len(known) // 2, -1)} if len(known) else ()
        estimates = [
            (float(fitted[i]), _tolerance(log, log.probes[i]) / times[i]) for i in sorted(picked)
        ]
        yield from _fit(reading, log, field, old, estimates)


# -- what people do to a count -------------------------------------------------------------------


def _off_by_one(reading: Reading, log: Log) -> Iterator[Proposal]:
    units = {1: "count"}
    for _, length in _values(reading.schedule, "steps_per_epoch"):
        if isinstance(length, int) and any(map(is_adapter, _parts(reading.schedule))):
            units.setdefault(length, "epoch")
    for by, unit in units.items():
        yield Proposal(
            reading.shifted(lambda counts, by=by: counts + by),
            Finding(
                "read-after-step",
                f"The log is one {unit} early: each row has the learning rate of the next {unit}.",
                "torch's get_last_lr() reads so after scheduler.step(): log it before the step. If "
                f"the run did use these learning rates, it was one {unit} early.",
            ),
            1,
        )
        yield Proposal(
            reading.shifted(lambda counts, by=by: np.maximum(counts - by, 0)),
            Finding(
                "off-by-one",
                f"The log is one {unit} late: each row has the learning rate of the {unit} before.",
                f"If the log numbers its rows from 1, number them from 0. If not, the run is one "
                f"{unit} late.",
            ),
            1,
        )


def _whole_numbers(low: float, high: float) -> range:
    """From low to high; none if they are too many to try."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return range(0)
    numbers = range(max(1, math.ceil(low - 1e-9)), math.floor(high + 1e-9) + 1)
    return numbers if len(numbers) <= _MOST_TRIED else range(0)


def _lengths(log: Log, changes: np.ndarray, faster: bool) -> range:
    """The lengths of a count with which the schedule changes between the rows where the log does.

    A log that is n times as slow changes at count n * changes, one that is n times as fast at
    count changes / n.
    """
    low, high = 0.0, math.inf
    for row, change in zip(log.changes[:16], changes, strict=False):
        before, after = float(log.counts[row - 1]), float(log.counts[row])
        if faster:
            bounds = change / after, change / before - 1e-6 if before else math.inf
        else:
            bounds = (before + 1) / change, after / change
        if max(low, bounds[0]) > min(high, bounds[1]):
            break
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return _whole_numbers(low, high)


def _other_unit(reading: Reading, log: Log) -> Iterator[Proposal]:
    schedule = reading.schedule
    if isinstance(schedule, ReduceLROnPlateau):
        return
    adapters = [part for part in _parts(schedule) if is_adapter(part)]
    inner = adapters[0].schedule if adapters else schedule
    last = int(log.counts[-1])
    num_counts = min(log.known, _MOST_COUNTS, 4096 * (last + 1))
    curve = np.asarray(inner(np.arange(num_counts)), np.float64)
    changes = np.flatnonzero(np.diff(curve)) + 1
    for old in {adapter.steps_per_epoch for adapter in adapters}:
        for new in dict.fromkeys([1, *_lengths(log, changes, faster=False)]):
            (variant,) = _variants(reading, [_setting("steps_per_epoch", old, new)])
            if variant is None or new == old:
                continue
            if new == 1:
                finding = Finding(
                    "epochs-for-updates",
                    "The log takes epochs for updates: at update n it is at epoch n.",
                    "Step the schedule once an epoch in that run, as per_epoch does.",
                )
            elif isinstance(old, int) and new == old * old:
                finding = Finding(
                    "updates-for-epochs",
                    f"The log takes updates for epochs: it changes {old} times too late.",
                    "Give the schedule its milestones in epochs, or leave per_epoch out.",
                )
            else:
                finding = Finding(
                    "steps-per-epoch",
                    f"The log has {new} updates in an epoch, not {old}.",
                    "Count them again: js.steps_per_epoch(num_examples, batch_size, drop_last=...).",
                )
            yield Proposal(variant, finding, 1 if new == 1 else 3)
    if adapters:
        return
    for new in _lengths(log, changes, faster=False):
        if new > 1:
            yield Proposal(
                reading.shifted(lambda counts, new=new: counts // new),
                Finding(
                    "updates-for-epochs",
                    f"The log stays at each count of the schedule for {new} counts.",
                    "If the schedule is in epochs and the log in updates, compare with "
                    f"steps_per_epoch={new}.",
                ),
                3,
            )
    row = len(log.lrs) // 2
    near = np.flatnonzero(is_close(log.lrs[row], curve, 0.0, log.peak, loose=True))
    near = near[near > 0] / max(int(log.counts[row]), 1)
    by_value = _whole_numbers(near[0] - 1, near[-1] + 1) if len(near) else ()
    for new in dict.fromkeys([*_lengths(log, changes, faster=True), *by_value]):
        if new > 1:
            yield Proposal(
                reading.shifted(lambda counts, new=new: counts * new),
                Finding(
                    "epochs-for-updates",
                    f"The log runs {new} times as fast: at count n it is at count {new} * n.",
                    "If the schedule is in updates and the log has a row for each epoch, give it a "
                    "column `step`. If not, the run takes epochs for updates.",
                ),
                3,
            )


def _restart(reading: Reading, log: Log) -> Iterator[Proposal]:
    counts, lrs = log.counts, log.lrs
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    again = log.changes[is_close(lrs[log.changes], lrs[0], 0.0, log.peak)][:8]
    found = {(int(counts[row]), int(counts[row] - counts[0])) for row in again}
    agrees = log.agrees(reading)
    first = int(np.argmin(agrees))
    later = log.changes[log.changes >= first]
    if first > 0 and len(later):
        row = int(later[-1])
        gap = int(counts[row] - counts[row - 1])
        curve = log.expected(reading, np.arange(min(int(counts[row]), _MOST_COUNTS)))
        slack = log.slack if isinstance(log.slack, float) else log.slack[row]
        places = np.flatnonzero(is_close(lrs[row], curve, slack, log.peak))
        places = places[places >= gap]
        places = places[is_close(lrs[row - 1], curve[places - gap], slack, log.peak)]
        for behind in (int(counts[row]) - places[-_MOST_TRIED:]).tolist():
            behind_reading = reading.shifted(lambda c, by=behind: np.maximum(c - by, 0))
            wrong = np.flatnonzero(~log.agrees(behind_reading, slice(first, None)))
            if len(wrong):
                continue
            start = first
            while start and log.agrees(behind_reading, [start - 1])[0] and counts[start] > behind:
                start -= 1
            at = behind if counts[start] <= behind <= counts[first] else int(counts[first])
            if at == behind or len(later) >= 2:
                found.add((at, behind))
    for at, behind in sorted(found, key=lambda pair: pair[0] - pair[1]):
        if np.count_nonzero(counts >= at) < 3:
            continue
        where = f"count {at - behind}, {behind} counts behind" if at > behind else "count 0"
        yield Proposal(
            reading.shifted(
                lambda c, at=at, by=behind: np.where(c >= at, np.maximum(c - by, 0), c)
            ),
            Finding(
                "restart",
                f"From count {at} on the log goes on from {where}.",
                "Restore the whole optimizer state when a run resumes, or set its count with "
                f"js.set_count(opt_state, {at}).",
            ),
            2 if at == behind else 3,
        )


# -- other curves --------------------------------------------------------------------------------


def _smooth(reading: Reading, log: Log) -> Iterator[Proposal]:
    def decay(part: Any) -> Any:
        if type(part) is StepLR and part.gamma:
            return ExponentialLR(part.base_lr, part.gamma ** (1 / part.step_size))
        return part

    def epochs(part: Any) -> Any:
        return smooth_epochs(*part._values()) if type(part) is per_epoch else part

    def both(part: Any) -> Any:
        return epochs(decay(part))

    def stand_still(part: Any) -> Any:
        return per_epoch(*part._values()) if type(part) is smooth_epochs else part

    smooth = Finding(
        "smooth",
        "The log moves at every count where the schedule stands still.",
        "Step once an epoch (per_epoch, not smooth_epochs), or decay with staircase=True.",
    )
    still = Finding(
        "stands-still",
        "The log stands still in each epoch where the schedule moves at every update.",
        "Step at every update with a part of the epoch, or use per_epoch, not smooth_epochs.",
    )
    changes = {decay: smooth, epochs: smooth, both: smooth, stand_still: still}
    for variant, finding in zip(_variants(reading, changes), changes.values(), strict=True):
        if variant is not None:
            yield Proposal(variant, finding, 1)


def _late_in_optax(reading: Reading, log: Log) -> Iterator[Proposal]:
    last = int(log.counts[-1])

    def in_updates(part: Any) -> Any:
        if type(part) is per_epoch and type(part.schedule) is StepLR:
            if isinstance(length := part.steps_per_epoch, int):
                step = part.schedule
                return StepLR(step.base_lr, step.step_size * length, step.gamma)
        return part

    def late(part: Any) -> Any:
        if type(part) is not StepLR or last // part.step_size > _MOST_DECAYS:
            return part
        counts = part.step_size * np.arange(1, last // part.step_size + 1)
        # XLA divides by a constant in float32 through its reciprocal.
        reciprocal = np.float32(1) / np.float32(part.step_size)
        is_late = np.floor(counts.astype(np.float32) * reciprocal) < counts // part.step_size
        return MultiStepLR(part.base_lr, counts + is_late, part.gamma) if is_late.any() else part

    if not isinstance(reading.schedule, Schedule):
        return
    in_float32 = reading._replace(schedule=changed(reading.schedule, in_updates))
    for variant in _variants(in_float32, [late]):
        if variant is not None:
            yield Proposal(
                variant,
                Finding(
                    "optax-late",
                    "The log decays one count late at some boundaries, as "
                    "optax.exponential_decay(staircase=True) does under jit.",
                    "Use jaxsched's schedule in that run: its boundaries are exact.",
                ),
                2,
            )


def _plateau_early(reading: Reading, log: Log) -> Iterator[Proposal]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        yield Proposal(
            Reading(log.replay(reading.schedule, True), reading.at),
            Finding(
                "plateau-early",
                "The log cuts one bad epoch early, as optax.contrib.reduce_on_plateau does.",
                "Use ReduceLROnPlateau in that run, or give optax a patience greater by one.",
            ),
            1,
        )


def _warmups(schedule: Any) -> list[tuple[Any, Any]]:
    """Each warmup, after the composition that it is a member of."""
    return [
        (part, member)
        for part in _parts(schedule)
        if isinstance(part, (SequentialLR, ChainedScheduler)) and len(part.schedulers) > 1
        for member in part.schedulers[: 1 if isinstance(part, SequentialLR) else None]
        if isinstance(member, (LinearLR, ConstantLR))
    ]


def _no_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    for part, warmup in _warmups(reading.schedule):
        others = [member for member in part.schedulers if member is not warmup]
        if len(others) == 1:
            rest: Any = others[0]
        elif isinstance(part, ChainedScheduler):
            rest = ChainedScheduler(others)
        else:
            first, *later = part.milestones
            rest = SequentialLR(others, [milestone - first for milestone in later])
        (variant,) = _variants(reading, [lambda p, part=part, rest=rest: rest if p is part else p])
        if variant is not None:
            yield Proposal(
                variant,
                Finding(
                    "no-warmup",
                    f"The log has no warmup: the {warmup.total_iters} counts of "
                    f"{type(warmup).__name__} are missing.",
                    "Give that run the warmup, or leave it out here.",
                ),
                1,
            )


def _another_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top = int(np.argmax(log.lrs))
    rows = sorted({top, top - 1, top // 2} - {-1, 0})
    for part, warmup in _warmups(reading.schedule):
        old = warmup.total_iters
        lengths = [n for _, n in _values(reading.schedule, "steps_per_epoch") if type(n) is int]
        estimates = {int(log.counts[top]) // n for n in (1, *lengths)}
        most = max(int(log.counts[top]), old * max([1, *lengths])) + 2
        rise = log.expected(reading, np.arange(min(most, log.known, _MOST_COUNTS)))
        rise = rise[: int(np.nanargmax(rise)) + 1]
        for row in rows:  # where the schedule has this value, and so how much longer it takes
            place = float(np.interp(log.lrs[row], rise, np.arange(len(rise))))
            near = round(old * float(log.counts[row]) / place) if place else 0
            estimates |= {near - 1, near, near + 1}
        for new in sorted(estimates - {old}):
            yield from _with_warmup(reading, part, warmup, new)


def _with_warmup(reading: Reading, part: Any, warmup: Any, new: int) -> Iterator[Proposal]:
    old = warmup.total_iters
    if new < 1:
        return
    longer = dataclasses.replace(warmup, total_iters=new)
    members = [longer if member is warmup else member for member in part.schedulers]
    if isinstance(part, ChainedScheduler):
        compositions = [ChainedScheduler(members)]
    else:
        moved = [milestone + new - old for milestone in part.milestones]
        first_moved = [moved[0], *part.milestones[1:]]
        compositions = []
        for milestones in dict.fromkeys(map(tuple, (moved, first_moved, part.milestones))):
            if all(a < b for a, b in itertools.pairwise((-1, *milestones))):
                compositions.append(SequentialLR(members, milestones))
    changes = [lambda p, new=new: new if p is part else p for new in compositions]
    for variant in _variants(reading, changes):
        if variant is not None:
            more = "longer" if new > old else "shorter"
            yield Proposal(
                variant,
                Finding(
                    "another-warmup",
                    f"The log has a warmup of {new} counts, {abs(new - old)} {more} than {old}.",
                    "Give both one total_iters, and the milestone that belongs to it.",
                ),
                2,
            )


def _added_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top = int(np.argmax(log.lrs))
    if _warmups(reading.schedule) or top < 2 or not isinstance(reading.schedule, Schedule):
        return
    start, counts = float(log.lrs[0]), log.counts
    for row in {top - 1, top // 2}:
        # A line through row 0 and this row reaches the schedule's own learning rate.
        peak = float(log.expected(reading, np.array([0]))[0])
        slope = (float(log.lrs[row]) - start) / float(counts[row] - counts[0] or math.inf)
        length = round((peak - start) / slope) if slope > 0 and peak > start else 0
        for new in {length - 1, length, length + 1, int(counts[top])}:
            if new < 1 or not 0 <= start < peak:
                continue
            warmup = LinearLR(peak, start / peak, total_iters=new)
            finding = Finding(
                "added-warmup",
                f"The log has a warmup of {new} counts, from {start:.6g} on.",
                "Put it before the schedule: SequentialLR([LinearLR(...), schedule], [total_iters]).",
            )
            both = SequentialLR([warmup, reading.schedule], [new])
            yield Proposal(Reading(both, reading.at), finding, 3)
            try:
                both = ChainedScheduler([warmup, reading.schedule])
            except ValueError:
                continue
            yield Proposal(Reading(both, reading.at), finding, 3)


_CHANGES = (
    _off_by_one,
    _another_lr,
    _another_gamma,
    _plateau_early,
    _smooth,
    _late_in_optax,
    _no_warmup,
    _another_warmup,
    _added_warmup,
    _other_unit,
    _restart,
)
"""What is tried, the simplest first."""
