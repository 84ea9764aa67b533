"""torch's schedulers without torch: what one is, where it stands, and a copy of it that runs."""

from __future__ import annotations

import bisect
import contextlib
import copy
import itertools
import random
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxsched._base.hints import describe, is_optimizer
from jaxsched._base.schedule import Schedule
from jaxsched._desk.torch.memory import difference, may_keep
from jaxsched._desk.torch.states import position
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
    elif isinstance(scheduler, (list, tuple)):
        hint = "; give one scheduler, and call it for each"
    elif isinstance(scheduler, Mapping) and any(map(_is_one, scheduler.values())):
        hint = "; give the one that is in it"
    elif isinstance(scheduler, Mapping):
        hint = "; give the scheduler itself: its state_dict() does not say its class"
    elif wraps:
        hint = f"; give the one that is in it, its attribute `{wraps}`"
        if type(scheduler).__module__.startswith("accelerate"):
            hint += ", which Accelerate steps once for each process: divide its count by them"
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


def record(scheduler: Any, groups: list[int], counts: int, again: bool = True) -> np.ndarray:
    """The learning rates at the counts 0 to counts - 1, one column for each of the groups."""
    name, run = type(scheduler).__name__, _copy(scheduler)
    at, step = 0, lambda count: run.step()
    if is_timm(run):  # which keeps no count: the training loop gives it one
        step = run.step if run.t_in_epochs else run.step_update
        run.update_groups(run.warmup_lr_init if run.warmup_t else run.base_values)
    elif at := position(vars(run))[0]:
        check_memory(scheduler, at)
        _rewind(run, groups)
    elif getattr(run, "_step_count", 1) > 1:
        raise ValueError(
            f"`scheduler` must count its steps in `last_epoch`, and that of {name} is 0 after "
            f"{run._step_count - 1} steps: give a fresh one"
        )
    is_own = class_of(run) is None and not is_timm(run)
    rows = []
    for count in range(max(counts, at + 1, 1 + is_own)):
        try:
            if count:
                step(count)
        except Exception as error:
            raise ValueError(
                f"`scheduler` must run on by its step(), and {name} fails at count {count}: "
                f"{type(error).__name__}: {error}{_why(scheduler)}"
            ) from error
        rows.append([lr_of(run, group) for group in groups])
        if count == at and not is_timm(run):
            _compare_state(run, scheduler, groups)
        elif is_own and count and position(vars(run))[0] == 0:
            raise ValueError(
                f"`scheduler` must count its steps in `last_epoch`, and that of {name} is 0 after "
                f"{count}: record its learning rates in torch, and replay them with RecordedLR"
            )
    values = np.array(rows, np.float64)
    if is_own and again and not np.array_equal(values, record(scheduler, groups, counts, False)):
        raise ValueError(
            f"`scheduler` must run alike each time, and {name} does not: it draws random numbers, "
            "or keeps something outside of itself, which has changed. Record its learning rates in "
            "torch, and replay them with RecordedLR"
        )
    for group, column in zip(groups, values.T, strict=True):
        there = column if is_timm(run) else column[at]
        found = lr_of(scheduler, group)
        if not np.any(is_close(found, there, scheduler, group)):
            raise _differs(scheduler, f"{found!r} in param group {group}")
    return values[:counts] if again else values


def _compare_state(run: Any, scheduler: Any, groups: list[int]) -> None:
    """Refuses a copy that has come to another state than its original, or to it otherwise."""
    of_group = [
        [
            {k: v for k, v in x.optimizer.param_groups[g].items() if k not in ("params", "lr")}
            for g in groups
        ]
        for x in (run, scheduler)
    ]
    # A tensor's learning rate is in float32.
    is_double = all(
        isinstance(scheduler.optimizer.param_groups[g]["lr"], (int, float)) for g in groups
    )
    kept = difference(run, scheduler, of_group, rtol=1e-9 if is_double else 1e-4)
    if kept is not None:
        raise _differs(scheduler, f"another `{kept}`")


def _differs(scheduler: Any, what: str) -> ValueError:
    return ValueError(
        f"`scheduler` must be what a copy of it is that starts again at count 0, got {what}, to "
        f"which the copy does not come. {type(scheduler).__name__} keeps more than its count, or "
        "was changed: give a fresh one"
    )


def _why(scheduler: Any) -> str:
    """Why a class of torch fails, where that is known."""
    for member in getattr(scheduler, "_schedulers", ()):
        if class_of(scheduler) == "SequentialLR" and hasattr(member, "_schedulers"):
            return (
                f". torch cannot begin a {type(member).__name__} at a milestone: put its members "
                "into the SequentialLR themselves, or record fewer counts"
            )
    return ""


def check_memory(scheduler: Any, at: int) -> None:
    """Refuses one that stands at count `at` and may keep more than that."""
    for member in (scheduler, *getattr(scheduler, "_schedulers", ())):
        if member is not scheduler and hasattr(member, "_schedulers"):
            check_memory(member, at)
        elif kept := may_keep(member):
            raise ValueError(
                f"`scheduler` must be a fresh one, got one at count {at}: {type(member).__name__} "
                f"keeps more than its count, or may: {kept}"
            )


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


def _rewind(scheduler: Any, groups: list[int]) -> None:
    """Starts a copy at count 0."""
    found = []
    for members in _orders(scheduler):
        _to_initial_lr(scheduler)
        for member in members:
            _construct(member)
        found.append([lr_of(scheduler, group) for group in groups])
    if not np.allclose(found, found[-1], rtol=1e-12, atol=0):
        lrs = ", ".join(sorted({f"{lr:.6g}" for row in found for lr in row}))
        raise ValueError(
            f"`scheduler` must be a fresh one, got a {type(scheduler).__name__} that has stepped: "
            f"its first learning rate is one of {lrs}, by the order in which its members were made"
        )


def _orders(scheduler: Any) -> Iterator[Any]:
    """The orders in which the members of a chain may have been made; last, as they are in it."""
    if class_of(scheduler) != "ChainedScheduler":
        yield [scheduler]
        return
    members = [*chain_members(scheduler)]
    if len(members) <= 5:
        yield from itertools.permutations(members)
    for i, last in enumerate(members):
        yield [*members[:i], *members[i + 1 :], last]


def chain_members(scheduler: Any) -> Iterator[Any]:
    """The schedulers in chains of chains; a SequentialLR is one, because it sets the lr."""
    for member in scheduler._schedulers:
        yield from chain_members(member) if class_of(member) == "ChainedScheduler" else [member]


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
