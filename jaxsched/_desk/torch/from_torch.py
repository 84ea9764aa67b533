"""A live torch scheduler as the equal schedule, read by its attributes."""

from __future__ import annotations

import textwrap
from typing import Any

from jaxsched._base.arguments import integer, optional
from jaxsched._base.members import shorten
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._desk.placed import Beyond
from jaxsched._desk.torch.classes import NoClass, to_schedule
from jaxsched._desk.torch.objects import (
    aside,
    check_kind,
    class_of,
    is_close,
    is_timm,
    lr_of,
    number,
    record,
)
from jaxsched._desk.torch.states import position
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.plateau import ReduceLROnPlateau


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
            because somebody else changed it; or what it was at count 0 is not certain.

    What torch runs differently from jaxsched is recorded: a MultiplicativeLR or SWALR that is not
    the first member of SequentialLR, a composition inside SequentialLR, a ChainedScheduler whose
    members' order matters, one with a cosine for more than `T_max` + 1 counts. A class that is not
    torch's own is recorded fresh; or stepped, if its code proves that it keeps nothing but its
    count, and a copy from count 0 on comes to its whole state.

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
    most = scheduler.last_epoch // (scheduler.patience + 1)  # cuts
    if "initial_lr" in scheduler.optimizer.param_groups[group]:  # another scheduler left it
        first = lr_of(scheduler, group, "initial_lr")
        made = ReduceLROnPlateau(first, **arguments)
        if is_close(lr, made._lrs[: most + 1], scheduler, group).any():
            return made
        raise ValueError(
            f"`scheduler` must have the learning rate of its arguments, got {lr!r} in param group "
            f"{group}, to which up to {most} cuts do not lead from its `initial_lr`, {first!r}. In "
            "a warmup, give it after that. If it began at another learning rate, as in a second "
            f'phase, tell it: scheduler.optimizer.param_groups[{group}]["initial_lr"] = ...'
        )
    if not most:  # too early for a cut
        return ReduceLROnPlateau(lr, **arguments)
    # torch does not keep the first learning rate. The optimizer's own is known if it is a number (a
    # tensor is changed in place) and the group has none of its own (the groups are alike).
    default = scheduler.optimizer.defaults["lr"]
    is_known = isinstance(default, (int, float))
    is_known &= all(number(own["lr"]) == lr for own in scheduler.optimizer.param_groups)
    made = ReduceLROnPlateau(number(default), **arguments)
    if not is_known or not is_close(lr, made._lrs[: most + 1], scheduler, group).any():
        raise ValueError(
            f"`scheduler` must have a first learning rate that is known, got {lr!r} in param group "
            f"{group}, which may have been cut. Give a fresh scheduler, or tell it: "
            f'scheduler.optimizer.param_groups[{group}]["initial_lr"] = ...'
        )
    return made


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
        made = [to_schedule(scheduler, g, enough) for g in groups]
    except NoClass as reason:
        if counts is None:
            raise ValueError(
                "`counts` must be given, as in from_torch(scheduler, counts=n), for the first n "
                f"counts of this {type(scheduler).__name__}: {reason}"
            ) from None
        return [RecordedLR(lrs) for lrs in record(scheduler, groups, counts).T]
    for g, schedule in zip(groups, made, strict=True):
        expected, found = schedule._at(*place, PYTHON), lr_of(scheduler, g)
        if (beyond := Beyond.of(schedule)) is not None and sum(place) >= beyond.at:
            expected = beyond.lr
        if not is_close(found, expected, scheduler, g):
            raise ValueError(
                f"`scheduler` must have the learning rate of its arguments, got {found!r} in param "
                f"group {g} at count {sum(place):g}, and they give {expected!r}: "
                f"{shorten(schedule)}. "
                "Somebody changed the group's lr or an attribute, or another scheduler steps the "
                "same optimizer: then give the ChainedScheduler of both. Or give a fresh scheduler"
            )
    return made if enough == counts else [to_schedule(scheduler, g, counts) for g in groups]
