"""What `compare` says of a difference: a code, a sentence with its numbers, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched._desk.findings import Finding
from jaxsched._desk.placed import is_warmup
from jaxsched._schedules.epochs import per_epoch, smooth_epochs


def _text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


# -- arguments -----------------------------------------------------------------------------------


def argument(schedule: Any, places: Sequence[Any], old: Any, new: Any) -> Finding:
    """Of an argument at (member, name, index) places, which all have the old value."""
    member, name, index = places[0]
    if name == "steps_per_epoch" and isinstance(member, (per_epoch, smooth_epochs)):
        return epoch_length(old, new)
    if name == "total_iters" and len(places) == 1 and member is not schedule and is_warmup(member):
        return another_warmup(old, new)
    if name == "patience" and new == old - 1:
        return PLATEAU_EARLY
    if index is not None:  # in a tuple: the whole of it is what one writes
        values = getattr(member, name)
        old, new = values, tuple(new if i == index else x for i, x in enumerate(values))
    names = [*dict.fromkeys(name for _, name, _ in places)]
    kinds = {type(m) for m, _, _ in places}
    others = [m for m in schedule._walk() if name in m._checks and getattr(m, name) != old]
    where = f" in {type(member).__name__}" * bool(others and len(kinds) == 1)
    here, there = (" and ".join(f"{n}={_text(x)}" for n in names) for x in (new, old))
    return Finding(
        f"another-{name.replace('_', '-')}",
        f"The log has {here}{where}, not {_text(old)}.",
        f"Use {here} here, or {there} in that run.",
    )


def epoch_length(old: Any, new: int) -> Finding:
    if new == 1:
        return Finding(
            "epochs-for-updates",
            "The log takes epochs for updates: at row n it is at epoch n.",
            "Step once an epoch in that run. If the log has one row an epoch, name its column "
            "`epoch`.",
        )
    if isinstance(old, int) and new == old * old:
        return updates_for_epochs(new, old)
    return Finding(
        "steps-per-epoch",
        f"The log has {new} updates in an epoch, not {old}.",
        "Count them again, with js.steps_per_epoch(num_examples, batch_size, drop_last=...).",
    )


PLATEAU_EARLY = Finding(
    "plateau-early",
    "The log cuts one bad epoch early, as optax.contrib.reduce_on_plateau does.",
    "Use jaxsched's ReduceLROnPlateau in that run, or give optax's one more `patience`.",
)


def times_a_table(new: float) -> Finding:
    return Finding(
        "another-base-lr",
        f"The log is {_text(new)} times the schedule.",
        f"Multiply the learning rates here by {_text(new)}, or divide them in that run.",
    )


# -- structure -----------------------------------------------------------------------------------


def another_warmup(old: int, new: int) -> Finding:
    more, by = ("longer" if new > old else "shorter"), abs(new - old)
    return Finding(
        "another-warmup",
        f"The log has a warmup of {new} counts, {by} {more} than the schedule's, which has {old}.",
        f"Use total_iters={new} here, and the milestone that belongs to it, or {old} in that run.",
    )


def no_warmup(warmup: Any) -> Finding:
    name = type(warmup).__name__
    return Finding(
        "no-warmup",
        f"The log has no warmup: the {warmup.total_iters} counts of {name} are missing.",
        "Give that run the warmup, or leave it out here.",
    )


def added_warmup(start: float, new: int) -> Finding:
    return Finding(
        "added-warmup",
        f"The log has a warmup of {new} counts, from {start:.6g} on.",
        f"Put one before the schedule: SequentialLR([LinearLR(...), schedule], [{new}]).",
    )


def milestones_clock(decay: Any, start: int, when: str) -> Finding:
    return Finding(
        "milestones-clock",
        f"The log reaches the milestones of {type(decay).__name__} {start} counts {when}: counted "
        f"from its start at {start} they are {decay.milestones}.",
        "A member of SequentialLR has its own clock, as in torch: write "
        f"milestones={decay.milestones} here.",
    )


def another_composition(new: Any) -> Finding:
    if type(new).__name__ == "ChainedScheduler":
        return Finding(
            "chained",
            "The log is of a ChainedScheduler: all members count from the start of the run, and "
            "their factors are multiplied.",
            "Use ChainedScheduler here, or SequentialLR in that run.",
        )
    return Finding(
        "sequential",
        f"The log is of a SequentialLR: members start at {new.milestones} and count from there.",
        f"Use SequentialLR with milestones={list(new.milestones)} here, or ChainedScheduler in "
        "that run.",
    )


def clamped(last: int) -> Finding:
    return Finding(
        "clamped",
        f"The log holds its learning rate from count {last} on.",
        f"Use js.clamp(schedule, {last}) here, or go on with scheduler.step() in that run.",
    )


def not_clamped(last: int) -> Finding:
    return Finding(
        "not-clamped",
        f"The log goes on after count {last}, where clamp holds the learning rate.",
        "Leave clamp out here, or stop scheduler.step() there in that run.",
    )


def another_class(old: Any, new: Any) -> Finding:
    return Finding(
        "another-class",
        f"The log has {new!r}, not {type(old).__name__}.",
        f"Use {type(new).__name__} here, or {type(old).__name__} in that run.",
    )


def another_schedule(new: Any) -> Finding:
    return Finding(
        "another-schedule",
        f"The log has another schedule: {new!r} gives every row.",
        "Use it here, or give that run the schedule that is meant.",
    )


SMOOTH = Finding(
    "smooth",
    "The log moves at every count where the schedule stands still.",
    "Step once an epoch in that run, or decay with staircase=True. Or use a smooth schedule here: "
    "smooth_epochs, ExponentialLR.",
)


def stands_still(length: Any) -> Finding:
    return Finding(
        "stands-still",
        f"The log stands still for {length} counts where the schedule moves at every count.",
        "Use per_epoch here and a schedule in epochs, or step at every update in that run.",
    )


OPTAX_LATE = Finding(
    "optax-late",
    "The log decays one count late at some boundaries, as optax's exponential_decay does under "
    "jit.",
    "Use jaxsched's schedule in that run. Its boundaries are exact.",
)
IN_FLOAT32 = Finding(
    "float32-arithmetic",
    "Some rows differ in the last digits, by less than a millionth of the largest learning rate: "
    "the log is computed in float32.",
    "There is nothing to change. torch and jaxsched compute in double, optax in float32.",
)


# -- clocks --------------------------------------------------------------------------------------

NEVER_STEPPED = Finding(
    "never-stepped",
    "The log stays at the schedule's first learning rate.",
    "Call scheduler.step() in that run: once an epoch, or after each update.",
)


def early(unit: str, by: int) -> Finding:
    return Finding(
        "read-after-step",
        f"The log is one {unit} early: each row has the learning rate of the next {unit}.",
        "After scheduler.step() torch's get_last_lr() reads so: log it before. If the run did use "
        f"these learning rates, it was one {unit} early: lambda count: schedule(count + {by}) is "
        "so on purpose.",
    )


def early_member(name: str) -> Finding:
    return Finding(
        "read-after-step",
        f"The log is one count early in {name} only, the rest is as expected.",
        f"It is read after the step of {name} and before that of the others, as in torchvision's "
        "detection loop: log it before both.",
    )


def late(unit: str) -> Finding:
    return Finding(
        "off-by-one",
        f"The log is one {unit} late: each row has the learning rate of the {unit} before.",
        f"If the log counts from 1, subtract 1. If not, the run was one {unit} late.",
    )


def skipped(by: int) -> Finding:
    return Finding(
        "skipped-updates",
        f"The log starts {by} counts late: from count {by} on each row has the learning rate of "
        f"{by} counts before.",
        "Mixed precision (fp16) skips the first updates, whose gradients overflow. Count the "
        "updates that the optimizer made, or compare from there.",
    )


def ahead(by: int) -> Finding:
    return Finding(
        "starts-later",
        f"The log starts at count {by} of the schedule.",
        f"If it is of a run that was resumed, number its rows from {by}.",
    )


def updates_for_epochs(new: int, old: int = 1) -> Finding:
    return Finding(
        "updates-for-epochs",
        f"The log takes updates for epochs: it stays {new} counts where the schedule stays {old}.",
        "If the schedule is in epochs, and the log in updates, compare with "
        f"steps_per_epoch={new}. If not, step at every update in that run.",
    )


def faster(new: int) -> Finding:
    return Finding(
        "epochs-for-updates",
        f"The log is {new} times as fast: at count n it is at count {new} * n.",
        "Step once an epoch in that run. If the log has one row an epoch and the schedule is in "
        "updates, give it a column `step`. If the run has many processes, one of them may step "
        f"the scheduler {new} times an update, as Accelerate does.",
    )


def restart(at: int, start: int) -> Finding:
    return Finding(
        "restart",
        f"From count {at} on the log goes on from count {start}.",
        "Restore the whole optimizer state when the run resumes, or use "
        f"js.set_count(opt_state, {at}).",
    )


def one_row(count: int, expected: float, found: float) -> Finding:
    return Finding(
        "one-row",
        f"One row is wrong, that of count {count}: it has {found:.9g}, not {expected:.9g}.",
        "All others are equal. Look at how this row was logged.",
    )


# -- places --------------------------------------------------------------------------------------


def places(counts: np.ndarray, rows: np.ndarray) -> str:
    """Where rows differ, from the first row of each run of them to the last.

    >>> places(np.array([0, 10, 20, 30]), np.array([1])), places(np.arange(5), np.array([0, 3, 4]))
    ('count 10', 'count 0 and from count 3 on')
    """
    texts = []
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        first, last = counts[run[0]], counts[run[-1]]
        if run[-1] == len(counts) - 1 and len(run) > 1:
            texts.append(f"from count {first} on")
        else:
            texts.append(f"count {first}" if first == last else f"counts {first} to {last}")
    if len(texts) > 4:
        texts = [*texts[:3], f"{len(texts) - 3} more places"]
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
