"""check: what is wrong with a schedule, found before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from jaxsched._base.members import as_schedule
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._desk.check import lengths, units, values
from jaxsched._desk.check.run import Run, code
from jaxsched._desk.curve import (
    AnySchedule,
    EpochLengths,
    concrete,
    curve,
)
from jaxsched._desk.findings import Finding, Findings
from jaxsched._desk.placed import clock_of, size
from jaxsched._schedules.epochs import Clock
from jaxsched._schedules.plateau import ReduceLROnPlateau

_RULES = [
    *(units.epoch_length, units.two_units, units.updates_fed_epochs),
    *(units.epochs_fed_updates, lengths.milestones, lengths.warmups),
    *(lengths.decays, lengths.cosines, lengths.cycles, lengths.one_cycles),
    *(lengths.tables, lengths.swa, values.flat_cycles, values.values),
    values.functions,
]
_FOLLOW = {  # from the one, what else would be found
    "run-shorter-than-an-epoch": "",
    "two-units": "",
    "updates-fed-epochs": "",
    "epochs-fed-updates": "decay-shorter cycle-cut recording",
    "decay-shorter-than-run": "lr-vanishes",
}


def check(
    schedule: AnySchedule, num_counts: int, *, steps_per_epoch: EpochLengths | None = None
) -> list[Finding]:
    """Finds what is wrong with a schedule for a run of a given length, before the run.

    Args:
        schedule: a schedule as the optimizer gets it, or any callable `count -> value`; or a
            ReduceLROnPlateau.
        num_counts: counts in the run, an integer >= 1: updates, or epochs if the schedule counts
            epochs and you use it once an epoch.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1, or a sequence of such
            integers, one for each epoch. With it the counts of the run are updates, and a schedule
            in epochs is noticed. By default it is what `per_epoch` or `smooth_epochs` in the
            schedule says.

    Returns:
        A list of `Finding`, empty if nothing is found. `code` is a short name that stays the same,
        `message` says what is the case, `advice` what to write. The list prints as its sentences.
        The page "Check" has all codes.

    Raises:
        TypeError, ValueError: an argument is not as above, or a function in it fails.

    A finding is not always a mistake: a cosine may be meant to rise again. A warmup from 0, as
    Hugging Face's are, is no finding: only its first update has the learning rate 0.

    torch has no such function.

    >>> import jaxsched as js
    >>> (finding,) = js.check(js.MultiStepLR(0.1, [30, 80]), 60)
    >>> finding.code
    'milestone-never-reached'
    >>> finding.message
    'MultiStepLR does not reach its milestones from 80 on: the run has 60 counts.'
    >>> finding.advice
    'Without these it is `MultiStepLR(0.1, milestones=[30])`.'
    """
    num_counts = size("num_counts", num_counts)
    clock = clock_of(schedule, steps_per_epoch)
    if isinstance(schedule, ReduceLROnPlateau):
        return Findings(_plateau(schedule, num_counts, clock or Clock(1)))
    lrs = curve(schedule, num_counts)
    is_schedule, schedule = isinstance(schedule, Schedule), concrete(schedule)
    schedule = as_schedule("schedule", schedule)
    run = Run(schedule, num_counts, clock, lrs, is_schedule)
    found = [finding for rule in _RULES for finding in rule(run)]
    for first, others in _FOLLOW.items():
        if any(finding.code == first for finding in found):
            prefixes = tuple(others.split())
            found = [
                f
                for f in found
                if f.code == first or (prefixes and not f.code.startswith(prefixes))
            ]
    return Findings(found)


def _plateau(plateau: ReduceLROnPlateau, num_counts: int, clock: Clock) -> Iterator[Finding]:
    epochs, first = int(clock.epoch(num_counts, PYTHON)[0]), plateau.patience + 2
    if len(plateau._lrs) == 1:
        names = ("base_lr", "factor", "min_lr", "eps")
        numbers = ", ".join(f"`{name}` {getattr(plateau, name):g}" for name in names)
        message = f"No cut lowers the learning rate, with {numbers}."
        yield Finding("plateau-never-cuts", message, "Lower `min_lr` and `eps`.")
    elif first >= epochs:
        message = f"The first cut comes after epoch {first:,} or later, and the run has {epochs:,}."
        lower = dataclasses.replace(plateau, patience=max(epochs // 4, 1))
        advice = f"Lower `patience`, as in `{code(lower)}`."
        yield Finding("plateau-never-cuts", message, advice)
