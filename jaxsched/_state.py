"""Functions of an optimizer state: read the learning rate, pass a metric to a plateau."""

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
    """Every node of these kinds in `tree`, without nodes inside such a node."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, kinds))
    return [node for node in nodes if isinstance(node, kinds)]


def _map(fn: Callable[[Any], Any], tree: Any, kinds: Any) -> Any:
    """`tree` with each node of these kinds replaced by fn(node)."""
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
    """Returns the learning rates that the last update used, for logging.

    ```text
    before the first update    the learning rate of the first update
    after update n             the learning rate that update n used
    ```

    Args:
        opt_state: an optax optimizer state that contains `optax.inject_hyperparams`, also inside
            `chain`, `MultiSteps`, `partition`, `masked`, `apply_if_finite` and the like. Or an
            object that holds such a state: a `TrainState`, an `nnx.Optimizer`, any pytree.

    Returns:
        Every `hyperparams["learning_rate"]`, one for each injected optimizer, in the order of the
        pytree. `optax.partition` sorts its labels. Each is the stored float32 as a Python float.
        Under `jit`, and for a state made by `vmap`, each is the array itself.

    Raises:
        ValueError: no hyperparameters are injected, or none is called "learning_rate".

    torch's `get_last_lr()` returns the learning rate that the next update will use. After
    `scheduler.step()` it is therefore one update ahead of this function.

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
        # In an nnx.Optimizer a hyperparameter is an nnx.Variable, a pytree with one leaf.
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
    # The leaf is a number if the user set one: state.hyperparams["learning_rate"] = 0.05.
    return leaf if isinstance(leaf, jax.core.Tracer) or np.ndim(leaf) > 0 else float(leaf)


def observe(opt_state: Any, metric: Any) -> Any:
    """Passes a metric to every ReduceLROnPlateau in an optimizer state.

    Call it once for each epoch:

    ```text
    jaxsched    opt_state = observe(opt_state, val_loss)
    torch       scheduler.step(val_loss)
    ```

    Args:
        opt_state: an optax optimizer state with a ReduceLROnPlateau in `optax.inject_hyperparams`,
            also inside `chain`, `MultiSteps`, `partition`, `masked`, `apply_if_finite` and the
            like. Or an object that holds such a state: a `TrainState`, an `nnx.Optimizer`, any
            pytree.
        metric: one real number: a Python, NumPy or JAX scalar of any float or integer dtype.

    Returns:
        `opt_state` in which every plateau has the metric. The next update uses the new learning
        rate. It works inside `jit` and outside. An `nnx.Optimizer` is changed in place, also under
        `nnx.jit`, and returned.

    Raises:
        ValueError: `opt_state` contains no ReduceLROnPlateau, or `metric` is not a scalar.
        TypeError: `metric` is not a real number.

    `get_last_lr` returns the learning rate that the last update used. So it shows a cut only after
    the next update. torch's `get_last_lr()` shows the cut at once.

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
    # An nnx.Optimizer keeps its arrays in nnx.Variables. Without flax.nnx there are none.
    variable = getattr(sys.modules.get("flax.nnx"), "Variable", ())
    if not _nodes(found, variable):
        return _map(lambda state: tell(state, metric), opt_state, PlateauState)
    for state in found:
        told = tell(_map(lambda v: v[...], state, variable), metric)
        for v, value in zip(_nodes(state, variable), jax.tree.leaves(told), strict=True):
            v[...] = value
    return opt_state
