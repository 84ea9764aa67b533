"""Functions of an optimizer state: read the learning rate, pass a metric to a plateau."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from jaxsched._base.arguments import integer
from jaxsched._base.hints import describe, is_optimizer
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.plateau import PlateauState, ReduceLROnPlateau, tell

_T = TypeVar("_T")

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


def get_last_lr(opt_state: Any) -> list[float]:
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
        pytree. `optax.partition` sorts its labels. Each is a Python float, the shortest that is
        the stored float32: 0.01 and not 0.009999999776482582. Under `jit`, and for a state made by
        `vmap`, each is the array itself.

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
    wrong = _no_state(opt_state)
    if wrong != "none":
        raise TypeError(f"`opt_state` must be an optimizer state, got {wrong}")
    raise ValueError(
        "`opt_state` holds no learning rate: wrap the optimizer in optax.inject_hyperparams, "
        "as in optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)"
    )


def _to_float(leaf: Any) -> Any:
    # The leaf is a number if the user set one: state.hyperparams["learning_rate"] = 0.05.
    if isinstance(leaf, jax.core.Tracer) or np.ndim(leaf) > 0:
        return leaf
    return float(str(np.asarray(leaf)[()]))  # NumPy prints the shortest one


def set_count(opt_state: _T, count: Any) -> _T:
    """Sets how many updates the schedules of an optimizer state have seen, to go on from there.

    ```text
    opt_state = set_count(opt_state, 1564)    the next update uses schedule(1564)
    ```

    Args:
        opt_state: an optax optimizer state with a schedule in it, anywhere inside `chain`,
            `MultiSteps`, `partition`, `masked`, `apply_if_finite` and the like, or what holds one:
            a `TrainState`, an `nnx.Optimizer`, any pytree.
        count: optimizer updates done so far, an integer >= 0 or an array of them. The state's int32
            has to hold it. A tracer passes unchecked. From torch: `scheduler.last_epoch`, times the
            updates of an epoch if it counts epochs.

    Returns:
        The same with each count that drives a schedule set: that of `optax.scale_by_schedule`,
        `inject_hyperparams`, `add_decayed_weights` of a schedule, `contrib.schedule_free`, and the
        updates that `MultiSteps` has counted. An `nnx.Optimizer` is changed in place and returned.

    Raises:
        TypeError, ValueError: `count` is no integer >= 0, or the state cannot hold it; or nothing
            counts for a schedule; or `inject_hyperparams` of a schedule is around `MultiSteps`,
            where one counts gradients and the other updates.

    After n updates, set_count(opt_state, n) changes nothing. Counts that belong to moments stay:
    Adam's, and those of Prodigy, D-Adaptation, MoMo and MADGRAD, which count once for both. There
    shift the schedule, by `lambda count: schedule(count + 1564)`. So do `TrainState.step` and
    `nnx.Optimizer.step`, and the learning rate that `get_last_lr` gives, until the next update.

    >>> import jax.numpy as jnp, optax, jaxsched as js
    >>> tx = optax.inject_hyperparams(optax.sgd)(learning_rate=js.StepLR(0.5, 3, gamma=0.5))
    >>> params = grads = jnp.ones(2)
    >>> state = js.set_count(tx.init(params), 3)
    >>> updates, state = tx.update(grads, state, params)
    >>> js.get_last_lr(state)
    [0.25]
    """
    count = integer(at_least=0)("count", count)
    if not jnp.issubdtype(getattr(count, "dtype", int), jnp.integer):
        raise TypeError(f"`count` must be an integer >= 0, got {describe(count)}")
    counting = _counting(opt_state)
    if not counting:
        raise ValueError(
            f"`opt_state` must hold a count that drives a schedule, got {_no_state(opt_state)}"
        )
    for node in counting:
        if getattr(node, "hyperparams_states", ()) and _counting(node.hyperparams_states):
            if any(type(x).__name__ == "MultiStepsState" for x in _counting(node.inner_state)):
                raise ValueError(
                    "`opt_state` must count updates in one way, got inject_hyperparams around "
                    "MultiSteps, which count gradients and updates: put MultiSteps outside"
                )
    variable = _variable()
    if _nodes(counting, variable):
        for node in counting:
            name, first = _COUNTS[type(node).__name__]
            for v in _nodes(getattr(node, name), variable):
                v[...] = _filled(v[...], count, first)
        return opt_state
    return _with_count(opt_state, count)


_COUNTS = {
    "ScaleByScheduleState": ("count", 0),
    "InjectHyperparamsState": ("count", 0),
    "InjectStatefulHyperparamsState": ("count", 0),
    "WrappedScheduleState": ("count", 0),
    "WeightDecaySchedule": ("count", 0),
    "ScheduleFreeState": ("step_count", 1),
    "MultiStepsState": ("gradient_step", 0),
}
"""The states of optax whose count drives schedules only: its name there, and its first value."""


def _filled(old: Any, count: Any, first: int) -> Any:
    """A count of the state, after `count` updates."""
    if not isinstance(count, jax.core.Tracer):
        low, high = np.min(count, initial=0), np.max(count, initial=0)
        most = int(np.iinfo(old.dtype).max) - first
        if low < 0 or high > most:
            raise ValueError(
                f"`count` must be an integer from 0 to {most}, because the state counts in "
                f"{old.dtype}, got {low if low < 0 else high}"
            )
    return jnp.full_like(old, count) + np.asarray(first, old.dtype)


def _is_counting(node: Any) -> bool:
    return isinstance(node, tuple) and hasattr(node, _COUNTS.get(type(node).__name__, "_")[0])


def _counting(tree: Any) -> list[Any]:
    nodes = [x for x in jax.tree.leaves(tree, is_leaf=_is_counting) if _is_counting(x)]
    return nodes + [inner for node in nodes for inner in _counting(tuple(node))]


def _with_count(tree: Any, count: Any) -> Any:
    def counted(node: Any) -> Any:
        if not _is_counting(node):
            return node
        node = type(node)(*(_with_count(child, count) for child in node))
        name, first = _COUNTS[type(node).__name__]
        return node._replace(**{name: _filled(getattr(node, name), count, first)})

    return jax.tree.map(counted, tree, is_leaf=_is_counting)


def _variable() -> Any:
    """nnx.Variable, in which an nnx.Optimizer keeps its arrays; without flax.nnx there are none."""
    return getattr(sys.modules.get("flax.nnx"), "Variable", ())


def _no_state(value: Any) -> str:
    """What came where an optimizer state was expected, and what to do."""
    if isinstance(value, (Schedule, ReduceLROnPlateau)):
        return f"the schedule itself: {describe(value)}"
    if is_optimizer(value):
        return f"{describe(value)}: give its state, tx.init(params), as the last update returned it"
    return "none"


def observe(opt_state: _T, metric: Any) -> _T:
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
    if not _nodes(opt_state, PlateauState) and _nodes(metric, PlateauState):
        raise TypeError("`opt_state` comes first, then `metric`: observe(opt_state, val_loss)")
    return map_plateaus(lambda state: tell(state, metric), opt_state)


def plateaus(opt_state: Any) -> list[ReduceLROnPlateau]:
    """Those whose states are in an optimizer state, at least one."""
    found = _nodes(opt_state, PlateauState)
    if not found:
        raise ValueError(
            "`opt_state` holds no ReduceLROnPlateau: put one into optax.inject_hyperparams, as in "
            "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"
        )
    return [state.schedule for state in found]


def map_plateaus(fn: Callable[[PlateauState], PlateauState], opt_state: _T) -> _T:
    """An optimizer state with each plateau's state replaced by fn(state)."""
    plateaus(opt_state)
    found, variable = _nodes(opt_state, PlateauState), _variable()
    if not _nodes(found, variable):
        return _map(fn, opt_state, PlateauState)
    for state in found:
        new = fn(_map(lambda v: v[...], state, variable))
        for v, value in zip(_nodes(state, variable), jax.tree.leaves(new), strict=True):
            v[...] = value
    return opt_state
