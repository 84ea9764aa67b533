"""What an optimizer state knows about the learning rate."""

from typing import Any

import jax
import jax.core
import optax

_INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)


def _injected(tree: Any) -> list[Any]:
    """Every state of `optax.inject_hyperparams` in `tree`, outer ones before inner ones."""
    found = []
    for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, _INJECTED)):
        if isinstance(node, _INJECTED):
            found += [node, *_injected(node.inner_state)]
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
        return [_number(leaf) for leaf in jax.tree.leaves(found)]
    if hyperparams:
        names = ", ".join(sorted({name for h in hyperparams for name in h})) or "none"
        raise ValueError(
            f'no injected hyperparameter of `opt_state` is called "learning_rate"; found: {names}'
        )
    raise ValueError(
        "`opt_state` holds no learning rate: wrap the optimizer in optax.inject_hyperparams, "
        "as in optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)"
    )


def _number(leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer) or leaf.ndim > 0:
        return leaf
    return float(leaf)
