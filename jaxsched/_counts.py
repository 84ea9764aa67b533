"""Where the states of optax count, and which of these counts drive schedules."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

COUNTS = {
    "ScaleByScheduleState": ("count", 0),
    "InjectHyperparamsState": ("count", 0),
    "InjectStatefulHyperparamsState": ("count", 0),
    "WrappedScheduleState": ("count", 0),
    "WeightDecaySchedule": ("count", 0),
    "ScheduleFreeState": ("step_count", 1),
    "MultiStepsState": ("gradient_step", 0),
}
"""The states of optax whose count drives schedules only: its name there, and its first value."""
_OF_LEARNING_RATES = {
    *("ScaleByScheduleState", "InjectHyperparamsState", "WrappedScheduleState"),
    *("ProdigyState", "DAdaptAdamWState", "MomoState", "MomoAdamState", "MadgradState"),
}
"""The states whose `count` drives a learning rate, those that count for moments, too."""


def nodes(tree: Any, kinds: Any) -> list[Any]:
    """Every node of these kinds in `tree`, without nodes inside such a node."""
    return _where(lambda x: isinstance(x, kinds), tree)


def _where(is_one: Callable[[Any], bool], tree: Any) -> list[Any]:
    return [node for node in jax.tree.leaves(tree, is_leaf=is_one) if is_one(node)]


def variable() -> Any:
    """nnx.Variable, in which an nnx.Optimizer keeps its arrays; without flax.nnx there are none."""
    return getattr(sys.modules.get("flax.nnx"), "Variable", ())


def counting(tree: Any) -> list[Any]:
    """Every state whose count drives schedules, those inside others, too."""
    found = _where(_is_counting, tree)
    return found + [inner for node in found for inner in counting(tuple(node))]


def _is_counting(node: Any) -> bool:
    return isinstance(node, tuple) and hasattr(node, COUNTS.get(type(node).__name__, "_")[0])


def with_count(tree: Any, count: Any) -> Any:
    """The same with each of these counts set."""

    def counted(node: Any) -> Any:
        if not _is_counting(node):
            return node
        node = type(node)(*(with_count(child, count) for child in node))
        name, first = COUNTS[type(node).__name__]
        return node._replace(**{name: filled(getattr(node, name), count, first)})

    return jax.tree.map(counted, tree, is_leaf=_is_counting)


def filled(old: Any, count: Any, first: int) -> Any:
    """A count of the state, after `count` updates."""
    if not isinstance(count, jax.core.Tracer):
        low, high = np.min(count, initial=0), np.max(count, initial=0)
        most = int(np.iinfo(old.dtype).max) - first
        if low < 0 or high > most:
            raise ValueError(
                f"`count` must be an integer from 0 to {most}, because the state counts in "
                f"{old.dtype}, got {low if low < 0 else high}"
            )
    if (shape := np.shape(count)) not in ((), old.shape[len(old.shape) - len(shape) :]):
        raise ValueError(
            f"`count` must be one integer, or as many as the state has counts, which has the shape "
            f"{old.shape}, got an array of shape {shape}"
        )
    return jnp.full_like(old, count) + np.asarray(first, old.dtype)


def counts_of_moments(tree: Any) -> list[str]:
    """The classes of the states that count once for their moments and for a learning rate."""
    names = _OF_LEARNING_RATES - COUNTS.keys()
    return [type(node).__name__ for node in _where(lambda x: type(x).__name__ in names, tree)]


def learning_rate_counts(tree: Any) -> list[Any]:
    """The counts that drive learning rates, one for each injected optimizer."""

    def is_one(node: Any) -> bool:
        is_injected = isinstance(node, optax.InjectStatefulHyperparamsState)
        return is_injected or type(node).__name__ in _OF_LEARNING_RATES

    found = []
    for node in _where(is_one, tree):
        if isinstance(node, optax.InjectStatefulHyperparamsState):
            states = node.hyperparams_states
            driven = [states["learning_rate"]] if "learning_rate" in states else states
            found += learning_rate_counts(driven)[:1] + learning_rate_counts(node.inner_state)
        else:
            found += jax.tree.leaves(node.count)  # of an nnx.Variable its array
            found += learning_rate_counts(getattr(node, "inner_state", ()))
    return found


def injected(tree: Any) -> list[Any]:
    """Every state of `optax.inject_hyperparams` in `tree`, outer ones before inner ones."""
    found = []
    kinds = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
    for state in nodes(tree, kinds):
        found += [state, *injected(state.inner_state)]
    return found


def check_injected(states: list[Any]) -> None:
    """Refuses an injected function of the parameters, which was called with a count instead."""
    for state in states:
        for name, value in state.hyperparams.items():
            if value is None or (not isinstance(value, (dict, list, tuple)) and _is_bool(value)):
                raise ValueError(
                    f"`opt_state` holds {value!r} as `{name}`: optax.inject_hyperparams took the "
                    "function for a schedule, and called it with a count and not with the "
                    "parameters. Name it in `static_args`, as in "
                    f'optax.inject_hyperparams(optax.adamw, static_args=("{name}",))'
                )


def _is_bool(value: Any) -> bool:
    leaf = (jax.tree.leaves(value) or [0.0])[0]  # of an nnx.Variable its array
    return jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.bool_)
