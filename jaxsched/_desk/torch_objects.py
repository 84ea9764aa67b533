"""torch's schedulers without torch: what one is, where it stands, and a copy of it that runs."""

from __future__ import annotations

import bisect
import contextlib
import copy
import random
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._base.hints import describe, is_optimizer
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.plateau import ReduceLROnPlateau

_TORCH = ("torch.optim.lr_scheduler", "torch.optim.swa_utils")
_TIMM = "timm.scheduler"


def check_kind(scheduler: Any) -> None:
    """A scheduler of torch or timm, or of a class derived from one, with its optimizer."""
    # timm's plateau wraps torch's, and Accelerate any.
    wraps = next(
        (n for n in ("scheduler", "lr_scheduler") if _is_one(getattr(scheduler, n, None))), None
    )
    if _is_one(scheduler) and (wraps is None or not is_timm(scheduler)):
        return
    hint = "; record its learning rates in torch, and replay them with RecordedLR"
    if isinstance(scheduler, (Schedule, ReduceLROnPlateau)):
        hint = ", which is a schedule of jaxsched already"
    elif is_optimizer(scheduler):
        hint = "; give the scheduler, which knows its optimizer"
    elif wraps:
        hint = f"; give the one that is in it, its attribute `{wraps}`"
    got = describe(scheduler)
    raise TypeError(f"`scheduler` must be a scheduler of torch or timm, got {got}{hint}")


def class_of(scheduler: Any) -> str | None:
    """The name of a class of torch. None for a class derived from it, which may do anything."""
    return type(scheduler).__name__ if type(scheduler).__module__ in _TORCH else None


def _is_one(value: Any) -> bool:
    is_one = _comes_from(value, *_TORCH, _TIMM)
    return is_one and hasattr(getattr(value, "optimizer", None), "param_groups")


def is_timm(scheduler: Any) -> bool:
    return _comes_from(scheduler, _TIMM)


def _comes_from(value: Any, *modules: str) -> bool:
    return any(cls.__module__.startswith(modules) for cls in type(value).__mro__)


def number(value: Any) -> Any:
    """A learning rate as a float. A float32 tensor gives the shortest number that rounds to it."""
    if isinstance(value, (int, float)):
        return value
    single = np.float32(float(value))
    return float(str(single)) if single == float(value) else float(value)


def lr_of(scheduler: Any, group: int, key: str = "lr") -> Any:
    return number(scheduler.optimizer.param_groups[group][key])


def position(state: dict[str, Any]) -> tuple[int, float]:
    """The count at which a scheduler stands, and the fraction of the way to the next one.

    `state` is its state_dict() or its attributes.
    """
    if "last_epoch" not in state and "_schedulers" in state:  # of a ChainedScheduler
        found = {position(m if isinstance(m, dict) else vars(m)) for m in state["_schedulers"]}
        if len(found) > 1:
            at = ", ".join(f"{count + fraction:g}" for count, fraction in sorted(found))
            raise ValueError(f"`scheduler` must have members at one count, got {at}")
        return found.pop()
    epoch = state.get("last_epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, (int, float)):
        raise TypeError(f"`scheduler` must have a number `last_epoch`, got {describe(epoch)}")
    if epoch < 0:
        raise ValueError(
            f"`scheduler` must have started, got last_epoch {epoch}: give the SequentialLR it is in"
        )
    # CosineAnnealingWarmRestarts.step(1.25) keeps last_epoch 1 and T_cur 1.25.
    count, fraction = divmod(epoch, 1)
    return int(count), fraction or state.get("T_cur", 0) % 1 or 0


def is_close(found: Any, expected: Any, scheduler: Any, group: int) -> Any:
    """Up to the rounding of torch's recursion, which is in float32 if the lr is a tensor."""
    own = scheduler.optimizer.param_groups[group]
    rtol = 1e-9 if isinstance(own["lr"], (int, float)) else 1e-4
    largest = max(abs(number(own.get(key, 0.0))) for key in ("lr", "initial_lr", "max_lr"))
    return np.isclose(found, expected, rtol=rtol, atol=1e-3 * rtol * largest)


# -- a copy that runs ------------------------------------------------------------------------------


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """No warnings, and the global random numbers of Python, NumPy and torch as they were."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch:
            torch.set_rng_state(states[2])


def record(scheduler: Any, groups: list[int], counts: int) -> np.ndarray:
    """The learning rates at the counts 0 to counts - 1, one column for each of the groups."""
    name, run = type(scheduler).__name__, _copy(scheduler)
    at, step = 0, lambda count: run.step()
    if is_timm(run):  # which keeps no count: the training loop gives it one
        step = run.step if run.t_in_epochs else run.step_update
        run.update_groups(run.warmup_lr_init if run.warmup_t else run.base_values)
    elif at := position(vars(run))[0]:  # a fresh one stays as its own constructor made it
        _rewind(run)
    rows = []
    for count in range(max(counts, at + 1)):
        try:
            if count:
                step(count)
        except Exception as error:
            raise ValueError(
                f"`scheduler` must run on by its step(), and {name} fails at count {count}: "
                f"{type(error).__name__}: {error}"
            ) from error
        rows.append([lr_of(run, group) for group in groups])
    values = np.array(rows, np.float64)
    for group, column in zip(groups, values.T, strict=True):
        found = lr_of(scheduler, group)
        there = column if is_timm(run) else column[at]
        if not np.any(is_close(found, there, scheduler, group)):
            raise ValueError(
                f"`scheduler` must have a learning rate that a copy of it has, got {found!r} in "
                f"param group {group}, and the copy, from count 0 on, does not come by it. {name} "
                "keeps more than its count, or was changed: give a fresh one"
            )
    return values[:counts]


def _copy(scheduler: Any) -> Any:
    """A copy with an optimizer that has the groups only. It shares the parameters."""
    optimizer = scheduler.optimizer
    memo = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    groups = [
        {key: value if key == "params" else copy.deepcopy(value, memo) for key, value in g.items()}
        for g in optimizer.param_groups
    ]
    memo[id(optimizer)] = types.SimpleNamespace(
        param_groups=groups, defaults=dict(optimizer.defaults), state={}, step=lambda: None
    )
    try:
        return copy.deepcopy(scheduler, memo)
    except Exception as error:
        raise ValueError(
            f"`scheduler` must be one that can be copied, and {type(scheduler).__name__} cannot "
            f"({error}): record its learning rates in torch, and replay them with RecordedLR"
        ) from error


def _rewind(scheduler: Any) -> None:
    """Starts a copy at count 0."""
    _to_initial_lr(scheduler)
    _construct(scheduler)


def _construct(scheduler: Any) -> None:
    """What the constructors of torch do to counts and learning rates."""
    members = getattr(scheduler, "_schedulers", None)
    if members is None:
        scheduler.last_epoch = -1
        scheduler._initial_step()
        return
    for member in members:
        _construct(member)
    if hasattr(scheduler, "_milestones"):  # of a SequentialLR, which takes the steps back
        scheduler.last_epoch = 0
        _to_initial_lr(scheduler)
        for leaf in _leaf_schedulers(scheduler):
            leaf.last_epoch -= 1
        members[bisect.bisect_right(scheduler._milestones, 0)]._initial_step()


def _to_initial_lr(scheduler: Any) -> None:
    for group in scheduler.optimizer.param_groups:
        # A copy, because a tensor is changed in place. A group that was added later has none.
        group["lr"] = copy.deepcopy(group.get("initial_lr", group["lr"]))


def _leaf_schedulers(scheduler: Any) -> Iterator[Any]:
    members = getattr(scheduler, "_schedulers", None)
    if members is None:
        yield scheduler
    for member in members or ():
        yield from _leaf_schedulers(member)
