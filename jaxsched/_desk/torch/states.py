"""What torch's schedulers save: whose state a mapping is, and the count at which it stands."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from jaxsched._base.hints import describe

OF_BASE = {"last_epoch", "_step_count", "_last_lr", "base_lrs", "verbose", "optimizer"}
OF_BASE |= {"_get_lr_called_within_step", "_is_initial"}
"""The attributes of `LRScheduler`, in this version of torch or in an older one."""
_NEEDED = {
    "StepLR": "step_size gamma",
    "MultiStepLR": "milestones gamma",
    "ConstantLR": "factor total_iters",
    "LinearLR": "start_factor end_factor total_iters",
    "ExponentialLR": "gamma",
    "PolynomialLR": "total_iters power",
    "CosineAnnealingLR": "T_max eta_min",
    "CosineAnnealingWarmRestarts": "T_0 T_mult T_i T_cur eta_min",
    "CyclicLR": "max_lrs total_size step_ratio mode gamma scale_mode cycle_momentum",
    "OneCycleLR": "total_steps _schedule_phases cycle_momentum",
    "LambdaLR": "lr_lambdas",
    "MultiplicativeLR": "lr_lambdas",
    "SWALR": "anneal_epochs",
    "SequentialLR": "_schedulers _milestones",
    "ChainedScheduler": "_schedulers",
    "ReduceLROnPlateau": "mode factor patience threshold threshold_mode cooldown eps min_lrs best "
    "num_bad_epochs cooldown_counter",
}
ATTRIBUTES = {name: frozenset(attributes.split()) for name, attributes in _NEEDED.items()}
_MAY_HAVE = {
    "CyclicLR": "_scale_fn_ref _scale_fn_custom scale_fn base_momentums max_momentums use_beta1",
    "OneCycleLR": "_anneal_func_type anneal_func use_beta1",
    "SWALR": "_anneal_strategy anneal_func",
    "ReduceLROnPlateau": "default_min_lr mode_worse is_better",
}
_OF_PLATEAU = ATTRIBUTES["ReduceLROnPlateau"] - {"factor", "mode"}


def names_of(class_name: str) -> frozenset[str]:
    """All attributes that a class of torch may have beside those of `LRScheduler`."""
    needed = ATTRIBUTES.get(class_name, frozenset())
    return needed | {*_MAY_HAVE.get(class_name, "").split()}


def is_plateau(state: Mapping[str, Any]) -> bool:
    return not _OF_PLATEAU.isdisjoint(state)


def check_state(state: Mapping[Any, Any]) -> None:
    """Refuses a mapping that is not the state_dict() of a class of torch, or a part of one."""
    keys = set(state)
    if {"last_epoch", "_schedulers"}.isdisjoint(keys) and not is_plateau(state):
        raise TypeError(f"`scheduler` must be the state_dict() of a scheduler, got {_other(state)}")
    possible = {name: names_of(name) for name in ATTRIBUTES if keys <= OF_BASE | names_of(name)}
    if not possible:
        foreign = keys - OF_BASE.union(*map(names_of, ATTRIBUTES))
        raise ValueError(f"`scheduler` must be {_not_torchs(foreign or keys - OF_BASE)}")
    if "base_lrs" in keys and not any(ATTRIBUTES[name] <= keys for name in possible):
        raise ValueError(f"`scheduler` must be {_not_torchs(set())}")
    members = state.get("_schedulers", [{"last_epoch": 0}])
    is_list = isinstance(members, (list, tuple))
    if not is_list or not members or not all(isinstance(m, Mapping) for m in members):
        raise TypeError(
            f"`scheduler` must have the states of its members in `_schedulers`, got "
            f"{describe(members)}"
        )
    for member in members if "_schedulers" in keys else ():
        check_state(member)


def _not_torchs(foreign: set[Any]) -> str:
    keeps = ", ".join(f"`{key}`" for key in sorted(map(str, foreign)))
    got = f"one with {keeps}, which no class of torch has together" if keeps else "another class's"
    return (
        f"the state_dict() of a class of torch itself, got {got}: its `last_epoch` need not be its "
        "steps. Use set_count(opt_state, updates)"
    )


def _other(state: Mapping[Any, Any]) -> str:
    if "param_groups" in state:
        return "an optimizer's, which has no count: give that of the scheduler"
    if "param_group_field" in state:
        return "timm's, which has no count: use set_count(opt_state, updates)"
    found = [*_within(state, "scheduler", 3)]
    if found:
        return f"a mapping in which there is one: give {' or '.join(found)}"
    return f"{describe(dict(state))}, which has no number `last_epoch`"


def _within(value: Any, path: str, depth: int) -> Iterator[str]:
    """Where in a checkpoint the states of schedulers are."""
    if isinstance(value, Mapping):
        if "last_epoch" in value or "_schedulers" in value:
            yield path
            return
        items = [(repr(key), x) for key, x in value.items()]
    else:
        items = [*enumerate(value)] if isinstance(value, (list, tuple)) else []
    for key, x in items if depth else ():
        yield from _within(x, f"{path}[{key}]".replace("'", '"'), depth - 1)


def real(state: Mapping[str, Any], name: str) -> float:
    """A number of a state: no text, no bool, and not NaN."""
    value: Any = state.get(name)
    if hasattr(value, "item") and not getattr(value, "shape", ()):  # of NumPy, of torch
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`scheduler` must have a number `{name}`, got {describe(value)}")
    if math.isnan(value):
        raise ValueError(f"`scheduler` must have a number `{name}`, got {value!r}")
    return value  # pyright: ignore[reportReturnType]


def whole(state: Mapping[str, Any], name: str, at_most: float = math.inf) -> int:
    """A count of a state."""
    value = real(state, name)
    if not 0 <= value <= at_most or math.isinf(value) or value != int(value):
        limit = f" from 0 to {at_most}" if math.isfinite(at_most) else " >= 0"
        raise ValueError(f"`scheduler` must have an integer `{name}`{limit}, got {value!r}")
    return int(value)


def position(state: Mapping[str, Any]) -> tuple[int, float]:
    """The count at which a scheduler stands, and the fraction of the way to the next one.

    `state` is its state_dict() or its attributes.
    """
    if "last_epoch" not in state and "_schedulers" in state:  # of a ChainedScheduler
        members = state["_schedulers"]
        found = {position(m if isinstance(m, Mapping) else vars(m)) for m in members}
        if len(found) > 1:
            at = ", ".join(f"{count + fraction:g}" for count, fraction in sorted(found))
            raise ValueError(f"`scheduler` must have members at one count, got {at}")
        return found.pop()
    epoch = real(state, "last_epoch")
    if epoch < 0:
        raise ValueError(
            f"`scheduler` must have started, got last_epoch {epoch}: give the SequentialLR it is in"
        )
    if math.isinf(epoch):
        raise ValueError(f"`scheduler` must have a finite `last_epoch`, got {epoch}")
    # CosineAnnealingWarmRestarts.step(1.25) keeps last_epoch 1 and T_cur 1.25.
    within = real(state, "T_cur") if "T_cur" in state else 0
    if math.isinf(within) or within < 0:
        raise ValueError(f"`scheduler` must have a finite `T_cur` >= 0, got {within}")
    count, fraction = divmod(epoch, 1)
    return int(count), fraction or within % 1 or 0


def check_plateau(state: Mapping[str, Any]) -> None:
    """Refuses what is not the state_dict() of a ReduceLROnPlateau, or its attributes."""
    lists = ["min_lrs"] if "optimizer" in state else ["min_lrs", "_last_lr"]
    missing = {*ATTRIBUTES["ReduceLROnPlateau"], *lists, "last_epoch"} - set(state)
    if missing:
        keys = ", ".join(f"`{name}`" for name in sorted(missing))
        raise ValueError(
            f"`scheduler` must be the state of a ReduceLROnPlateau, got one without {keys}"
        )
    whole(state, "last_epoch")
    whole(state, "num_bad_epochs", at_most=whole(state, "patience"))
    whole(state, "cooldown_counter", at_most=whole(state, "cooldown"))
    for name in ("best", "factor", "threshold", "eps"):
        real(state, name)
    for name in lists:
        values = state[name]
        if not isinstance(values, (list, tuple)) or not values:
            raise TypeError(
                f"`scheduler` must have a list of numbers `{name}`, got {describe(values)}"
            )
        for i, value in enumerate(values):
            lr = real({f"{name}[{i}]": value}, f"{name}[{i}]")
            if not 0 <= lr < math.inf:
                raise ValueError(f"`scheduler` must have numbers >= 0 in `{name}`, got {lr!r}")
