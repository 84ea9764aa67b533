"""What check finds in the lengths: what the run does not reach, or what is over before it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._desk.check.run import Run, epochs_in, many, name, rise
from jaxsched._desk.findings import Finding
from jaxsched._desk.placed import Placed
from jaxsched._schedules.compose import SequentialLR, clamp
from jaxsched._schedules.cosine import SWALR, CosineAnnealingLR, CosineAnnealingWarmRestarts
from jaxsched._schedules.custom import LambdaLR, MultiplicativeLR, RecordedLR
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from jaxsched._schedules.epochs import per_epoch, smooth_epochs

_SLACK = 0.02  # of a decay: what rounding a number of epochs or updates leaves
_MOST_AT_ZERO = 0.2  # of a run
_MOST_CYCLES = 10  # of which the last one matters
_HIGH = 0.5  # of the height of a cycle
_MOST_JUMP = 1.1
_SAMPLES = 64


def milestones(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(MultiStepLR, SequentialLR):
        first = sum(member.at(milestone) < run.end(member) for milestone in schedule.milestones)
        if first == len(schedule.milestones):
            continue
        reached: dict[str, Any] = {"milestones": schedule.milestones[:first]}
        if isinstance(schedule, SequentialLR):
            reached["schedulers"] = schedule.schedulers[: first + 1]
        late = schedule.milestones[first]
        message = (
            f"{name(member)} does not reach its milestones from {late:,} on: {run.limit(member)}."
        )
        line = run.line(member, dataclasses.replace(schedule, **reached))
        yield Finding("milestone-never-reached", message, f"Without these it is {line}.")
    for member, schedule in run.of(StepLR):
        if member.at(schedule.step_size) >= run.end(member):
            message = f"StepLR does not decay: its `step_size` is {schedule.step_size:,}, and "
            lower = dataclasses.replace(schedule, step_size=max(run.own(member) // 3, 1))
            advice = f"Lower it, as in {run.line(member, lower)}."
            yield Finding("step-size-never-reached", f"{message}{run.limit(member)}.", advice)


def warmups(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(LinearLR, ConstantLR):
        if rise(schedule) > 0 and member.at(schedule.total_iters) > run.end(member):
            is_cut = member.stop < run.num_counts
            if is_cut and isinstance(schedule, ConstantLR):
                continue  # a stage of its own
            kind = "warmup-cut-short" if is_cut else "warmup-longer-than-run"
            message = (
                f"{name(member)} has {many(schedule.total_iters, run.unit_of(member))}, and "
                f"{run.limit(member)}."
            )
            shorter = dataclasses.replace(schedule, total_iters=run.own(member))
            yield Finding(kind, message, run.write(member, shorter))


def decays(run: Run) -> Iterator[Finding]:
    """A decay that is not over when the run ends, or that is at 0 long before."""
    for member, schedule in run.of(CosineAnnealingLR, PolynomialLR, LinearLR):
        if member.stop < run.num_counts or not _falls(schedule):
            continue
        argument = "T_max" if isinstance(schedule, CosineAnnealingLR) else "total_iters"
        length, own = getattr(schedule, argument), run.own(member)
        right = run.write(member, dataclasses.replace(schedule, **{argument: own}))
        # The usual mistake: the length of the run, with a warmup before it.
        most = 1 if length == _whole(run, member) else max(1, _SLACK * length)
        if own < length - most:
            message = (
                f"{name(member)} is not over when the run ends: it has {own:,} of its "
                f"{many(length, run.unit_of(member))}."
            )
            yield Finding("decay-longer-than-run", message, right)
        elif own - length > max(1, _MOST_AT_ZERO * own) and schedule(own - 1) == 0:
            if isinstance(schedule, CosineAnnealingLR):
                continue  # it rises again
            message = f"{name(member)} is at 0 from {run.place(member.at(length))} on, and "
            yield Finding("decay-shorter-than-run", f"{message}{run.limit(member)}.", right)


def _falls(schedule: Any) -> bool:
    """Whether it goes down as far as it can, and not to a level of its own."""
    if isinstance(schedule, CosineAnnealingLR):
        return schedule.eta_min < schedule.base_lr
    return schedule.base_lr > 0 and (
        isinstance(schedule, PolynomialLR) or schedule.end_factor <= 0.1 * schedule.start_factor
    )


def _whole(run: Run, member: Placed) -> int:
    """The counts of the whole run, in the unit of a member."""
    clock = member.adapter._clock if member.adapter else None
    return math.ceil(epochs_in(clock, run.num_counts)) if clock else run.num_counts


def cosines(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(CosineAnnealingLR, CosineAnnealingWarmRestarts):
        if schedule.eta_min > schedule.base_lr:
            message = f"`eta_min` {schedule.eta_min:g} is above `base_lr` {schedule.base_lr:g}"
            line = run.line(member, dataclasses.replace(schedule, eta_min=0.0))
            yield Finding(
                "eta-min-above-base-lr",
                f"{message} in {name(member)}.",
                f"Lower it, as in {line}.",
            )
        elif isinstance(schedule, CosineAnnealingLR) and schedule.eta_min < schedule.base_lr:
            low, rises = member.at(schedule.T_max), member.at(schedule.T_max + 1)
            if isinstance(member.adapter, smooth_epochs):
                rises = low + 1
            if rises < run.end(member):
                message = f"{name(member)} rises again after {run.place(low)}: {run.limit(member)}."
                line = run.line(member, clamp(schedule, schedule.T_max))
                yield Finding("cosine-rises-again", message, f"To stay there, write {line}.")


def cycles(run: Run) -> Iterator[Finding]:
    """Cycles of which the run ends in the middle of the last one, high above its end."""
    for member, schedule in run.of(CosineAnnealingWarmRestarts, CyclicLR):
        is_cosine, own = isinstance(schedule, CosineAnnealingWarmRestarts), run.own(member)
        low, high = (
            (schedule.eta_min, schedule.base_lr)
            if is_cosine
            else (schedule.base_lr, schedule.max_lr)
        )
        if member.stop < run.num_counts or high <= low:
            continue
        growth = schedule.T_mult if is_cosine else 1
        length, start, number = schedule._length(0.1), 0, 1  # of the last cycle
        while start + length < own and number <= _MOST_CYCLES:
            start, length, number = start + length, length * growth, number + 1
        height = (schedule(own - 1) - low) / (high - low)
        is_short = number == 1 and own < (1 - _SLACK) * length - 1
        is_high = height > _HIGH and (is_cosine or number == 1)
        if number > _MOST_CYCLES or not (is_high or (is_short and is_cosine)):
            continue
        message = (
            f"{name(member)} is at {schedule(own - 1):.4g} when the run ends: it has "
            f"{own - start:,} of the last cycle's {many(length, run.unit_of(member))}."
        )
        firsts = [
            math.ceil(own / sum(growth**k for k in range(whole)))
            for whole in (max(number - 1, 1), number)
        ]
        first = min(firsts, key=lambda first: abs(first - schedule._length(0.1)))
        if is_cosine:
            changes = {"T_0": first}
        else:
            up = max(round(schedule.step_size_up * first / length), 1)
            changes = {"step_size_up": up}
            if schedule.step_size_down is not None:
                changes["step_size_down"] = max(first - up, 1)
        advice = run.write(member, dataclasses.replace(schedule, **changes))
        yield Finding("cycle-cut-short", message, advice)


def one_cycles(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(OneCycleLR):
        if member.at(schedule._total) != run.end(member):
            is_long = member.at(schedule._total) > run.end(member)
            kind = "one-cycle-longer-than-run" if is_long else "one-cycle-shorter-than-run"
            message = (
                f"OneCycleLR has {many(schedule._total, run.unit_of(member))}, and "
                f"{run.limit(member)}."
            )
            own = {"total_steps": run.own(member), "epochs": None, "steps_per_epoch": None}
            advice = run.write(member, dataclasses.replace(schedule, **own))
            yield Finding(kind, message, advice)


def tables(run: Run) -> Iterator[Finding]:
    """A table of a function, or a recording, that is shorter than the run."""
    for member, schedule in run.of(LambdaLR, MultiplicativeLR, RecordedLR):
        own = run.own(member)
        length = len(schedule.values) if isinstance(schedule, RecordedLR) else schedule.horizon
        if length is None or length >= own:
            continue
        unit = run.unit_of(member)
        if isinstance(schedule, RecordedLR):
            message = f"The recording has {many(length, unit)}, and {run.limit(member)}."
            advice = f"Record the whole run: `from_torch(scheduler, counts={own})`."
            yield Finding("recording-shorter-than-run", message, advice)
        elif _goes_on(schedule, length, own):
            message = (
                f"{name(member)} has a table of {many(length, unit)}, and {run.limit(member)}."
            )
            yield Finding("horizon-shorter-than-run", message, f"Write `horizon={own}`.")


def _goes_on(schedule: Any, horizon: int, own: int) -> bool:
    """Whether the function gives another factor after the table than the one that is held."""
    counts = {*range(horizon, min(horizon + _SAMPLES, own))}
    counts |= {*np.linspace(horizon, own - 1, _SAMPLES).astype(int).tolist()}
    is_product = isinstance(schedule, MultiplicativeLR)
    try:
        held = 1.0 if is_product else schedule.lr_lambda(horizon - 1)
        return any(schedule.lr_lambda(count) != held for count in sorted(counts))
    except Exception:  # of the user's function, which ends there
        return True


def swa(run: Run) -> Iterator[Finding]:
    """A SWALR that starts above the learning rate that is left to it."""
    for member, sequence in run.of(SequentialLR):
        starts = (0, *sequence.milestones)
        for i, inner in enumerate(sequence.schedulers[1:], 1):
            averaged: Any = (
                inner.schedule if isinstance(inner, (per_epoch, smooth_epochs)) else inner
            )
            if not isinstance(averaged, SWALR) or not averaged.anneal_epochs:
                continue
            if member.at(starts[i]) >= run.end(member):
                continue
            left = sequence.schedulers[i - 1](starts[i] - starts[i - 1])
            before = sequence.schedulers[i - 1](starts[i] - starts[i - 1] - 1)
            if averaged.base_lr <= max(_MOST_JUMP * max(left, before), averaged.swa_lr):
                continue
            message = (
                f"SWALR starts at {averaged.base_lr:g} at {run.place(member.at(starts[i]))}, where "
                f"{left:.4g} is left to it."
            )
            right: Any = dataclasses.replace(averaged, base_lr=float(f"{left:.6g}"))
            if averaged is not inner:
                right = dataclasses.replace(inner, schedule=right)
            members = (*sequence.schedulers[:i], right, *sequence.schedulers[i + 1 :])
            line = run.line(member, dataclasses.replace(sequence, schedulers=members))
            yield Finding("swa-jumps-up", message, f"Start there: write {line}.")
