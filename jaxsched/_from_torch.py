"""A live torch scheduler as the equal schedule, read by its attributes."""

from __future__ import annotations

import bisect
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxsched
from jaxsched._arguments import integer, optional
from jaxsched._ops import PYTHON
from jaxsched._plateau import ReduceLROnPlateau
from jaxsched._schedule import Schedule, shorten
from jaxsched._torch import (
    aside,
    check_kind,
    class_of,
    is_close,
    is_timm,
    lr_of,
    number,
    position,
    record,
)


def from_torch(
    scheduler: Any, *, group: int | None = None, counts: int | None = None
) -> Schedule | ReduceLROnPlateau:
    """Makes the equal schedule from a live torch scheduler: from count 0, wherever it stands.

    ```text
    torch                                                      from_torch
    StepLR(optimizer, 30)                                      StepLR(0.1, step_size=30, gamma=0.1)
    SequentialLR(optimizer, [LinearLR(...), ...], [5])         SequentialLR((LinearLR(...), ...
    ReduceLROnPlateau(optimizer, patience=5)                   ReduceLROnPlateau(0.1, patience=5 ...
    get_scheduler("cosine", optimizer, 100, 1000), counts=1000 LambdaLR(0.1, ..., horizon=1000)
    a class of your own, counts=90                             RecordedLR([0.1, ...
    ```

    A count is one `scheduler.step()`. Where torch's loop calls it once an epoch, put the result
    into `per_epoch`. `resume_from_torch` brings an optimizer state to where torch stands.

    Args:
        scheduler: a scheduler of `torch.optim.lr_scheduler`, `torch.optim.swa_utils` or
            `timm.scheduler`, or of a class derived from one. Neither it nor its optimizer changes.
        group: the number of the param group, if the groups have several learning rates.
        counts: number of counts (epochs or updates) for what has no class here, an integer >= 1:
            a copy of torch's scheduler, without the parameters, runs so many counts and becomes a
            RecordedLR, whose last value holds. It is also the `horizon` of MultiplicativeLR and of
            a LambdaLR that JAX cannot trace. Use the length of the training.

    Returns:
        A schedule, or the ReduceLROnPlateau with torch's arguments.

    Raises:
        TypeError: `scheduler` is no such scheduler.
        ValueError: `group` is needed, and the message lists the schedules; `counts` is needed, and
            the message says why; or the scheduler's learning rate is not that of its arguments,
            because somebody else changed it.

    What torch runs differently from jaxsched is recorded: a MultiplicativeLR or SWALR that is not
    the first member of SequentialLR, a composition inside SequentialLR, a ChainedScheduler whose
    members' order matters, one with a cosine for more than `T_max` + 1 counts.

    torch has no such function.

    ```python
    schedule = js.per_epoch(js.from_torch(scheduler), steps_per_epoch=391)
    ```
    """
    check_kind(scheduler)
    counts = optional(integer(at_least=1))("counts", counts)
    groups = _groups(scheduler, group)
    with aside():
        if class_of(scheduler) == "ReduceLROnPlateau":
            made = [_plateau(scheduler, g) for g in groups]
        else:
            made = _schedules(scheduler, groups, counts)
    if any(schedule != made[0] for schedule in made):
        alike: dict[str, list[str]] = {}
        for g, schedule in enumerate(made):
            text = textwrap.shorten(repr(schedule), 120, placeholder=" ...")
            alike.setdefault(text, []).append(str(g))
        found = "; ".join(f"{', '.join(numbers)}: {text}" for text, numbers in alike.items())
        raise ValueError(f"`group` must be given, because the param groups differ. {found}")
    return made[0]


def _groups(scheduler: Any, group: Any) -> list[int]:
    number_of = len(scheduler.optimizer.param_groups)
    if group is None:
        return [*range(number_of)]
    if integer(at_least=0)("group", group) >= number_of:
        raise ValueError(f"`group` must be an integer from 0 to {number_of - 1}, got {group}")
    return [int(group)]


def _plateau(scheduler: Any, group: int) -> ReduceLROnPlateau:
    names = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
    arguments = {name: getattr(scheduler, name) for name in names}
    min_lrs, lr = scheduler.min_lrs, lr_of(scheduler, group)
    arguments["min_lr"] = min_lrs[group] if group < len(min_lrs) else scheduler.default_min_lr
    if "initial_lr" in scheduler.optimizer.param_groups[group]:  # another scheduler left it
        return ReduceLROnPlateau(lr_of(scheduler, group, "initial_lr"), **arguments)
    if scheduler.last_epoch <= scheduler.patience:  # too early for a cut
        return ReduceLROnPlateau(lr, **arguments)
    # torch does not keep the first learning rate. The optimizer's own is known if it is a number (a
    # tensor is changed in place) and the group has none of its own (the groups are alike).
    default = scheduler.optimizer.defaults["lr"]
    is_known = isinstance(default, (int, float))
    is_known &= all(number(own["lr"]) == lr for own in scheduler.optimizer.param_groups)
    made = ReduceLROnPlateau(number(default), **arguments)
    if not is_known or not is_close(lr, made._lrs, scheduler, group).any():
        raise ValueError(
            f"`scheduler` must have a first learning rate that is known, got {lr!r} in param group "
            f"{group}, which may have been cut. Give a fresh scheduler, or tell it: "
            f'scheduler.optimizer.param_groups[{group}]["initial_lr"] = ...'
        )
    return made


# -- the classes ----------------------------------------------------------------------------------


class _NoClass(Exception):
    """There is no schedule that equals it at every count; the message says why."""


def _schedules(scheduler: Any, groups: list[int], counts: int | None) -> list[Schedule]:
    for g in groups:
        if "initial_lr" not in scheduler.optimizer.param_groups[g]:
            raise ValueError(
                f"`group` must be one that the scheduler has from its start, got {g}, which was "
                "added later"
            )
    place = (0, 0) if is_timm(scheduler) else position(vars(scheduler))
    # It may have run for longer than `counts`.
    enough = counts and max(counts, place[0] + 1)
    try:
        made = [_read(scheduler, g, enough) for g in groups]
    except _NoClass as reason:
        if counts is None:
            raise ValueError(
                "`counts` must be given, as in from_torch(scheduler, counts=n), for the first n "
                f"counts of this {type(scheduler).__name__}: {reason}"
            ) from None
        return [jaxsched.RecordedLR(lrs) for lrs in record(scheduler, groups, counts).T]
    for g, schedule in zip(groups, made, strict=True):
        expected, found = PYTHON.value(schedule, *place), lr_of(scheduler, g)
        if not is_close(found, expected, scheduler, g):
            raise ValueError(
                f"`scheduler` must have the learning rate of its arguments, got {found!r} in param "
                f"group {g} at count {sum(place):g}, and they give {expected!r}: "
                f"{shorten(schedule)}. "
                "Somebody changed the group's lr or an attribute, or another scheduler steps the "
                "same optimizer: then give the ChainedScheduler of both. Or give a fresh scheduler"
            )
    return made if enough == counts else [_read(scheduler, g, counts) for g in groups]


def _read(scheduler: Any, group: int, counts: int | None) -> Schedule:
    reader = _READERS.get(class_of(scheduler) or "")
    if reader is None:
        raise _NoClass("it is no class of torch itself, and is recorded")
    try:
        return reader(scheduler, group, counts)
    except (TypeError, ValueError) as error:  # what jaxsched refuses and torch runs
        raise _NoClass(str(error)) from None


def _base_lr(scheduler: Any, group: int) -> Any:
    return number(scheduler.base_lrs[group])


def _alike(name: str, *attributes: str) -> Callable[..., Schedule]:
    """Reads a class whose attributes have the names of the arguments."""

    def read(scheduler, group, counts):
        arguments = {attribute: getattr(scheduler, attribute) for attribute in attributes}
        return getattr(jaxsched, name)(_base_lr(scheduler, group), **arguments)

    return read


def _multi_step(scheduler, group, counts):
    milestones = sorted(scheduler.milestones.elements())  # of a Counter
    return jaxsched.MultiStepLR(_base_lr(scheduler, group), milestones, scheduler.gamma)


def _swa(scheduler, group, counts):
    kind = getattr(scheduler, "_anneal_strategy", None)
    if kind is None:  # in older versions of torch
        kind = "linear" if "linear" in scheduler.anneal_func.__name__ else "cos"
    swa_lr = lr_of(scheduler, group, "swa_lr")
    return jaxsched.SWALR(_base_lr(scheduler, group), swa_lr, scheduler.anneal_epochs, kind)


def _cyclic(scheduler, group, counts):
    total, ratio = scheduler.total_size, scheduler.step_ratio
    up = round(total * ratio)
    if up / total != ratio or total != round(total):
        raise _NoClass(f"its steps are no integers: {total * ratio} up, {total} up and down")
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
    schedule = jaxsched.CyclicLR(*lrs, up, None if down == up else down, **arguments)
    if scale_fn is not None and not _can_trace(schedule):
        raise _NoClass("JAX cannot trace its scale_fn")
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
    return jaxsched.OneCycleLR(peak, total, None, None, pct_start, kind, **arguments)


def _solve(holds: Callable[[float], bool], about: float) -> float:
    """The number near `about` for which it holds to the last bit, rather a short one."""
    up, down = (math.nextafter(about, way) for way in (math.inf, 0.0))
    near = (float(f"{about:.12g}"), about, up, down)
    return next((x for x in near if holds(x)), about)


def _lambda(scheduler, group, counts):
    arguments = _base_lr(scheduler, group), scheduler.lr_lambdas[group]
    schedule = jaxsched.LambdaLR(*arguments)
    if _can_trace(schedule):
        return schedule
    if counts is None:
        raise _NoClass("JAX cannot trace its lr_lambda")
    return jaxsched.LambdaLR(*arguments, horizon=counts)


def _can_trace(schedule: Schedule) -> bool:
    try:
        jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
        return True
    except Exception:  # of the user's function, which may raise anything when it is given a tracer
        return False


def _multiplicative(scheduler, group, counts):
    if counts is None:
        raise _NoClass("its lr_lambda is a product over all counts before")
    lr_lambda = scheduler.lr_lambdas[group]
    return jaxsched.MultiplicativeLR(_base_lr(scheduler, group), lr_lambda, counts)


def _sequential(scheduler, group, counts):
    members, start = scheduler._schedulers, lr_of(scheduler, group, "initial_lr")
    if any(hasattr(member, "_schedulers") for member in members):
        raise _NoClass("torch runs a composition in it one count ahead, or fails")
    for name in map(class_of, members[1:]):
        if name in ("MultiplicativeLR", "SWALR"):
            raise _NoClass(f"torch's {name} goes on from the learning rate before it")
    first = members[bisect.bisect_right(scheduler._milestones, 0)]
    if class_of(first) not in _ABSOLUTE and _base_lr(first, group) != start:
        raise _NoClass(f"it starts from {start}, its first member from {_base_lr(first, group)}")
    read = [_read(member, group, counts) for member in members]
    return jaxsched.SequentialLR(read, scheduler._milestones)


_ABSOLUTE = ("LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
"""The classes that set the learning rate. The others change the one that they find."""


def _chained(scheduler, group, counts):
    members = [*_leaves(scheduler)]
    if len(members) == 1 and members[0] is scheduler._schedulers[0]:
        return _read(members[0], group, counts)
    for member in members:
        if class_of(member) == "CosineAnnealingLR" and not member.eta_min:
            if counts is None or counts > member.T_max + 1:
                raise _NoClass(f"after {member.T_max} counts, its cosine leaves the product")
        elif class_of(member) not in _FACTORS:
            raise _NoClass("what torch makes of this chain depends on the order of its members")
    return jaxsched.ChainedScheduler([_read(m, group, counts) for m in scheduler._schedulers])


_FACTORS = ("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR")
_FACTORS += ("MultiplicativeLR",)


def _leaves(scheduler: Any) -> Iterator[Any]:
    """The schedulers in chains of chains; a SequentialLR is one, because it sets the lr."""
    for member in getattr(scheduler, "_schedulers", ()):
        yield from _leaves(member) if class_of(member) == "ChainedScheduler" else [member]


_READERS: dict[str, Callable[..., Schedule]] = {
    "StepLR": _alike("StepLR", "step_size", "gamma"),
    "MultiStepLR": _multi_step,
    "ConstantLR": _alike("ConstantLR", "factor", "total_iters"),
    "LinearLR": _alike("LinearLR", "start_factor", "end_factor", "total_iters"),
    "ExponentialLR": _alike("ExponentialLR", "gamma"),
    "PolynomialLR": _alike("PolynomialLR", "total_iters", "power"),
    "CosineAnnealingLR": _alike("CosineAnnealingLR", "T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": _alike(
        "CosineAnnealingWarmRestarts", "T_0", "T_mult", "eta_min"
    ),
    "SWALR": _swa,
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
    "LambdaLR": _lambda,
    "MultiplicativeLR": _multiplicative,
    "SequentialLR": _sequential,
    "ChainedScheduler": _chained,
}
