"""What people bring along from torch and optax, and what to write here instead."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

_INJECTED = "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"

KEYWORDS = {
    "optimizer": "there is no optimizer here: the learning rate comes first, and the schedule goes "
    "into the optimizer, as in optax.sgd(schedule)",
    "lr": "the learning rate is the first argument, `base_lr` (`max_lr` of OneCycleLR)",
    "learning_rate": "the learning rate is the first argument, `base_lr` (`max_lr` of OneCycleLR)",
    "last_epoch": "a schedule has no position: the count is in the optimizer state, and "
    "jaxsched.set_count(opt_state, count) sets it",
    "verbose": "a schedule prints nothing: log jaxsched.get_last_lr(opt_state, schedule)",
    "cycle_momentum": "the momentum moves only where you put it: "
    "optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=schedule.momentum)",
}
ATTRIBUTES = {
    "step": "there is no step(): the optimizer counts its updates. For once an epoch use "
    "jaxsched.per_epoch(schedule, steps_per_epoch)",
    "get_last_lr": "a schedule has no state: use jaxsched.get_last_lr(opt_state, schedule)",
    "get_lr": "call it with a count: schedule(count)",
    "state_dict": "there is nothing to save: the count is in the optimizer state",
    "load_state_dict": "there is nothing to load: the count is in the optimizer state, and "
    "jaxsched.set_count(opt_state, count) sets it",
    "last_epoch": "a schedule has no position: the count is in the optimizer state",
    "base_lrs": "a schedule has one `base_lr`: give each group its own, in optax.partition",
    "optimizer": "a schedule knows no optimizer: it goes into one, as in optax.sgd(schedule)",
    "init": "a schedule is no optimizer: it goes into one, as in optax.sgd(schedule)",
    "update": "a schedule is no optimizer: it goes into one, as in optax.sgd(schedule)",
}
NO_NUMBER = (
    "a schedule is no number: call it with a count, schedule(count). An optimizer takes a schedule "
    "and not its class, as optax.sgd(jaxsched.ConstantLR(0.1))"
)
PLATEAU_ATTRIBUTES = ATTRIBUTES | {
    "step": "tell it a metric by opt_state = jaxsched.observe(opt_state, metric)",
    "state_dict": "there is nothing to save: what it remembers is in the optimizer state",
    "load_state_dict": "there is nothing to load: what it remembers is in the optimizer state",
    "best": "what it remembers is in the optimizer state: "
    'optax.tree_utils.tree_get(opt_state, "best")',
}


def describe(value: Any) -> str:
    """What came, for a message: its repr if that says something, never a page of it."""
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return f"the function {value.__name__}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if is_optimizer(value):
        return f"an optimizer of class {type(value).__name__}"
    plain = (bool, int, float, complex, str, bytes, list, tuple, dict, set, type(None), np.generic)
    if isinstance(value, plain) or type(value).__module__.startswith(("jax", "numpy")):
        return textwrap.shorten(repr(value), 200, placeholder=" ...")
    if type(value).__module__.startswith("jaxsched"):
        return textwrap.shorten(repr(value), 200, placeholder=" ...")
    return f"an object of class {type(value).__name__}"


def is_optimizer(value: Any) -> bool:
    """Of torch, or a transformation of optax."""
    is_transformation = isinstance(value, tuple) and hasattr(value, "init")
    return is_transformation or hasattr(value, "param_groups")


def hint_for_number(name: str, value: Any) -> str:
    """What to add where `value` is no number."""
    if name in ("base_lr", "max_lr") and not isinstance(value, (str, bytes, bool, type(None))):
        if not isinstance(value, (list, tuple)) or is_optimizer(value):
            return f"; {KEYWORDS['optimizer']}"
        return "; each parameter group has a schedule of its own, in optax.partition"
    return ""


def hint_for_list(value: Any, scales: bool = False) -> str:
    """What to add where `value` is no list; `scales` where optax's boundaries have theirs."""
    if not isinstance(value, Mapping):
        return ""
    if not scales:
        return "; the values of a mapping would be lost"
    return (
        "; one gamma serves all milestones. For a scale at each, put one MultiStepLR for each into "
        "ChainedScheduler"
    )


def hint_for_function(value: Any) -> str:
    """What to add where `value` is no callable `count -> value`."""
    if isinstance(value, type):
        return f"; give one with its arguments, as {value.__name__}(0.1, ...)"
    if is_optimizer(value):
        return "; a schedule goes into an optimizer, not around it"
    if hasattr(value, "init") and hasattr(value, "update"):
        return (
            f"; what has a state, as ReduceLROnPlateau, is injected by itself, as in {_INJECTED}, "
            "beside another schedule as a factor"
        )
    return ""


def hint_for_trace(name: str, fn: Any) -> str:
    """What to say where JAX cannot trace a user's function."""
    return (
        f"{name} must be a function that JAX can trace, got {describe(fn)}: for `if` use "
        f"jnp.where, for `min` and `max` jnp.minimum and jnp.maximum{hint_for_horizon(name)}"
    )


def hint_for_horizon(name: str) -> str:
    """The way out where JAX cannot compute a function as Python does."""
    if name == "`lr_lambda`":
        return ". Or give `horizon`: then it is tabulated on the host"
    if name == "`scale_fn`":
        return ""
    return ". Or tabulate it on the host: LambdaLR(1.0, function, horizon=n)"


def hint_for_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What to say where a class is called with arguments that it does not have."""
    for keyword, hint in KEYWORDS.items():
        if keyword in kwargs:
            return f"{name} has no `{keyword}`: {hint}"
    for value in filter(is_optimizer, args):
        return f"{name} must not be given {describe(value)}: {KEYWORDS['optimizer']}"
    if args and name in ("ChainedScheduler", "SequentialLR") and callable(args[0]):
        return f"{name} takes its members as one list, as torch does: {name}([a, b], ...)"
    if args and name == "OneCycleLR" and "max_lr" in kwargs:
        return (
            "OneCycleLR has no `base_lr`: `max_lr` is its first argument, and it starts from "
            "max_lr / div_factor"
        )
    if len(args) == 1 and not kwargs and getattr(args[0], "dtype", None) is not None:
        return (
            f"{name} is a class and was called with a count: an optimizer takes one with its "
            f"arguments, as optax.sgd(jaxsched.{name}(0.1, ...))"
        )
    return None


def hint_for_name(name: str, names: list[str]) -> str:
    """What to say where the package has no such name."""
    import difflib  # which takes a millisecond

    by_letters = {known.lower().replace("_", ""): known for known in names}
    near = difflib.get_close_matches(name.lower().replace("_", ""), by_letters, n=1)
    hint = f". Did you mean {by_letters[near[0]]}?" if near else ""
    return f"module 'jaxsched' has no attribute {name!r}{hint}"
