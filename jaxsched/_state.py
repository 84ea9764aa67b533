"""What an optimizer state knows about the learning rate, and what it is told."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import numpy as np
import optax

from jaxsched._plateau import PlateauState, tell

_INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)


def _nodes(tree: Any, kinds: Any) -> list[Any]:
    """Every node of these kinds in `tree`, but for those inside of one."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, kinds))
    return [node for node in nodes if isinstance(node, kinds)]


def _map(fn: Callable[[Any], Any], tree: Any, kinds: Any) -> Any:
    """`tree` with fn(node) in the place of each of those."""
    return jax.tree.map(
        lambda x: fn(x) if isinstance(x, kinds) else x, tree, is_leaf=lambda x: isinstance(x, kinds)
    )


def _injected(tree: Any) -> list[Any]:
    """Every state of `optax.inject_hyperparams` in `tree`, outer ones before inner ones."""
    found = []
    for state in _nodes(tree, _INJECTED):
        found += [state, *_injected(state.inner_state)]
    return found


def get_last_lr(opt_state: Any) -> list[Any]:
    """Gives the learning rates that an optimizer state last applied, for logging.

        before the first update    the learning rate of the first update
        after update n             the learning rate that update n used

    Args:
        opt_state: an optax optimizer state with `optax.inject_hyperparams` in it, anywhere inside
            `chain`, `MultiSteps`, `partition`, `masked`, `apply_if_finite` and the like, or what
            holds one: a `TrainState`, an `nnx.Optimizer`, any pytree.

    Returns:
        Each `hyperparams["learning_rate"]`, one for each injected optimizer, in the order of the
        pytree (`optax.partition`: labels sorted). Python floats of the stored float32; under
        `jit` and for vmapped states the arrays themselves.

    Raises:
        ValueError: no hyperparameters were injected, or none is called "learning_rate".

    In torch it is the rate in use, that is the next update's: after `scheduler.step()`,
    `get_last_lr()` there is one ahead of this one.

    Source: `torch.optim.lr_scheduler.LRScheduler.get_last_lr`, torch 2.13.

    >>> import jax.numpy as jnp, optax, jaxsched as js
    >>> tx = optax.inject_hyperparams(optax.sgd)(learning_rate=js.StepLR(0.5, 1))
    >>> params = jnp.ones(3)
    >>> state = tx.init(params)
    >>> js.get_last_lr(state)
    [0.5]
    """
    hyperparams = [state.hyperparams for state in _injected(opt_state)]
    found = [h["learning_rate"] for h in hyperparams if "learning_rate" in h]
    if found:
        # A hyperparameter of an nnx.Optimizer is an nnx.Variable, a pytree with one leaf.
        return [_to_float(leaf) for leaf in jax.tree.leaves(found)]
    if hyperparams:
        names = ", ".join(sorted({name for h in hyperparams for name in h})) or "none"
        raise ValueError(
            f'no injected hyperparameter of `opt_state` is called "learning_rate"; found: {names}'
        )
    raise ValueError(
        "`opt_state` holds no learning rate: wrap the optimizer in optax.inject_hyperparams, "
        "as in optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)"
    )


def _to_float(leaf: Any) -> Any:
    # A number if the user wrote one: state.hyperparams["learning_rate"] = 0.05.
    return leaf if isinstance(leaf, jax.core.Tracer) or np.ndim(leaf) > 0 else float(leaf)


def observe(opt_state: Any, metric: Any) -> Any:
    """Tells every ReduceLROnPlateau in an optimizer state a metric, once an epoch.

        opt_state = observe(opt_state, val_loss)    jaxsched
        scheduler.step(val_loss)                    torch

    Args:
        opt_state: an optax optimizer state with a ReduceLROnPlateau in `optax.inject_hyperparams`,
            anywhere inside `chain`, `MultiSteps`, `partition`, `masked`, `apply_if_finite` and the
            like, or what holds one: a `TrainState`, an `nnx.Optimizer`, any pytree.
        metric: one real number: a Python, NumPy or JAX scalar of any float or integer dtype.

    Returns:
        The same with every plateau told, for the next update to use; inside `jit` and outside. An
        `nnx.Optimizer` is changed in place, under `nnx.jit` too, and returned.

    Raises:
        ValueError: there is no ReduceLROnPlateau, or `metric` is no scalar.
        TypeError: `metric` is no real number.

    `get_last_lr` gives what the last update used, so that it shows a cut after the next update;
    torch's shows it at once.

    >>> import jax.numpy as jnp, optax, jaxsched as js
    >>> plateau = js.ReduceLROnPlateau(0.5, factor=0.5, patience=0)
    >>> tx = optax.inject_hyperparams(optax.sgd)(learning_rate=plateau)
    >>> params = grads = jnp.ones(2)
    >>> state = tx.init(params)
    >>> for val_loss in (1.0, 2.0, 3.0):
    ...     updates, state = tx.update(grads, state, params)
    ...     state = js.observe(state, val_loss)
    ...     print(js.get_last_lr(state))
    [0.5]
    [0.5]
    [0.25]
    """
    found = _nodes(opt_state, PlateauState)
    if not found:
        raise ValueError(
            "`opt_state` holds no ReduceLROnPlateau: put one into optax.inject_hyperparams, as in "
            "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"
        )
    # An nnx.Optimizer keeps its arrays in nnx.Variables; without flax.nnx there are none.
    variable = getattr(sys.modules.get("flax.nnx"), "Variable", ())
    if not _nodes(found, variable):
        return _map(lambda state: tell(state, metric), opt_state, PlateauState)
    for state in found:
        told = tell(_map(lambda v: v[...], state, variable), metric)
        for v, value in zip(_nodes(state, variable), jax.tree.leaves(told), strict=True):
            v[...] = value
    return opt_state
