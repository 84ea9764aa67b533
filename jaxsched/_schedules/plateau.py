"""The schedule with a state: it lowers the learning rate when a metric stops improving."""

import functools
import json
import math
from typing import Any, Literal, NamedTuple, final

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import (
    INT32_MAX,
    StaticCount,
    StaticReal,
    integer,
    one_of,
    real,
)
from jaxsched._base.hints import PLATEAU_ATTRIBUTES, describe
from jaxsched._base.jax_ops import JaxOps, as_result
from jaxsched._base.ops import Ops
from jaxsched._base.value import Frozen, argument

_Mode = Literal["min", "max"]
_ThresholdMode = Literal["rel", "abs"]
_MOST_CUTS = 2**20


class PlateauState(NamedTuple):
    """What ReduceLROnPlateau remembers, under torch's names: four scalar arrays."""

    best: Any
    """The best metric, in the default float dtype at `init`; at first the worst finite number."""
    num_bad_epochs: Any
    cooldown_counter: Any
    cuts: Any
    """How often the learning rate was lowered."""
    plateau: jax.tree_util.Partial
    """Holds the ReduceLROnPlateau as static metadata, in a class of JAX that flax can save."""

    @property
    def schedule(self) -> "ReduceLROnPlateau":
        return self.plateau.func  # pyright: ignore[reportReturnType]


def _flatten(state: PlateauState) -> "tuple[list[Any], ReduceLROnPlateau]":
    return list(state[:-1]), state.schedule


def _flatten_with_keys(state: PlateauState) -> "tuple[list[Any], ReduceLROnPlateau]":
    keys = map(jax.tree_util.GetAttrKey, state._fields)
    return list(zip(keys, state[:-1], strict=False)), state.schedule


def _unflatten(schedule: "ReduceLROnPlateau", children: Any) -> PlateauState:
    return PlateauState(*children, plateau=jax.tree_util.Partial(schedule))


# Registered as its own pytree node, so that jax.export can write the static metadata.
jax.tree_util.register_pytree_with_keys(PlateauState, _flatten_with_keys, _unflatten, _flatten)
jax.export.register_pytree_node_serialization(
    PlateauState,
    serialized_name="jaxsched.PlateauState",
    serialize_auxdata=lambda schedule: json.dumps(schedule.__getstate__()).encode(),
    deserialize_auxdata=lambda data: ReduceLROnPlateau(**json.loads(data)),
)


@final
@jax.tree_util.register_static
class ReduceLROnPlateau(Frozen):
    """Lowers the learning rate when a metric has stopped improving.

    For `ReduceLROnPlateau(0.1, patience=2)` and one metric for each epoch:

    ```text
    metric    1.0    0.8    0.9    0.9    0.9    0.7    at the end of the epoch
    bad         0      0      1      2      3      0    bad epochs in a row; more than 2: a cut
    lr        0.1    0.1    0.1    0.1   0.01   0.01    from the next update on
    ```

    Formula: `lr = max(lr * factor, min_lr)` when bad > patience. This is a cut. If it would lower
    lr by `eps` or less, lr stays. In both cases bad counts from 0 again. The epoch is good if its
    metric is

    ```text
    mode     threshold_mode="rel"            threshold_mode="abs"
    "min"    below best * (1 - threshold)    below best - threshold
    "max"    above best * (1 + threshold)    above best + threshold
    ```

    and else bad. An epoch whose metric is NaN is bad.

    Args:
        base_lr: learning rate before the first cut, >= 0.
        mode: "min" if a lower metric is better, as for a loss; "max" if a higher one is.
        factor: factor of the learning rate at each cut, from 0 to below 1. 0 is one cut, to
            `min_lr`.
        patience: bad epochs in a row without a cut, an integer >= 0. The next one is a cut.
        threshold: by how much a metric has to be better than the best one, >= 0.
        threshold_mode: "rel": the threshold is a part of the best metric. "abs": it is in the
            metric's unit. For metrics that may be negative use "abs": with "rel" an equal or
            slightly worse metric counts as better.
        cooldown: epochs after a cut in which bad epochs are not counted, an integer >= 0.
        min_lr: lower bound of the learning rate, >= 0. If it is above `base_lr`, there is never a
            cut.
        eps: the learning rate changes only by more than this, >= 0.

    This is a stateful schedule for optax, not a function of a count. Inject it into the optimizer:

    ```python
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))
    ```

    Pass it a metric in one of two ways: once for each epoch with `observe`, which is torch's
    `scheduler.step(metric)`, or at each update with `tx.update(grads, state, params, metric=loss)`.
    The next update uses the new learning rate. An update without `metric` changes nothing.

    In torch a plateau may follow a warmup. Here it multiplies the warmup, or any other schedule, as
    a factor:

    ```python
    plateau = optax.inject_hyperparams(optax.scale)(ReduceLROnPlateau(1.0))
    tx = optax.chain(optax.sgd(warmup), plateau)
    ```

    Metrics are rounded to float32 (under `jax_enable_x64` to float64). Comparisons are in double
    precision. The learning rate equals torch's to the last bit of float32, for the first million
    cuts.

    Raises:
        TypeError: an argument is an array (vary another schedule, with `ReduceLROnPlateau(1.0)` as
            a factor); or the schedule is called with a count, for example by
            `optax.sgd(ReduceLROnPlateau(0.1))`.
        ValueError: no metric could be good (mode "min", threshold_mode "rel" and a threshold of 1
            or more). torch accepts this.

    `optax.contrib.reduce_on_plateau` cuts one bad epoch earlier, when bad == patience. With
    patience=0 it therefore cuts at each good metric and at no bad one. For factor=0.5 the learning
    rates are

    ```text
    metric                   1      2      2      2    0.5   0.25   0.25
    patience=0, optax      0.5    0.5    0.5    0.5   0.25  0.125  0.125
    patience=0, here         1    0.5   0.25  0.125  0.125  0.125 0.0625
    patience=2, optax        1      1    0.5    0.5    0.5    0.5    0.5
    patience=2, here         1      1      1    0.5    0.5    0.5    0.5
    ```

    optax's class needs the metric at every update, as `value`. It has no mode and no `eps`.

    Source: `torch.optim.lr_scheduler.ReduceLROnPlateau`, torch 2.13.

    >>> import jaxsched as js
    >>> plateau = js.ReduceLROnPlateau(0.1, patience=2)
    >>> state, lrs = plateau.init(), []
    >>> for metric in (1.0, 0.8, 0.9, 0.9, 0.9, 0.7):
    ...     state = plateau.update(state, metric=metric)
    ...     lrs.append(round(float(plateau(state)), 6))
    >>> lrs
    [0.1, 0.1, 0.1, 0.1, 0.01, 0.01]
    """

    _hints = PLATEAU_ATTRIBUTES

    base_lr: StaticReal = argument(real(at_least=0), static=True)
    mode: _Mode = argument(one_of(_Mode), default="min")
    factor: StaticReal = argument(real(at_least=0), default=0.1, static=True)
    patience: StaticCount = argument(integer(at_least=0), default=10, static=True)
    threshold: StaticReal = argument(real(at_least=0), default=1e-4, static=True)
    threshold_mode: _ThresholdMode = argument(one_of(_ThresholdMode), default="rel")
    cooldown: StaticCount = argument(integer(at_least=0), default=0, static=True)
    min_lr: StaticReal = argument(real(at_least=0), default=0.0, static=True)
    eps: StaticReal = argument(real(at_least=0), default=1e-8, static=True)

    def __post_init__(self) -> None:
        if self.factor >= 1:
            raise ValueError(f"`factor` must be >= 0 and below 1, got {self.factor!r}")
        if (self.mode, self.threshold_mode) == ("min", "rel") and self.threshold >= 1:
            raise ValueError(
                f"`threshold` must be below 1 with mode 'min' and threshold_mode 'rel', got "
                f"{self.threshold!r}: no metric could be good"
            )

    def init(self) -> PlateauState:
        dtype = jnp.result_type(float)
        best = jnp.asarray(self._worst(dtype), dtype)
        # Three buffers, because one buffer cannot be donated twice.
        return _unflatten(self, [best, *(jnp.zeros((), jnp.int32) for _ in range(3))])

    def update(self, state: PlateauState, *, metric: Any = None, **extra: Any) -> PlateauState:
        # optax passes `extra` to every transformation. A `value` in it is meant for line searches.
        self._check(state)
        return state if metric is None else tell(state, metric)

    def __call__(self, state: PlateauState, **extra: Any) -> jax.Array:
        self._check(state)
        lrs = jnp.asarray(self._lrs, jnp.result_type(float))
        # Clipped because a checkpoint may come from a run in which more cuts were possible.
        return as_result(lrs.at[state.cuts].get(mode="clip"))

    def _check(self, state: Any) -> None:
        if not isinstance(state, PlateauState):
            got = describe(state)
            raise TypeError(
                f"`state` must be what init() gives, got {got}: ReduceLROnPlateau is no "
                "function of a count. Wrap the optimizer in optax.inject_hyperparams, as in "
                "optax.inject_hyperparams(optax.sgd)(learning_rate=ReduceLROnPlateau(0.1))"
            )
        if state.schedule != self:
            theirs = state.schedule.__getstate__()
            ours = self.__getstate__().items()
            differ = [f"`{n}` {theirs[n]!r} and not {v!r}" for n, v in ours if theirs[n] != v]
            raise ValueError(
                f"`state` must be one of this ReduceLROnPlateau, got one with {', '.join(differ)}. "
                "To go on with these arguments, put the restored arrays into a new state: jax.tree."
                "unflatten(jax.tree.structure(tx.init(params)), jax.tree.leaves(opt_state))"
            )

    def _worst(self, dtype: Any) -> float:
        """Stands for torch's inf or -inf, the best metric before the first one.

        It is finite, because code that masks a state by multiplying with 0 makes NaN of inf.
        """
        largest = float(jnp.finfo(dtype).max)
        return largest if self.mode == "min" else -largest

    def _is_better(self, metric: Any, best: Any) -> Any:
        rel = self.threshold_mode == "rel"
        if self.mode == "min":
            return metric < (best * (1.0 - self.threshold) if rel else best - self.threshold)
        return metric > (best * (self.threshold + 1.0) if rel else best + self.threshold)

    def _counters(self, is_better: Any, bad: Any, cooldown: Any, ops: Ops) -> tuple[Any, Any, Any]:
        """The bad epochs and the cooldown after one more metric, and whether it is a cut."""
        bad = ops.where(is_better | (cooldown > 0), 0, bad + 1)
        cut = bad > min(self.patience, INT32_MAX - 1)
        cooldown = ops.where(cut, min(self.cooldown, INT32_MAX), ops.maximum(cooldown - 1, 0))
        return ops.where(cut, 0, bad), cooldown, cut

    @functools.cached_property
    def _lrs(self) -> np.ndarray:
        return np.array(self._after_cuts(_MOST_CUTS))

    def _after_cuts(self, most: int) -> list[float]:
        """The learning rate after 0 to so many cuts, in torch's doubles, to the last change."""
        lrs = [self.base_lr]
        while len(lrs) <= most:
            lr = max(lrs[-1] * self.factor, self.min_lr)
            if not lrs[-1] - lr > self.eps:
                break
            lrs.append(lr)
        return lrs


def tell(state: PlateauState, metric: Any) -> PlateauState:
    """The state after one more metric: torch's `step(metric)`."""
    if not isinstance(metric, jax.Array):
        metric = np.asarray(metric)
    if not any(jnp.issubdtype(metric.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise TypeError(f"`metric` must be a real number, got {metric!r}")
    if metric.shape:
        raise ValueError(f"`metric` must be a scalar, got an array of shape {metric.shape}")
    with np.errstate(over="ignore"):
        return _tell(state, metric.astype(state.best.dtype))


@jax.jit  # without it a call outside the user's own jit runs a dozen small programs
def _tell(state: PlateauState, metric: Any) -> PlateauState:
    schedule = state.schedule
    worst = schedule._worst(metric.dtype)
    with jax.enable_x64(True):
        best = jnp.where(state.best == worst, math.copysign(math.inf, worst), state.best)
        better = schedule._is_better(metric.astype(jnp.float64), best.astype(jnp.float64))
    # `worst` says that there was no metric yet. A metric equal to it is stored as the next number.
    told = jnp.where(metric == worst, jnp.nextafter(metric, jnp.zeros_like(metric)), metric)
    best = jnp.where(better, told, state.best)
    bad, cooldown, cut = schedule._counters(
        better, state.num_bad_epochs, state.cooldown_counter, JaxOps(metric.dtype)
    )
    cuts = jnp.where(cut, jnp.minimum(state.cuts + 1, len(schedule._lrs) - 1), state.cuts)
    return PlateauState(best, bad, cooldown, cuts, state.plateau)
