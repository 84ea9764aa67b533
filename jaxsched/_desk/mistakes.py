"""The mistakes that `compare` tries: each proposes readings of a schedule that have it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import Finding, epoch_lengths
from jaxsched._desk.diagnose import Log, Proposal, Reading
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.decay import ConstantLR, ExponentialLR, LinearLR, MultiStepLR, StepLR
from jaxsched._schedules.epochs import per_epoch, smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_TRIED = 64  # integers in a range
_MOST_COUNTS = 10**6
_MOST_DECAYS = 10**4
_MOST_EPOCHS = 2**12

_TEXTS = {
    "read-after-step": (
        "The log is one {unit} early: each row has the learning rate of the next {unit}.",
        "After scheduler.step() torch's get_last_lr() reads so: log it before. If the run did use "
        "these learning rates, it was one {unit} early.",
    ),
    "off-by-one": (
        "The log is one {unit} late: each row has the learning rate of the {unit} before.",
        "If the log counts from 1, subtract 1. If not, the run was one {unit} late.",
    ),
    "another-value": (
        "The log has {name}={new:.9g}, not {old:.9g}.",
        "Use {name}={new:.9g} here, or {name}={old:.9g} in that run.",
    ),
    "times": (
        "The log is {new:.9g} times the schedule.",
        "Multiply the learning rates here by {new:.9g}, or divide them in that run.",
    ),
    "smooth": (
        "The log moves at every count where the schedule stands still.",
        "Step once an epoch in that run, or decay with staircase=True. Or use a smooth schedule "
        "here: smooth_epochs, ExponentialLR.",
    ),
    "stands-still": (
        "The log stands still for {length} counts where the schedule moves at every count.",
        "Use per_epoch here and a schedule in epochs, or step at every update in that run.",
    ),
    "optax-late": (
        "The log decays one count late at some boundaries, as optax's exponential_decay does under "
        "jit.",
        "Use jaxsched's schedule in that run. Its boundaries are exact.",
    ),
    "plateau-early": (
        "The log cuts one bad epoch early, as optax.contrib.reduce_on_plateau does.",
        "Use jaxsched's ReduceLROnPlateau in that run, or give optax's one more `patience`.",
    ),
    "no-warmup": (
        "The log has no warmup: the {old} counts of {name} are missing.",
        "Give that run the warmup, or leave it out here.",
    ),
    "another-warmup": (
        "The log has a warmup of {new} counts, {by} {more} than the schedule's, which has {old}.",
        "Use total_iters={new} here, and the milestone that belongs to it, or {old} in that run.",
    ),
    "added-warmup": (
        "The log has a warmup of {new} counts, from {start:.6g} on.",
        "Put one before the schedule: SequentialLR([LinearLR(...), schedule], [{new}]).",
    ),
    "milestones-clock": (
        "The log reaches the milestones of {name} {by} counts {when}: counted from its start at "
        "{start} they are {new}.",
        "A member of SequentialLR has its own clock, as in torch: write milestones={new} here.",
    ),
    "epochs-for-updates": (
        "The log takes epochs for updates: at row n it is at epoch n.",
        "Step once an epoch in that run. If the log has one row an epoch, name its column `epoch`.",
    ),
    "faster": (
        "The log is {new} times as fast: at count n it is at count {new} * n.",
        "Step once an epoch in that run. If the log has one row an epoch and the schedule is in "
        "updates, give it a column `step`.",
    ),
    "updates-for-epochs": (
        "The log takes updates for epochs: it stays {new} counts where the schedule stays {old}.",
        "If the schedule is in epochs, and the log in updates, compare with steps_per_epoch={new}. "
        "If not, step at every update in that run.",
    ),
    "steps-per-epoch": (
        "The log has {new} updates in an epoch, not {old}.",
        "Count them again, with js.steps_per_epoch(num_examples, batch_size, drop_last=...).",
    ),
    "restart": (
        "From count {at} on the log goes on from count {new}.",
        "Restore the whole optimizer state when the run resumes, or use js.set_count(opt_state, "
        "{at}).",
    ),
}


def _proposal(reading: Reading, cost: int, text: str, code: str = "", **numbers: Any) -> Proposal:
    message, advice = (template.format(**numbers) for template in _TEXTS[text])
    return Proposal(reading, Finding(code or text, message, advice), cost)


# -- schedules with another argument -------------------------------------------------------------


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


def _flat(schedule: Any) -> list[Any]:
    """The schedule, its members, their members, and so on."""
    return [*schedule._parts()] if isinstance(schedule, Schedule) else [schedule]


def is_adapter(part: Any) -> bool:
    return isinstance(part, (per_epoch, smooth_epochs))


def _with(reading: Reading, change: Callable[[Any], Any]) -> Reading | None:
    """The reading with a changed schedule; None if nothing changes, or a schedule refuses it."""
    try:
        schedule = changed(reading.schedule, change)
    except (TypeError, ValueError):
        return None
    return None if schedule is reading.schedule else reading._replace(schedule=schedule)


def _setting(name: str, old: Any, new: Any) -> Callable[[Any], Any]:
    def change(part: Any) -> Any:
        is_it = part.__getstate__().get(name) == old if name in part._checks else False
        return dataclasses.replace(part, **{name: new}) if is_it else part

    return change


def _replacing(old: Any, new: Any) -> Callable[[Any], Any]:
    return lambda part: new if part is old else part


def _values(schedule: Any, *names: str) -> dict[tuple[str, Any], None]:
    """The different values of these arguments, anywhere in the schedule."""
    found = [(name, part) for part in _flat(schedule) for name in names if name in part._checks]
    return dict.fromkeys((name, getattr(part, name)) for name, part in found)


def _epoch_lengths(schedule: Any) -> list[int]:
    return sorted(n for n in epoch_lengths(schedule) if isinstance(n, int))


# -- another learning rate or gamma --------------------------------------------------------------


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
        if abs(new - old) > 1e-6 * old and (variant := _with(reading, _setting(name, old, new))):
            code = f"another-{name.replace('_', '-')}"
            yield _proposal(variant, 1, "another-value", code, name=name, new=new, old=old)


def _another_lr(reading: Reading, log: Log) -> Iterator[Proposal]:
    last = len(log.lrs) - 1
    rows = np.unique([0, int(np.argmax(log.lrs)), *log.changes[:1], last // 4, last // 2, last])
    counts, lrs, tolerances = log.counts[rows], log.lrs[rows], _tolerances(log, rows)
    now = log.expected(reading, counts)
    highest = np.nanmax(log.expected(reading, log.counts[log.probes]))
    for name, old in _values(reading.schedule, "base_lr", "max_lr", "eta_min", "swa_lr"):
        # Each value is a straight line in this argument: two points of it give the third.
        unit = old or log.peak
        zero, one = (_with(reading, _setting(name, old, x)) for x in (0.0, unit))
        at_zero, at_one = (now if x is None else log.expected(x, counts) for x in (zero, one))
        fitted = unit * (lrs - at_zero) / (at_one - at_zero)
        estimates = [*zip(fitted, tolerances, strict=True), (unit * log.peak / highest, 2.0**-25)]
        yield from _fitted(reading, name, old, estimates)
    if any(isinstance(part, RecordedLR) for part in _flat(reading.schedule)):
        ratios = (lrs / now)[np.isfinite(lrs / now)]
        for new in dict.fromkeys(x for ratio in ratios for x in _near(float(ratio), 2.0**-25)):
            variant = _with(
                reading,
                lambda part, new=new: (
                    RecordedLR(new * part.values) if isinstance(part, RecordedLR) else part
                ),
            )
            if variant:
                yield _proposal(variant, 1, "times", "another-base-lr", new=new)


def _another_gamma(reading: Reading, log: Log) -> Iterator[Proposal]:
    counts, lrs = log.counts[log.probes], log.lrs[log.probes]
    names = ["factor" if isinstance(reading.schedule, ReduceLROnPlateau) else "gamma"]
    for name, old in _values(reading.schedule, *names):
        zero, other = (_with(reading, _setting(name, old, x)) for x in (0.0, 0.999 * old))
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


# -- another count -------------------------------------------------------------------------------


def _off_by_one(reading: Reading, log: Log) -> Iterator[Proposal]:
    epochs = {length: "epoch" for length in _epoch_lengths(reading.schedule)}
    for by, unit in ({1: "count"} | epochs).items():
        ahead = reading.shifted(lambda counts, by=by: counts + by)
        yield _proposal(ahead, 1, "read-after-step", unit=unit)
        behind = reading.shifted(lambda counts, by=by: np.maximum(counts - by, 0))
        yield _proposal(behind, 1, "off-by-one", unit=unit)


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


def _other_unit(reading: Reading, log: Log) -> Iterator[Proposal]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        return
    adapters = [part for part in _flat(reading.schedule) if is_adapter(part)]
    inner = adapters[0].schedule if adapters else reading.schedule
    last = int(log.counts[-1])
    changes = np.diff(inner(np.arange(min(last + 1, log.known, _MOST_COUNTS)))).nonzero()[0] + 1
    times = _times(reading, log, changes, slower=True)
    for old in dict.fromkeys(adapter.steps_per_epoch for adapter in adapters):
        near = [old - 1, old + 1] if isinstance(old, int) else []
        for new in dict.fromkeys([1, *near, *times]):
            if new < 1 or not (variant := _with(reading, _setting("steps_per_epoch", old, new))):
                continue
            if new == 1:
                yield _proposal(variant, 1, "epochs-for-updates")
            elif isinstance(old, int) and new == old * old:
                yield _proposal(variant, 2, "updates-for-epochs", new=new, old=old)
            else:
                cost = 2 if new in near else 3
                yield _proposal(variant, cost, "steps-per-epoch", new=new, old=old)
    for new in () if adapters else times:
        variant = reading.shifted(lambda counts, new=new: counts // new)
        if new > 1:
            yield _proposal(variant, 3, "updates-for-epochs", new=new, old=1)


def _faster(reading: Reading, log: Log) -> Iterator[Proposal]:
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
            yield _proposal(variant, 3, "faster", "epochs-for-updates", new=new)


def _restart(reading: Reading, log: Log) -> Iterator[Proposal]:
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
        curve = log.expected(reading, np.arange(min(int(counts[row]), _MOST_COUNTS)))
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
            yield _proposal(variant, 2 if at == by else 3, "restart", at=at, new=at - by)


# -- another curve -------------------------------------------------------------------------------


def _smooth(reading: Reading, log: Log) -> Iterator[Proposal]:
    def decay(part: Any) -> Any:
        if isinstance(part, StepLR) and part.gamma:
            return ExponentialLR(part.base_lr, part.gamma ** (1 / part.step_size))
        return part

    def epochs(part: Any) -> Any:
        return smooth_epochs(*part._values()) if isinstance(part, per_epoch) else part

    def stand_still(part: Any) -> Any:
        return per_epoch(*part._values()) if isinstance(part, smooth_epochs) else part

    for change in (epochs, decay, lambda part: epochs(decay(part))):
        if variant := _with(reading, change):
            yield _proposal(variant, 1, "smooth")._replace(is_last=change is not epochs)
    if variant := _with(reading, stand_still):
        lengths = [p.steps_per_epoch for p in _flat(reading.schedule) if is_adapter(p)]
        yield _proposal(variant, 1, "stands-still", length=lengths[0])
    length = int(np.diff(log.counts[log.changes[:2]]).sum())
    if length > 1 and isinstance(reading.schedule, Schedule):
        variant = reading.shifted(lambda counts: counts // length * length)
        yield _proposal(variant, 3, "stands-still", length=length)


def _late_in_optax(reading: Reading, log: Log) -> Iterator[Proposal]:
    last = int(log.counts[-1])

    def in_updates(part: Any) -> Any:
        if isinstance(part, per_epoch) and isinstance(step := part.schedule, StepLR):
            if isinstance(length := part.steps_per_epoch, int):
                return StepLR(step.base_lr, step.step_size * length, step.gamma)
        return part

    def late(part: Any) -> Any:
        if not isinstance(part, StepLR) or last // part.step_size > _MOST_DECAYS:
            return part
        counts = part.step_size * np.arange(1, last // part.step_size + 1)
        # XLA divides by a constant through its reciprocal, in float32.
        reciprocal = np.float32(1) / np.float32(part.step_size)
        is_late = np.floor(counts.astype(np.float32) * reciprocal) < counts // part.step_size
        return MultiStepLR(part.base_lr, counts + is_late, part.gamma) if is_late.any() else part

    if variant := _with(_with(reading, in_updates) or reading, late):
        yield _proposal(variant, 2, "optax-late")


def _plateau_early(reading: Reading, log: Log) -> Iterator[Proposal]:
    if isinstance(reading.schedule, ReduceLROnPlateau):
        variant = reading._replace(schedule=log.replay(reading.schedule, True))
        yield _proposal(variant, 1, "plateau-early")


# -- another warmup ------------------------------------------------------------------------------


def _warmups(schedule: Any) -> list[tuple[Any, Any]]:
    """Each warmup, after the composition that it is a member of."""
    return [
        (part, member)
        for part in _flat(schedule)
        if isinstance(part, (SequentialLR, ChainedScheduler)) and len(part.schedulers) > 1
        for member in part.schedulers[: 1 if isinstance(part, SequentialLR) else None]
        if isinstance(member, ConstantLR)
        or (isinstance(member, LinearLR) and member.start_factor < member.end_factor)
    ]


def _no_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    for part, warmup in _warmups(reading.schedule):
        members: Any = [member for member in part.schedulers if member is not warmup]
        if len(members) == 1:
            rests = [*members]
        elif isinstance(part, ChainedScheduler):
            rests = [ChainedScheduler(members)]
        else:
            rests = [SequentialLR(members, [m - part.milestones[0] for m in part.milestones[1:]])]
        if len(members) == 1 and isinstance(part, SequentialLR):  # which may decay where it did
            rests.append(_moved(members[0], part.milestones[0]))
        for rest in rests:
            if variant := _with(reading, _replacing(part, rest)):
                numbers = {"old": warmup.total_iters, "name": type(warmup).__name__}
                yield _proposal(variant, 1, "no-warmup", **numbers)


def _moved(member: Any, by: int) -> Any:
    """A member whose milestones are so many of its counts later; itself if it has none."""
    if isinstance(member, MultiStepLR):
        milestones = [max(milestone + by, 0) for milestone in member.milestones]
        return dataclasses.replace(member, milestones=milestones)
    length = member.steps_per_epoch if isinstance(member, per_epoch) else 0
    if isinstance(length, int) and length and by % length == 0:
        return dataclasses.replace(member, schedule=_moved(member.schedule, by // length))
    return member


def _milestones_clock(reading: Reading, log: Log) -> Iterator[Proposal]:
    """Milestones that count from the start of the run, where the member's own clock was meant."""
    for part in _flat(reading.schedule):
        if not isinstance(part, SequentialLR):
            continue
        for start, member in zip(part.milestones, part.schedulers[1:], strict=True):
            for by, when in ((-start, "earlier"), (start, "later")):
                other = _moved(member, by)
                if variant := _with(reading, _replacing(member, other)):
                    (decay,) = (p for p in _flat(other) if isinstance(p, MultiStepLR))
                    texts = {"name": type(decay).__name__, "when": when, "new": decay.milestones}
                    yield _proposal(variant, 1, "milestones-clock", by=start, start=start, **texts)


def _top(log: Log) -> int:
    """The row at which the learning rate first stops to rise."""
    falls = np.flatnonzero(np.diff(log.lrs) < 0)
    return int(np.argmax(log.lrs[: falls[0] + 1] if len(falls) else log.lrs))


def _another_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top = _top(log)
    lengths = _epoch_lengths(reading.schedule)
    for part, warmup in _warmups(reading.schedule):
        old = warmup.total_iters
        news = {int(log.counts[top]) // length for length in (1, *lengths)}
        num_counts = max(int(log.counts[top]), old * max(lengths, default=1)) + 2
        rise = log.expected(reading, np.arange(min(num_counts, log.known, _MOST_COUNTS)))
        rise = rise[: int(np.nanargmax(rise)) + 1]
        edges = np.flatnonzero(np.diff(rise, prepend=-math.inf))
        rows = log.changes[log.changes <= top]
        for row in rows[[len(rows) // 2, -1]] if len(rows) else ():
            # Where the schedule has the value of this row, and how much later the log has it.
            place = float(np.interp(log.lrs[row], rise[edges], edges))
            near = round(old * float(log.counts[row]) / place) if place else 0
            news |= {near - 1, near, near + 1}
        for new in sorted(new for new in news - {old} if new > 0):
            more, by = ("longer" if new > old else "shorter"), abs(new - old)
            for other in _with_length(part, warmup, new):
                if variant := _with(reading, _replacing(part, other)):
                    yield _proposal(
                        variant, 2, "another-warmup", new=new, old=old, by=by, more=more
                    )


def _with_length(part: Any, warmup: Any, new: int) -> Iterator[Any]:
    """The composition with a warmup of this length, and what may move with it."""
    other = dataclasses.replace(warmup, total_iters=new)
    members = [other if member is warmup else member for member in part.schedulers]
    if isinstance(part, ChainedScheduler):
        yield ChainedScheduler(members)
        return
    by, old = new - warmup.total_iters, part.milestones
    all_moved = tuple(milestone + by for milestone in old)
    choices = [(members, m) for m in dict.fromkeys([all_moved, (all_moved[0], *old[1:]), old])]
    # The same decays, at the same counts of the whole.
    choices += [([members[0], *(_moved(member, -by) for member in members[1:])], all_moved)]
    for chosen, milestones in choices:
        if all(a < b for a, b in itertools.pairwise((-1, *milestones))):
            yield SequentialLR(chosen, milestones)


def _added_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top, start = _top(log), float(log.lrs[0])
    if isinstance(reading.schedule, ReduceLROnPlateau) or _warmups(reading.schedule) or top < 2:
        return
    peak = float(log.expected(reading, np.array([0]))[0])
    if not 0 <= start < peak:
        return
    news = {int(log.counts[top])}
    for row in {top // 2, top - 1}:
        slope = (log.lrs[row] - start) / (log.counts[row] - log.counts[0])
        if slope > 0:  # a line through row 0 and this row, as far as the peak
            near = round(float((peak - start) / slope))
            news |= {near - 1, near, near + 1}
    for new in sorted(new for new in news if 0 < new <= log.counts[-1]):
        warmup = LinearLR(peak, start / peak, total_iters=new)
        for compose in (lambda *both, new=new: SequentialLR(both, [new]), _product):
            try:
                variant = reading._replace(schedule=compose(warmup, reading.schedule))
            except ValueError:  # no factor of one base_lr
                continue
            yield _proposal(variant, 3, "added-warmup", new=new, start=start)


def _product(*schedules: Schedule) -> Schedule:
    return ChainedScheduler(schedules)


MISTAKES = (
    _off_by_one,
    _another_lr,
    _another_gamma,
    _plateau_early,
    _smooth,
    _late_in_optax,
    _milestones_clock,
    _no_warmup,
    _another_warmup,
    _added_warmup,
    _other_unit,
    _restart,
    _faster,
)
"""What is tried, in this order."""
