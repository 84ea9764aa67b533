"""The schedule that equals a scheduler of torch, read by its attributes: one reader for a class."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._base.schedule import Schedule
from jaxsched._desk.torch.objects import chain_members, class_of, lr_of, number
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR
from jaxsched._schedules.cosine import SWALR, CosineAnnealingLR, CosineAnnealingWarmRestarts
from jaxsched._schedules.custom import LambdaLR, MultiplicativeLR
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR
from jaxsched._schedules.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)


class NoClass(Exception):
    """There is no schedule that equals it at every count; the message says why."""


def to_schedule(scheduler: Any, group: int, counts: int | None) -> Schedule:
    """The schedule of one param group, whatever the scheduler has stepped."""
    reader = _READERS.get(class_of(scheduler) or "")
    if reader is None:
        raise NoClass("it is no class of torch itself, and is recorded")
    try:
        return reader(scheduler, group, counts)
    except (TypeError, ValueError) as error:  # what jaxsched refuses and torch runs
        raise NoClass(str(error)) from None


def _base_lr(scheduler: Any, group: int) -> Any:
    return number(scheduler.base_lrs[group])


def _same_names(cls: type[Schedule], *attributes: str) -> Callable[..., Schedule]:
    """Reads a class whose attributes have the names of the arguments."""

    def reader(scheduler, group, counts):
        arguments = {attribute: getattr(scheduler, attribute) for attribute in attributes}
        return cls(_base_lr(scheduler, group), **arguments)  # pyright: ignore[reportCallIssue]

    return reader


def _multi_step(scheduler, group, counts):
    milestones = sorted(scheduler.milestones.elements())  # of a Counter
    return MultiStepLR(_base_lr(scheduler, group), milestones, scheduler.gamma)


def _swa(scheduler, group, counts):
    kind = getattr(scheduler, "_anneal_strategy", None)
    if kind is None:  # in older versions of torch
        kind = "linear" if "linear" in scheduler.anneal_func.__name__ else "cos"
    swa_lr = lr_of(scheduler, group, "swa_lr")
    return SWALR(_base_lr(scheduler, group), swa_lr, scheduler.anneal_epochs, kind)


def _cyclic(scheduler, group, counts):
    total, ratio = scheduler.total_size, scheduler.step_ratio
    up = round(total * ratio)
    if up / total != ratio or total != round(total):
        raise NoClass(f"its steps are no integers: {total * ratio} up, {total} up and down")
    down, scale_fn = round(total) - up, getattr(scheduler, "_scale_fn_custom", None)
    arguments: dict[str, Any] = {"gamma": scheduler.gamma}
    if scale_fn is None:
        arguments |= {"mode": scheduler.mode}
    else:
        arguments |= {"scale_fn": scale_fn, "scale_mode": scheduler.scale_mode}
    if scheduler.cycle_momentum:
        for name in ("base_momentum", "max_momentum"):
            arguments[name] = getattr(scheduler, f"{name}s")[group]
    lrs = _base_lr(scheduler, group), number(scheduler.max_lrs[group])
    schedule = CyclicLR(*lrs, up, None if down == up else down, **arguments)
    if scale_fn is not None and not _can_trace(schedule):
        raise NoClass("JAX cannot trace its scale_fn")
    return schedule


def _one_cycle(scheduler, group, counts):
    total, phases = scheduler.total_steps, scheduler._schedule_phases
    end = phases[0]["end_step"]
    first, peak, last = (lr_of(scheduler, group, k) for k in ("initial_lr", "max_lr", "min_lr"))
    arguments: dict[str, Any] = {"three_phase": len(phases) == 3}
    kind = getattr(scheduler, "_anneal_func_type", None)
    if kind is None:  # in older versions of torch
        kind = "linear" if "linear" in scheduler.anneal_func.__name__ else "cos"
    if scheduler.cycle_momentum:
        for name in ("base_momentum", "max_momentum"):
            arguments[name] = lr_of(scheduler, group, name)
    if peak:
        arguments["div_factor"] = _solve(lambda x: peak / x == first, peak / first)
        arguments["final_div_factor"] = _solve(lambda x: first / x == last, first / last)
    pct_start = _solve(lambda x: x * total - 1 == end, (end + 1) / total)
    return OneCycleLR(peak, total, None, None, pct_start, kind, **arguments)


def _solve(holds: Callable[[float], bool], about: float) -> float:
    """The number near `about` for which it holds to the last bit, rather a short one."""
    up, down = (math.nextafter(about, way) for way in (math.inf, 0.0))
    near = (float(f"{about:.12g}"), about, up, down)
    return next((x for x in near if holds(x)), about)


def _lambda(scheduler, group, counts):
    arguments = _base_lr(scheduler, group), scheduler.lr_lambdas[group]
    schedule = LambdaLR(*arguments)
    if _can_trace(schedule):
        return schedule
    if counts is None:
        raise NoClass("JAX cannot trace its lr_lambda")
    return LambdaLR(*arguments, horizon=counts)


def _can_trace(schedule: Schedule) -> bool:
    try:
        jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
        return True
    except Exception:  # of the user's function, which may raise anything when it is given a tracer
        return False


def _multiplicative(scheduler, group, counts):
    if counts is None:
        raise NoClass("its lr_lambda is a product over all counts before")
    lr_lambda = scheduler.lr_lambdas[group]
    return MultiplicativeLR(_base_lr(scheduler, group), lr_lambda, counts)


def _sequential(scheduler, group, counts):
    members, start = scheduler._schedulers, lr_of(scheduler, group, "initial_lr")
    if any(hasattr(member, "_schedulers") for member in members):
        raise NoClass("torch runs a composition in it one count ahead, or fails")
    for name in map(class_of, members[1:]):
        if name in ("MultiplicativeLR", "SWALR"):
            raise NoClass(f"torch's {name} goes on from the learning rate before it")
    first = members[bisect.bisect_right(scheduler._milestones, 0)]
    if class_of(first) not in _ABSOLUTE and _base_lr(first, group) != start:
        raise NoClass(f"it starts from {start}, its first member from {_base_lr(first, group)}")
    made = [to_schedule(member, group, counts) for member in members]
    return SequentialLR(made, scheduler._milestones)


_ABSOLUTE = ("LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
"""The classes that set the learning rate. The others change the one that they find."""


def _chained(scheduler, group, counts):
    members = [*chain_members(scheduler)]
    if len(members) == 1 and members[0] is scheduler._schedulers[0]:
        return to_schedule(members[0], group, counts)
    for member in members:
        if class_of(member) == "CosineAnnealingLR" and not member.eta_min:
            if counts is None or counts > member.T_max + 1:
                raise NoClass(f"after {member.T_max} counts, its cosine leaves the product")
        elif class_of(member) not in _FACTORS:
            raise NoClass("what torch makes of this chain depends on the order of its members")
    return ChainedScheduler([to_schedule(m, group, counts) for m in scheduler._schedulers])


_FACTORS = ("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR")
_FACTORS += ("MultiplicativeLR",)


_READERS: dict[str, Callable[..., Schedule]] = {
    "StepLR": _same_names(StepLR, "step_size", "gamma"),
    "MultiStepLR": _multi_step,
    "ConstantLR": _same_names(ConstantLR, "factor", "total_iters"),
    "LinearLR": _same_names(LinearLR, "start_factor", "end_factor", "total_iters"),
    "ExponentialLR": _same_names(ExponentialLR, "gamma"),
    "PolynomialLR": _same_names(PolynomialLR, "total_iters", "power"),
    "CosineAnnealingLR": _same_names(CosineAnnealingLR, "T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": _same_names(
        CosineAnnealingWarmRestarts, "T_0", "T_mult", "eta_min"
    ),
    "SWALR": _swa,
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
    "LambdaLR": _lambda,
    "MultiplicativeLR": _multiplicative,
    "SequentialLR": _sequential,
    "ChainedScheduler": _chained,
}
