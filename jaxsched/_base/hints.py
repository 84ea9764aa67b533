"""What people bring along from torch and optax, and what to write here instead."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

_INJECTED = "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"

KEYWORDS = {
    "optimizer": "there is no optimizer here: the learning rate comes first, `base_lr` (`max_lr` "
    "of OneCycleLR), and the schedule goes into the optimizer, as in optax.sgd(schedule)",
    "lr": "the learning rate is the first argument, `base_lr` (`max_lr` of OneCycleLR)",
    "learning_rate": "the learning rate is the first argument, `base_lr` (`max_lr` of OneCycleLR)",
    "last_epoch": "a schedule has no position: the count is in the optimizer state, and "
    "jaxsched.set_count(opt_state, count) sets it",
    "verbose": "a schedule prints nothing: log what jaxsched.get_last_lr gives",
    "cycle_momentum": "the momentum moves only where you put it: "
    "optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=schedule.momentum)",
}
_FUNCTIONS = ("check", "clamp", "compare", "per_epoch", "plot", "smooth_epochs")
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
    **dict.fromkeys(
        ("lr", "lrs", "learning_rate"),
        "call it with a count: schedule(count). The one that an optimizer used is "
        "jaxsched.get_last_lr(opt_state, schedule)",
    ),
    **dict.fromkeys(
        ("replace", "_replace"), "write dataclasses.replace(schedule, name=value), a new schedule"
    ),
    **{name: f"it is a function: jaxsched.{name}(schedule, ...)" for name in _FUNCTIONS},
}
NO_LIST = "a schedule is called, not indexed: schedule(10); many: schedule(numpy.arange(100))"
_IN_STATE = "what it remembers is in the optimizer state"
PLATEAU_ATTRIBUTES = {name: hint for name, hint in ATTRIBUTES.items() if name not in _FUNCTIONS} | {
    "step": "tell it a metric by opt_state = jaxsched.observe(opt_state, metric)",
    "state_dict": f"there is nothing to save: {_IN_STATE}",
    "load_state_dict": f"there is nothing to load: {_IN_STATE}",
    "best": f'{_IN_STATE}: optax.tree_utils.tree_get(opt_state, "best")',
    **dict.fromkeys(
        ("get_last_lr", "get_lr", "lr", "lrs", "learning_rate"),
        "it is in the optimizer state: jaxsched.get_last_lr(opt_state)",
    ),
}


def describe(value: Any) -> str:
    """What came, for a message: its repr if that says something, never a page of it."""
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return f"the function {value.__name__}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if is_optimizer(value):
        return f"an optimizer of class {type(value).__name__}"
    if is_reference(value):
        return "a reference of ml_collections: give its value, config.name or reference.get()"
    plain = (bool, int, float, complex, str, bytes, list, tuple, dict, set, type(None), np.generic)
    if isinstance(value, plain) or type(value).__module__.startswith(("jax", "numpy")):
        return textwrap.shorten(repr(value), 200, placeholder=" ...")
    if type(value).__module__.startswith("jaxsched"):
        return textwrap.shorten(repr(value), 200, placeholder=" ...")
    return f"an object of class {type(value).__name__}"


def is_reference(value: Any) -> bool:
    """Of ml_collections, to a value of a config."""
    return type(value).__name__ == "FieldReference"


def is_optimizer(value: Any) -> bool:
    """Of torch, or a transformation of optax."""
    is_transformation = isinstance(value, tuple) and hasattr(value, "init")
    return is_transformation or hasattr(value, "param_groups")


def hint_for_count(value: Any) -> str:
    """What to add where `value` is no count."""
    if is_tensor(value):
        return "; give int(count), or count.numpy()"
    if isinstance(value, (list, tuple, range)):
        return "; make it an array, numpy.array(counts)"
    is_number = isinstance(value, (float, np.floating))
    is_real = is_number or jnp.issubdtype(getattr(value, "dtype", bool), jnp.floating)
    return ", which `smooth_epochs` gives a schedule of epochs" if is_real else ""


def is_tensor(value: Any) -> bool:
    """Of torch or tensorflow, whose dtype is none of NumPy's."""
    return hasattr(value, "numpy") and not isinstance(getattr(value, "dtype", None), np.dtype)


def hint_for_operator(first: Any) -> str:
    """What to say where a schedule is added or multiplied; `first` is its first argument."""
    # Optax calls a class in the place of a schedule with the count, which is then its argument.
    if getattr(getattr(first, "dtype", None), "kind", None) in ("i", "u"):
        return (
            "an optimizer takes a schedule and not its class, as in "
            "optax.sgd(jaxsched.ConstantLR(0.1))"
        )
    return (
        "a schedule is no number: give another `base_lr`, or compute with what a call gives, as in "
        "lambda count: 0.5 * schedule(count). An optimizer that takes only numbers is given one as "
        "in optax.inject_hyperparams(optax.sm3)(learning_rate=schedule)"
    )


def hint_for_number(name: str, value: Any) -> str:
    """What to add where `value` is no number."""
    if is_tensor(value):
        return "; give a Python number, float(value)"
    if is_reference(value):
        return ""
    if name in ("base_lr", "max_lr") and not isinstance(value, (str, bytes, bool, type(None))):
        if not isinstance(value, (list, tuple)) or is_optimizer(value):
            return f"; {KEYWORDS['optimizer']}"
        return "; each parameter group has a schedule of its own, in optax.partition"
    return ""


def hint_for_list(value: Any, scales: bool = False, members: bool = False) -> str:
    """What to add where `value` is no list; `scales` where optax's boundaries have theirs."""
    if isinstance(value, (int, float)) and not scales and members:
        return "; it takes no learning rate, each schedule in it has its own"
    if isinstance(value, (set, frozenset)):
        return "; a set has no order: give a list"
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
    if isinstance(value, Mapping):
        return "; where Hydra made a mapping of a schedule, `_convert_: object` leaves it as it is"
    if hasattr(value, "init") and hasattr(value, "update"):
        return (
            f"; what has a state, as ReduceLROnPlateau, is injected by itself, as in {_INJECTED}, "
            "beside another schedule as a factor"
        )
    return ""


def hint_for_trace(name: str, fn: Any, error: Exception) -> str:
    """What to say where JAX cannot trace a user's function."""
    hint = "for math.cos and the like use jnp.cos, for float(count) write count / 1"
    for kind, other in _OF_TRACES.items():
        if any(base.__name__ == kind for base in type(error).__mro__):
            hint = other
    what = f"{name} must be a function that JAX can trace, got {describe(fn)}"
    return f"{what}: {hint}{hint_for_horizon(name)}"


_OF_TRACES = {
    "TracerBoolConversionError": "for `if` use jnp.where, for `min` and `max` jnp.minimum and "
    "jnp.maximum",
    "TracerArrayConversionError": "for np.cos and the like use jnp.cos",
    "TracerIntegerConversionError": "for `values[count]` use jnp.array(values)[count]",
}


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
    for keyword in kwargs:
        if "warmup" in keyword:
            return f"{name} has no `{keyword}`. {_BY_WORDS['warmup']}"
    for value in filter(is_optimizer, args):
        return f"{name} must not be given {describe(value)}: {KEYWORDS['optimizer']}"
    if args and name in ("ChainedScheduler", "SequentialLR") and isinstance(args[0], (int, float)):
        return f"{name} takes no learning rate: each member has its own"
    if args and name in ("ChainedScheduler", "SequentialLR") and callable(args[0]):
        return f"{name} takes its members as one list, as torch does: {name}([a, b], ...)"
    if args and name == "OneCycleLR" and "max_lr" in kwargs:
        return (
            "OneCycleLR has no `base_lr`: `max_lr` is its first argument, and it starts from "
            "max_lr / div_factor"
        )
    if len(args) == 1 and name == "CyclicLR" and "base_lr" in kwargs:
        return (
            "CyclicLR has no learning rate beside `base_lr` and `max_lr`: leave the first one out"
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
    letters = name.lower().replace("_", "")
    for cutoff, words in ((0.8, _BY_WORDS), (0.6, {})):
        near = difflib.get_close_matches(letters, by_letters, n=1, cutoff=cutoff)
        hints = [f"Did you mean {by_letters[n]}?" for n in near]
        hints += [hint for word, hint in words.items() if word in letters]
        if hints:
            return f"module 'jaxsched' has no attribute {name!r}. {hints[0]}"
    return f"module 'jaxsched' has no attribute {name!r}"


_BY_WORDS = {
    "warmup": "A warmup is a member: SequentialLR([LinearLR(...), CosineAnnealingLR(...)], [n])",
    "noam": "Write the function: LambdaLR(1.0, noam, horizon=n)",
    "sqrt": "Write the function: LambdaLR(0.1, function, horizon=n)",
    "join": "SequentialLR joins schedules",
    "piecewise": "MultiStepLR has milestones",
    "restart": "Did you mean CosineAnnealingWarmRestarts?",
    "cosine": "Did you mean CosineAnnealingLR?",
    "exponential": "Did you mean ExponentialLR?",
    "poly": "Did you mean PolynomialLR?",
    "linear": "Did you mean LinearLR?",
    "constant": "Did you mean ConstantLR?",
    "plateau": "Did you mean ReduceLROnPlateau?",
    "cycl": "Did you mean CyclicLR or OneCycleLR?",
}
"""Words in the names of other libraries, those that say more first."""
