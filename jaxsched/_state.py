"""Functions of an optimizer state: read the learning rate, pass a metric to a plateau."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from jaxsched._base.arguments import Array, Function, function, integer
from jaxsched._base.hints import describe, is_optimizer
from jaxsched._base.schedule import Schedule
from jaxsched._counts import (
    COUNTS,
    check_injected,
    counting,
    counts_of_moments,
    filled,
    injected,
    learning_rate_counts,
    nodes,
    variable,
    with_count,
)
from jaxsched._schedules.plateau import PlateauState, ReduceLROnPlateau, tell

State = TypeVar("State")
"""An optimizer state, or what holds one. What comes in comes out."""


def _map(fn: Callable[[Any], Any], tree: Any, kinds: Any) -> Any:
    """`tree` with each node of these kinds replaced by fn(node)."""
    return jax.tree.map(
        lambda x: fn(x) if isinstance(x, kinds) else x, tree, is_leaf=lambda x: isinstance(x, kinds)
    )


def get_last_lr(opt_state: Any, schedule: Function | None = None) -> list[float]:
    """Returns the learning rates that the last update used, for logging.

    ```text
    before the first update    the learning rate of the first update
    after update n             the learning rate that update n used
    ```

    Args:
        opt_state: an optax optimizer state, also inside `chain`, `MultiSteps`, `partition`,
            `masked`, `apply_if_finite` and the like. Or an object that holds such a state: a
            `TrainState`, an `nnx.Optimizer`, any pytree.
        schedule: the schedule that the optimizer was given, or any other callable `count -> value`.
            Nothing needs to be injected then. If it is left out, `opt_state` has to contain
            `optax.inject_hyperparams`.

    Returns:
        With `schedule`: its value at each count that drives a learning rate, less one; one for each
        optimizer that counts, in the order of the pytree. `schedule.momentum` gives the momentum.
        It is the schedule's own number: bfloat16 and float16 parameters round it afterwards.

        Without: every `hyperparams["learning_rate"]`, one for each injected optimizer, in the order
        of the pytree. `optax.partition` sorts its labels. Each is a Python float, the shortest that
        is the stored float32: 0.01 and not 0.009999999776482582.

        Under `jit`, and for a state made by `vmap`, each is an array.

    Raises:
        TypeError, ValueError: `opt_state` is no optimizer state, or has no such count. Without
            `schedule`: no hyperparameters are injected, or none is called "learning_rate".
        ValueError: `inject_hyperparams` took a function of the parameters for a schedule, such as
            adamw's `mask`. Name it in its `static_args`.

    torch's `get_last_lr()` returns the learning rate that the next update will use. After
    `scheduler.step()` it is therefore one update ahead of this function.

    Source: `torch.optim.lr_scheduler.LRScheduler.get_last_lr`, torch 2.13.

    >>> import jax.numpy as jnp, optax, jaxsched as js
    >>> schedule = js.StepLR(0.5, 1)
    >>> tx = optax.adam(schedule)
    >>> params = jnp.ones(3)
    >>> state = tx.init(params)
    >>> js.get_last_lr(state, schedule)
    [0.5]
    >>> tx = optax.inject_hyperparams(optax.adam)(learning_rate=schedule)
    >>> js.get_last_lr(tx.init(params))
    [0.5]
    """
    states = injected(opt_state)
    check_injected(states)
    if schedule is not None:
        return _by_count(opt_state, function("schedule", schedule))
    hyperparams = [state.hyperparams for state in states]
    found = [h["learning_rate"] for h in hyperparams if "learning_rate" in h]
    if found:
        # In an nnx.Optimizer a hyperparameter is an nnx.Variable, a pytree with one leaf.
        return [_to_float(leaf) for leaf in jax.tree.leaves(found)]
    if hyperparams:
        names = ", ".join(sorted({name for h in hyperparams for name in h})) or "none"
        raise ValueError(
            f'no injected hyperparameter of `opt_state` is called "learning_rate"; found: {names}'
        )
    _check_is_state(opt_state)
    raise ValueError(
        "`opt_state` holds no learning rate: give the schedule, too, as in "
        "get_last_lr(opt_state, schedule), or wrap the optimizer in optax.inject_hyperparams"
    )


def _by_count(opt_state: Any, schedule: Callable[[Any], Any]) -> list[Any]:
    counts = learning_rate_counts(opt_state)
    if not counts:
        _check_is_state(opt_state)
        raise ValueError(
            "`opt_state` must hold a count that drives a learning rate, got none: give the state "
            "of an optimizer that was given the schedule, as optax.sgd(schedule)"
        )
    found = []
    for count in counts:
        if isinstance(count, jax.core.Tracer) or np.ndim(count) > 0:
            found.append(schedule(jnp.maximum(count, 1) - 1))
        else:
            lr = schedule(max(int(count) - 1, 0))
            found.append(lr if isinstance(lr, float) else _to_float(lr))
    return found


def _to_float(leaf: Any) -> Any:
    # The leaf is a number if the user set one: state.hyperparams["learning_rate"] = 0.05.
    if isinstance(leaf, jax.core.Tracer) or np.ndim(leaf) > 0:
        return leaf
    return float(str(np.asarray(leaf)[()]))  # NumPy prints the shortest one


def set_count(opt_state: State, count: int | Array) -> State:
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
            where one counts gradients and the other updates; or it took a function of the
            parameters, such as adamw's `mask`, for a schedule.

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
    check_injected(injected(opt_state))
    nodes_that_count = counting(opt_state)
    if not nodes_that_count:
        if of_moments := counts_of_moments(opt_state):
            raise ValueError(
                f"`opt_state` must hold a count that drives a schedule only, got {of_moments[0]}, "
                "whose count belongs to its moments, too: shift the schedule by the n updates, as "
                "in lambda count: schedule(count + n)"
            )
        _check_is_state(opt_state)
        raise ValueError("`opt_state` must hold a count that drives a schedule, got none")
    for node in nodes_that_count:
        if getattr(node, "hyperparams_states", ()) and counting(node.hyperparams_states):
            if any(type(x).__name__ == "MultiStepsState" for x in counting(node.inner_state)):
                raise ValueError(
                    "`opt_state` must count updates in one way, got inject_hyperparams around "
                    "MultiSteps, which count gradients and updates: put MultiSteps outside"
                )
    kind = variable()
    if nodes(nodes_that_count, kind):
        for node in nodes_that_count:
            name, first = COUNTS[type(node).__name__]
            for v in nodes(getattr(node, name), kind):
                v[...] = filled(v[...], count, first)
        return opt_state
    return with_count(opt_state, count)


def _check_is_state(value: Any) -> None:
    """Refuses what people give where an optimizer state is expected, and says what to do."""
    expected = "`opt_state` must be an optimizer state, got"
    if isinstance(value, (Schedule, ReduceLROnPlateau)):
        raise TypeError(f"{expected} the schedule itself: {describe(value)}")
    if is_optimizer(value) or isinstance(value, optax.MultiSteps):
        hint = "give its state, tx.init(params), as the last update returned it"
        raise TypeError(f"{expected} {describe(value)}: {hint}")


def observe(opt_state: State, metric: float | Array) -> State:
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
        TypeError: `metric` is not a real number, or `opt_state` is an optimizer or a schedule.

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
    if not nodes(opt_state, PlateauState) and nodes(metric, PlateauState):
        raise TypeError("`opt_state` comes first, then `metric`: observe(opt_state, val_loss)")
    return map_plateaus(lambda state: tell(state, metric), opt_state)


def plateaus(opt_state: Any) -> list[ReduceLROnPlateau]:
    """Those whose states are in an optimizer state, at least one."""
    found = nodes(opt_state, PlateauState)
    if not found:
        _check_is_state(opt_state)
        raise ValueError(
            "`opt_state` holds no ReduceLROnPlateau: put one into optax.inject_hyperparams, as in "
            "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"
        )
    return [state.schedule for state in found]


def map_plateaus(fn: Callable[[PlateauState], PlateauState], opt_state: State) -> State:
    """An optimizer state with each plateau's state replaced by fn(state)."""
    plateaus(opt_state)
    found, kind = nodes(opt_state, PlateauState), variable()
    if not nodes(found, kind):
        return _map(fn, opt_state, PlateauState)
    for state in found:
        new = fn(_map(lambda v: v[...], state, kind))
        for v, value in zip(nodes(state, kind), jax.tree.leaves(new), strict=True):
            v[...] = value
    return opt_state
