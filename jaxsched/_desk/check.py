"""check: what is wrong with a schedule, found before training."""

from __future__ import annotations

import bisect
import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.functions import FunctionDiffers
from jaxsched._base.schedule import Schedule, as_schedule
from jaxsched._desk.curve import (
    MOST_TABULATED,
    AnySchedule,
    Finding,
    Placed,
    concrete,
    curve,
    epoch_length,
    epoch_lengths,
    placed,
    size,
)
from jaxsched._schedules.compose import SequentialLR
from jaxsched._schedules.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from jaxsched._schedules.custom import LambdaLR
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, MultiStepLR, StepLR
from jaxsched._schedules.epochs import smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau


def check(
    schedule: AnySchedule, num_counts: int, *, steps_per_epoch: int | None = None
) -> list[Finding]:
    """Finds what is wrong with a schedule for a run of a given length, before the run.

    Args:
        schedule: a schedule as the optimizer gets it, or any callable `count -> value`; or a
            ReduceLROnPlateau.
        num_counts: counts in the run, an integer >= 1: updates, or epochs if the schedule counts
            epochs and you use it once an epoch.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1. With it the counts of the
            run are updates, and a schedule in epochs is noticed. By default it is what `per_epoch`
            or `smooth_epochs` in the schedule says.

    Returns:
        A list of `Finding`, empty if nothing is found. `code` is a short name that stays the same,
        `message` says what is the case, `advice` what to change. The page "Check" has all codes.

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
    'Give it more counts, or write `MultiStepLR(0.1, milestones=(30,), gamma=0.1)`.'
    """
    num_counts = size("num_counts", num_counts)
    if isinstance(schedule, ReduceLROnPlateau):
        return [*_plateau(schedule, num_counts, epoch_length(schedule, steps_per_epoch) or 1)]
    lrs = curve(schedule, num_counts)
    is_schedule, schedule = isinstance(schedule, Schedule), concrete(schedule)
    schedule = as_schedule("schedule", schedule)
    steps = epoch_length(schedule, steps_per_epoch)
    run = _Run(schedule, num_counts, steps, lrs, is_schedule)
    found = [finding for rule in _RULES for finding in rule(run)]
    # From that one all others would follow.
    return [f for f in found if f.code == "run-shorter-than-an-epoch"] or found


@dataclasses.dataclass(frozen=True)
class _Run:
    schedule: Schedule
    num_counts: int
    steps: int | None
    lrs: np.ndarray
    is_schedule: bool
    """Whether it was one, and no function."""

    def of(self, *classes: type) -> Iterator[tuple[Placed, Any]]:
        """The parts of these classes that have an effect, and their schedules."""
        for member in placed(self.schedule):
            if isinstance(member.schedule, classes) and member.at(0) < self.end(member):
                yield member, member.schedule

    def end(self, member: Placed) -> int:
        """The count from which a member has no effect."""
        return int(min(member.stop, self.num_counts))

    def own(self, member: Placed) -> int:
        """How many counts a member has until then, on its own clock."""
        return bisect.bisect_left(range(self.num_counts), self.end(member), key=member.at)

    def limit(self, member: Placed) -> str:
        if member.stop < self.num_counts:
            return f"it has no effect from {self.place(self.end(member))} on"
        return f"the run has {self.span(self.num_counts)}"

    @property
    def unit(self) -> str:
        return "update" if self.steps or epoch_lengths(self.schedule) else "count"

    def span(self, counts: int) -> str:
        epochs = counts / self.steps if self.steps else 0
        note = f" ({epochs:.4g} epoch{'s' * (epochs != 1)})" if epochs else ""
        return f"{counts:,} {self.unit}{'s' * (counts != 1)}{note}"

    def place(self, count: int) -> str:
        epoch = f" (epoch {count // self.steps:,})" if self.steps else ""
        return f"{self.unit} {count:,}{epoch}"

    @property
    def wrap(self) -> str:
        return f"`per_epoch(schedule, {self.steps or 'steps_per_epoch'})`"


def _epochs(run: _Run) -> Iterator[Finding]:
    for named in epoch_lengths(run.schedule):
        if isinstance(named, int) and named > run.num_counts:
            message = f"The run has {run.num_counts:,} updates, and one epoch has {named:,}."
            advice = f"If these are epochs, give the updates: `{run.num_counts * named}`."
            yield Finding("run-shorter-than-an-epoch", message, advice)
        elif isinstance(named, int) and run.steps and named != run.steps:
            message = (
                f"An epoch has {named:,} updates in the schedule and {run.steps:,} in the run."
            )
            yield Finding("epoch-length-differs", message, f"Write `steps_per_epoch={run.steps}`.")


def _fed_updates(run: _Run) -> Iterator[Finding]:
    lengths = [(member, n) for member, _ in run.of(Schedule) if (n := member.schedule._length(0.1))]
    for member, n in lengths:
        if (
            member.adapter
            or isinstance(member.schedule, SequentialLR)
            or _rise(member.schedule) >= 0
        ):
            continue
        left = run.end(member) - member.at(0)
        is_cycle = isinstance(member.schedule, (CyclicLR, CosineAnnealingWarmRestarts))
        most = 0 if is_cycle else 0.03 * left
        if run.steps:  # fewer counts than epochs; a cycle is also shorter than one epoch
            most = min(left / run.steps, run.steps if is_cycle else left / 10)
        if n <= most:
            message = f"{_name(member)} is over after {n:,} of {run.span(left)}."
            is_whole = not epoch_lengths(run.schedule) and all(n <= most for _, n in lengths)
            what = "" if is_whole else f", where schedule is {_code(member.schedule)}"
            advice = f"If it counts epochs, write {run.wrap}{what}."
            yield Finding("epochs-fed-updates", message, advice)
            return


def _milestones(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(MultiStepLR, SequentialLR):
        first = sum(member.at(milestone) < run.end(member) for milestone in schedule.milestones)
        if first == len(schedule.milestones):
            continue
        reached = {"milestones": schedule.milestones[:first]}
        if isinstance(schedule, SequentialLR):
            reached["schedulers"] = schedule.schedulers[: first + 1]
        late = schedule.milestones[first]
        message = (
            f"{_name(member)} does not reach its milestones from {late:,} on: {run.limit(member)}."
        )
        advice = f"Give it more counts, or write {_code(schedule, **reached)}."
        yield Finding("milestone-never-reached", message, advice)
    for member, schedule in run.of(StepLR):
        if member.at(schedule.step_size) >= run.end(member):
            message = f"StepLR does not decay: its `step_size` is {schedule.step_size:,}, and "
            advice = f"Lower it, as in {_code(schedule, step_size=max(run.own(member) // 3, 1))}."
            yield Finding("step-size-never-reached", f"{message}{run.limit(member)}.", advice)


def _rise(schedule: Any) -> float:
    """How much of base_lr a warmup adds, 0 for a constant, below 0 for a decay."""
    if isinstance(schedule, ConstantLR):
        return 1 - schedule.factor
    return schedule.end_factor - schedule.start_factor if isinstance(schedule, LinearLR) else -1.0


def _warmups(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(LinearLR, ConstantLR):
        if _rise(schedule) > 0 and member.at(schedule.total_iters) > run.end(member):
            is_cut = member.stop < run.num_counts
            if is_cut and isinstance(schedule, ConstantLR):
                continue  # a stage of its own
            code = "warmup-cut-short" if is_cut else "warmup-longer-than-run"
            message = (
                f"{_name(member)} has {schedule.total_iters:,} counts, and {run.limit(member)}."
            )
            advice = f"Make it shorter, as in {_code(schedule, total_iters=run.own(member))}."
            yield Finding(code, message, advice)


def _cosines(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(CosineAnnealingLR, CosineAnnealingWarmRestarts):
        if schedule.eta_min > schedule.base_lr:
            message = f"`eta_min` {schedule.eta_min:g} is above `base_lr` {schedule.base_lr:g}"
            advice = f"Lower it, as in {_code(schedule, eta_min=0.0)}."
            yield Finding("eta-min-above-base-lr", f"{message} in {_name(member)}.", advice)
        elif isinstance(schedule, CosineAnnealingLR) and schedule.eta_min < schedule.base_lr:
            low, rises = member.at(schedule.T_max), member.at(schedule.T_max + 1)
            if isinstance(member.adapter, smooth_epochs):
                rises = low + 1
            if rises < run.end(member):
                message = (
                    f"{_name(member)} rises again after {run.place(low)}: {run.limit(member)}."
                )
                what = "schedule" if schedule is run.schedule else repr(schedule)
                advice = f"To stay there, write `clamp({what}, {schedule.T_max})`."
                yield Finding("cosine-rises-again", message, advice)


def _one_cycles(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(OneCycleLR):
        if member.at(schedule._total) != run.end(member):
            kind = "longer" if member.at(schedule._total) > run.end(member) else "shorter"
            message = f"OneCycleLR has {schedule._total:,} counts, and {run.limit(member)}."
            instead = ", without `epochs` and `steps_per_epoch`" * (schedule.epochs is not None)
            advice = f"Write `total_steps={run.own(member)}`{instead}."
            yield Finding(f"one-cycle-{kind}-than-run", message, advice)


def _flat_cycles(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(CyclicLR, OneCycleLR):
        is_flat = isinstance(schedule, CyclicLR) and schedule.max_lr == schedule.base_lr
        if is_flat or (isinstance(schedule, OneCycleLR) and schedule._total == 1):
            what = "`max_lr` is `base_lr`" if is_flat else "it has 1 count"
            name = _name(member)
            message = f"{name} stays at {schedule(0):g}: {what}."
            advice = f"Leave out the optimizer's learning rate: its own come first, as {name}("
            advice += "base_lr, max_lr)." if is_flat else "max_lr, total_steps)."
            yield Finding("cycle-stands-still", message, advice)


def _values(run: _Run) -> Iterator[Finding]:
    lrs = run.lrs
    small = ~(lrs > 1e-8 * lrs.max())
    if not (np.isfinite(lrs) & (lrs >= 0)).all():
        count = int(np.argmin(np.isfinite(lrs) & (lrs >= 0)))
        message = f"The learning rate is {lrs[count]:g} at {run.place(count)}."
        yield Finding("lr-out-of-range", message, "Make it finite and >= 0.")
    elif small.mean() > 0.5:
        message = f"The learning rate is 0, or under 1e-8 of its peak, in {small.mean():.0%} of "
        advice = "" if epoch_lengths(run.schedule) else f" If it counts epochs, write {run.wrap}."
        advice = f"Start higher, or let it fall more slowly.{advice}"
        yield Finding("lr-vanishes", f"{message}{run.span(run.num_counts)}.", advice)
    elif not lrs[:2].any():
        message = f"The learning rate is 0 in the first {run.span(int(np.argmax(lrs > 0)))}."
        advice = "Start above 0, with `start_factor=0.01`, or move within epochs: `smooth_epochs`."
        yield Finding("first-updates-do-nothing", message, advice)


def _functions(run: _Run) -> Iterator[Finding]:
    for member, schedule in run.of(Schedule):
        if not schedule._is_traced:
            continue
        horizon = run.own(member)
        table = f"`LambdaLR(1.0, schedule, horizon={horizon})`, a table made on the host"
        if isinstance(schedule, LambdaLR):
            table = f"`horizon={horizon}`, for a table made on the host"
        few = np.unique(np.linspace(0, horizon - 1, 64).astype(np.int32))
        counts = np.arange(horizon, dtype=np.int32) if horizon <= MOST_TABULATED else few
        # An optimizer calls a function that is no member itself, in float32.
        is_bare = schedule is run.schedule and not run.is_schedule
        fn: Any = schedule._values()[0] if is_bare else schedule
        try:
            with jax.numpy_dtype_promotion("standard"), np.errstate(all="ignore"):
                in_jit = np.asarray(jax.jit(jax.vmap(fn))(jnp.asarray(counts)), np.float64)
        except FunctionDiffers as error:
            message = f"{_name(member)}: {error}."
            yield Finding("function-differs-under-jit", message, f"Or write {table}.")
            continue
        except Exception as error:  # of the user's function
            message = f"JAX cannot trace {_name(member)}: {type(error).__name__}."
            yield Finding("function-not-traceable", message, f"Use jnp in it, or write {table}.")
            continue
        # Where it changes, a boundary may be late.
        changes = np.flatnonzero(in_jit[1:] != in_jit[:-1]) + 1
        places = np.concatenate([changes[:16], changes[-16:], np.searchsorted(counts, few)])
        places = np.unique(np.clip(places[:, None] + [-1, 0, 1], 0, len(counts) - 1))
        with np.errstate(all="ignore"):
            on_host, in_jit = schedule(counts[places]), in_jit[places]
            peak = np.max(np.abs(on_host[np.isfinite(on_host)]), initial=0)
            same = np.isclose(in_jit, on_host, rtol=1e-5, atol=1e-7 * peak, equal_nan=True)
        if not same.all():
            i = int(np.argmin(same))
            message = (
                f"{_name(member)} is {on_host[i]:g} in Python and {in_jit[i]:g} under `jit`, at "
                f"{run.place(member.at(int(counts[places[i]])))}."
            )
            advice = f"Make its function depend on the count alone, or write {table}."
            yield Finding("function-differs-under-jit", message, advice)


def _plateau(plateau: ReduceLROnPlateau, num_counts: int, steps: int) -> Iterator[Finding]:
    epochs, first = num_counts // steps, plateau.patience + 2
    if len(plateau._lrs) == 1:
        names = ("base_lr", "factor", "min_lr", "eps")
        values = ", ".join(f"`{name}` {getattr(plateau, name):g}" for name in names)
        message = f"No cut lowers the learning rate, with {values}."
        yield Finding("plateau-never-cuts", message, "Lower `min_lr` and `eps`.")
    elif first >= epochs:
        message = f"The first cut comes after epoch {first:,} or later, and the run has {epochs:,}."
        advice = f"Lower `patience`, as in {_code(plateau, patience=max(epochs // 4, 1))}."
        yield Finding("plateau-never-cuts", message, advice)


def _name(member: Placed) -> str:
    return type(member.schedule).__name__.replace("_Function", "the function")


def _code(schedule: Any, **changes: Any) -> str:
    text = repr(dataclasses.replace(schedule, **changes))
    return f"`{textwrap.shorten(text, 1000, placeholder=' ...')}`"


_RULES = [
    *(_epochs, _fed_updates, _milestones, _warmups, _cosines, _one_cycles, _flat_cycles),
    *(_values, _functions),
]
