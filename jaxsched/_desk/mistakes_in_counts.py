"""Mistakes in the count: one late or early, another unit, a restart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jaxsched._desk.curve import MOST_TABULATED, Finding
from jaxsched._desk.diagnose import Log, Proposal, Reading
from jaxsched._desk.variants import (
    is_adapter,
    schedules_in,
    setting,
    variant_of,
    whole_epoch_lengths,
)
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_TRIED = 64  # integers in a range
_MOST_EPOCHS = 2**12


def off_by_one(reading: Reading, log: Log) -> Iterator[Proposal]:
    epochs = {length: "epoch" for length in whole_epoch_lengths(reading.schedule)}
    for by, unit in ({1: "count"} | epochs).items():
        ahead = reading.shifted(lambda counts, by=by: counts + by)
        finding = Finding(
            "read-after-step",
            f"The log is one {unit} early: each row has the learning rate of the next {unit}.",
            "After scheduler.step() torch's get_last_lr() reads so: log it before. If the run did "
            f"use these learning rates, it was one {unit} early: lambda count: schedule(count + "
            f"{by}) is so on purpose.",
        )
        yield Proposal(ahead, finding, cost=1)
        behind = reading.shifted(lambda counts, by=by: np.maximum(counts - by, 0))
        finding = Finding(
            "off-by-one",
            f"The log is one {unit} late: each row has the learning rate of the {unit} before.",
            f"If the log counts from 1, subtract 1. If not, the run was one {unit} late.",
        )
        yield Proposal(behind, finding, cost=1)


def _whole_numbers(low: float, high: float) -> range:
    """From low to high; none if they are too many to try."""
    if not low <= high < low + _MOST_TRIED:
        return range(0)
    return range(max(1, math.ceil(low - 1e-9)), math.floor(high + 1e-9) + 1)


def _times(reading: Reading, log: Log, changes: np.ndarray, slower: bool) -> range:
    """How many times as slow, or as fast, the log is, by the counts at which both change."""
    low, high, rows = 0.0, math.inf, log.changes[:16]
    ends = [reading.at(log.counts[row]).astype(float) for row in (rows - 1, rows)]
    for before, after, change in zip(*ends, changes, strict=False):
        if slower:
            least, most = (before + 1) / change, after / change
        else:
            least, most = change / after, (change - 0.5) / before if before else math.inf
        if max(low, least) > min(high, most):
            break
        low, high = max(low, least), min(high, most)
    return _whole_numbers(low, high)


def other_unit(reading: Reading, log: Log) -> Iterator[Proposal]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    adapters = [member for member in schedules_in(reading.schedule) if is_adapter(member)]
    inner = adapters[0].schedule if adapters else reading.schedule
    last = int(log.counts[-1])
    curve = inner(np.arange(min(last + 1, log.horizon, MOST_TABULATED)))
    times = _times(reading, log, np.flatnonzero(np.diff(curve)) + 1, slower=True)
    for old in dict.fromkeys(adapter.steps_per_epoch for adapter in adapters):
        near = [old - 1, old + 1] if isinstance(old, int) else []
        for new in dict.fromkeys([1, *near, *times]):
            variant = variant_of(reading, setting("steps_per_epoch", old, max(new, 1)))
            if variant is None:
                continue
            if new == 1:
                finding = Finding(
                    "epochs-for-updates",
                    "The log takes epochs for updates: at row n it is at epoch n.",
                    "Step once an epoch in that run. If the log has one row an epoch, name its "
                    "column `epoch`.",
                )
                yield Proposal(variant, finding, cost=1)
            elif isinstance(old, int) and new == old * old:
                yield Proposal(variant, _updates_for_epochs(new, old), cost=2)
            else:
                finding = Finding(
                    "steps-per-epoch",
                    f"The log has {new} updates in an epoch, not {old}.",
                    "Count them again, with js.steps_per_epoch(num_examples, batch_size, "
                    "drop_last=...).",
                )
                yield Proposal(variant, finding, cost=2 if new in near else 3)
    for new in () if adapters else times:
        variant = reading.shifted(lambda counts, new=new: counts // new)
        if new > 1:
            yield Proposal(variant, _updates_for_epochs(new, 1), cost=3)


def _updates_for_epochs(new: int, old: int) -> Finding:
    return Finding(
        "updates-for-epochs",
        f"The log takes updates for epochs: it stays {new} counts where the schedule stays {old}.",
        "If the schedule is in epochs, and the log in updates, compare with "
        f"steps_per_epoch={new}. If not, step at every update in that run.",
    )


def faster(reading: Reading, log: Log) -> Iterator[Proposal]:
    """The log has a row for each epoch, or the run took epochs for updates."""
    if reading.schedule is not log.schedule or log.counts[-1] > _MOST_EPOCHS:
        return
    if isinstance(log.schedule, ReduceLROnPlateau):
        return
    curve = log.curve
    times = _times(reading, log, np.flatnonzero(np.diff(curve)) + 1, slower=False)
    # Of a smooth schedule: the counts at which it first has the value of a row in the middle.
    row = len(log.lrs) // 2
    places = np.flatnonzero(log.is_close(row, curve * (log.lrs[0] / curve[0])))
    places = places[places - np.arange(len(places)) == places[:1]] / log.counts[row]
    by_value = _whole_numbers(places[0] - 1, places[-1] + 1) if len(places) else ()
    for new in dict.fromkeys([*times, *by_value]):
        variant = reading.shifted(lambda counts, new=new: counts * new)
        if new > 1:
            finding = Finding(
                "epochs-for-updates",
                f"The log is {new} times as fast: at count n it is at count {new} * n.",
                "Step once an epoch in that run. If the log has one row an epoch and the schedule "
                "is in updates, give it a column `step`.",
            )
            yield Proposal(variant, finding, cost=3)


def restart(reading: Reading, log: Log) -> Iterator[Proposal]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    counts, lrs = log.counts, log.lrs
    again = log.changes[log.is_close(log.changes, lrs[0])][:8]
    found = {(int(counts[row]), int(counts[row] - counts[0])) for row in again}
    first = int(np.argmin(log.agrees(reading)))
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
            behind = reading.shifted(lambda c, by=by: np.maximum(c - by, 0))
            agrees = log.agrees(behind, slice(0, None))
            if not agrees[first:].all():
                continue
            before = counts[first - 1 - int(np.argmin(agrees[:first][::-1]))]
            starts_at_zero = (agrees[:first].all() or before < by) and by <= counts[first]
            found.add((by if starts_at_zero else int(counts[first]), by))
    for at, by in sorted(found, key=lambda pair: pair[0] - pair[1]):
        variant = reading.shifted(
            lambda c, at=at, by=by: np.where(c < at, c, np.maximum(c - by, 0))
        )
        if np.count_nonzero(counts >= at) > 2:
            finding = Finding(
                "restart",
                f"From count {at} on the log goes on from count {at - by}.",
                "Restore the whole optimizer state when the run resumes, or use "
                f"js.set_count(opt_state, {at}).",
            )
            yield Proposal(variant, finding, cost=2 if at == by else 3)
