"""What check finds in the units: epochs where updates are counted, and the other way round."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._desk.check.run import Run, code, epochs_in, name, rise
from jaxsched._desk.findings import Finding
from jaxsched._desk.placed import epoch_lengths
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR
from jaxsched._schedules.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from jaxsched._schedules.epochs import Clock, per_epoch, smooth_epochs

_SIZES: dict[type, str] = {  # the arguments that are counts
    StepLR: "step_size",
    MultiStepLR: "milestones",
    ConstantLR: "total_iters",
    LinearLR: "total_iters",
    PolynomialLR: "total_iters",
    CosineAnnealingLR: "T_max",
    CosineAnnealingWarmRestarts: "T_0",
    OneCycleLR: "total_steps",
    SequentialLR: "milestones",
}
_MOST_EPOCHS_OF_WARMUP = 50
_FEWEST_UPDATES_OF_WARMUP = 100
_FEWEST_UPDATES = 1000
"""No recipe has so many epochs."""


def epoch_length(run: Run) -> Iterator[Finding]:
    for named in epoch_lengths(run.schedule):
        if isinstance(named, int) and named > run.num_counts:
            message = f"The run has {run.num_counts:,} updates, and one epoch has {named:,}."
            advice = f"If these are epochs, give the updates: `{run.num_counts * named}`."
            yield Finding("run-shorter-than-an-epoch", message, advice)
        elif run.clock and not _is_same(named, run.clock.lengths):
            message = (
                f"An epoch has {_updates(named)} in the schedule and {_updates(run.clock.lengths)} "
                "in the run."
            )
            lengths = code(run.clock.lengths)
            yield Finding("epoch-length-differs", message, f"Write `steps_per_epoch={lengths}`.")


def _is_same(named: Any, lengths: Any) -> bool:
    """Whether a run has the epochs of a schedule. One number may stand for unequal epochs."""
    if isinstance(named, tuple) and isinstance(lengths, int):
        return min(named) <= lengths <= max(named)
    return named == lengths or (isinstance(lengths, tuple) and {named} == {*lengths})


def _updates(lengths: Any) -> str:
    return f"{lengths:,} updates" if isinstance(lengths, int) else f"{code(lengths)} updates"


def epochs_fed_updates(run: Run) -> Iterator[Finding]:
    lengths = [(member, n) for member, _ in run.of(Schedule) if (n := member.schedule._length(0.1))]
    for member, n in lengths:
        inner = member.schedule
        if member.adapter or epoch_lengths(inner) or isinstance(inner, SequentialLR):
            continue  # in epochs, or in updates, or what its members are
        if rise(inner) >= 0:
            continue
        left = run.end(member) - member.at(0)
        is_cycle = isinstance(inner, (CyclicLR, CosineAnnealingWarmRestarts))
        most = 0 if is_cycle else 0.03 * left
        if run.epochs:  # fewer counts than epochs; a cycle is also shorter than one epoch
            length = run.num_counts / run.epochs
            most = min(left / length, length if is_cycle else left / 10)
        if n <= most:
            message = f"{name(member)} is over after {n:,} of {run.span(left)}."
            is_whole = not epoch_lengths(run.schedule) and all(n <= most for _, n in lengths)
            updates = code(run.clock.lengths) if run.clock else "steps_per_epoch"
            line = f"`per_epoch({'schedule' if is_whole else code(inner)}, {updates})`"
            if run.clock and not is_whole:
                line = run.line(member, per_epoch(inner, run.clock.lengths))
            yield Finding("epochs-fed-updates", message, f"If it counts epochs, write {line}.")
            return


def two_units(run: Run) -> Iterator[Finding]:
    """A warmup or milestones in epochs where the other members are in updates."""
    for member, whole in run.of(SequentialLR, ChainedScheduler):
        adapters = [m for m in whole._walk() if isinstance(m, (per_epoch, smooth_epochs))]
        clock = adapters[0]._clock if adapters else run.clock
        if member.adapter or clock is None:
            continue
        epochs = epochs_in(clock, run.num_counts)
        length = run.num_counts / epochs
        most = min(length / 10, epochs, _MOST_EPOCHS_OF_WARMUP)  # a small part of one epoch
        leaves = [m for m in whole._walk() if not isinstance(m, SequentialLR)]
        is_in_updates = bool(adapters) or any(max(_sizes(m), default=0) > epochs for m in leaves)
        changes: dict[str, Any] = {}
        said = []
        for i, inner in enumerate(whole.schedulers):
            if is_in_updates and rise(inner) > 0 and 0 < inner.total_iters <= most:
                adapt = type(adapters[0]) if adapters and inner._is_smooth else per_epoch
                members = changes.get("schedulers", whole.schedulers)
                changed = adapt(inner, clock.lengths)
                changes["schedulers"] = (*members[:i], changed, *members[i + 1 :])
                said.append(f"`total_iters={inner.total_iters}` of {type(inner).__name__}")
        milestones = getattr(whole, "milestones", ())
        is_small = is_in_updates and bool(milestones) and milestones[0] <= most
        if milestones and max(milestones) <= epochs:
            if is_small or _ends_warmup(whole, clock):
                starts = tuple(clock.first_update(n, PYTHON) for n in milestones)
                if starts != milestones:  # as [0] is
                    changes["milestones"] = starts
                    said.append(f"`milestones={code(milestones)}`")
        if changes:
            message = (
                f"{name(member)} counts updates, and an epoch has {length:,.6g}: "
                f"{' and '.join(said)} {'is' if len(said) == 1 else 'are'} in epochs."
            )
            advice = run.write(member, dataclasses.replace(whole, **changes))
            yield Finding("two-units", message, advice)
            return


def _ends_warmup(sequence: SequentialLR, clock: Clock) -> bool:
    """Whether the first milestone is the end of the warmup before it, in epochs."""
    first, end = sequence.schedulers[0], sequence.milestones[0]
    is_adapted = isinstance(first, (per_epoch, smooth_epochs))
    warmup: Any = first.schedule if is_adapted else first
    updates = clock.first_update(end, PYTHON)
    return (
        rise(warmup) > 0
        and updates > end
        and warmup.total_iters == (end if is_adapted else updates)
    )


def updates_fed_epochs(run: Run) -> Iterator[Finding]:
    """Numbers in updates inside of an adapter, where they are epochs."""
    for member, adapter in run.of(per_epoch, smooth_epochs):
        clock: Clock = adapter._clock
        epochs = epochs_in(clock, run.num_counts)
        parts = [p for p in adapter.schedule._walk() if _sizes(p) or len([*p._walk()]) == 1]
        wrong = [p for p in parts if _are_updates(p, clock, run.num_counts)]
        if not wrong:
            continue
        part, argument = wrong[0], _SIZES[type(wrong[0])]
        sizes = ", ".join(f"{epochs_in(clock, n):.4g}" for n in _sizes(part)[:3])
        message = (
            f"Inside of {name(member)} numbers are epochs, and the run has {epochs:,.4g}: "
            f"`{argument}={code(getattr(part, argument))}` of {type(part).__name__} is in updates "
            f"({sizes} epochs)."
        )
        if all(p in wrong or (_sizes(p) and _start_epochs(p, clock)) for p in parts):
            line = run.line(member, adapter.schedule)
            advice = f"Without {name(member)} it counts updates: write {line}."
        else:
            in_epochs = functools.partial(_in_epochs, clock, epochs, wrong)
            try:
                new = dataclasses.replace(adapter, schedule=adapter.schedule._rebuilt(in_epochs))
                advice = f"Write it in epochs: {run.line(member, new)}."
            except ValueError:  # two milestones in one epoch
                advice = "Write it in epochs."
        yield Finding("updates-fed-epochs", message, advice)


def _are_updates(part: Any, clock: Clock, num_counts: int) -> bool:
    """Whether its sizes are no epochs of this run, and have a meaning as updates."""
    sizes, fewest = _sizes(part), _FEWEST_UPDATES
    if not sizes or min(sizes) <= 2 * epochs_in(clock, num_counts) or max(sizes) > num_counts:
        return False
    if rise(part) > 0:
        fewest = _FEWEST_UPDATES_OF_WARMUP
    return min(sizes) >= fewest or _start_epochs(part, clock)


def _start_epochs(part: Any, clock: Clock) -> bool:
    """Whether each of its sizes, as updates, is the start of an epoch."""
    return all(n and clock.epoch(n, PYTHON)[1] == 0 for n in _sizes(part))


def _in_epochs(clock: Clock, epochs: float, wrong: list[Any], part: Any) -> Any:
    sizes = _sizes(part)
    if part not in wrong and min(sizes, default=0) <= epochs:
        return part
    new: Any = tuple(max(round(epochs_in(clock, n)), 1) for n in sizes)
    if not isinstance(part, (MultiStepLR, SequentialLR)):
        (new,) = new
    return dataclasses.replace(part, **{_SIZES[type(part)]: new})


def _sizes(part: Any) -> tuple[int, ...]:
    """The counts among its arguments."""
    value = getattr(part, _SIZES.get(type(part), ""), None)
    return value if isinstance(value, tuple) else () if value is None else (value,)
