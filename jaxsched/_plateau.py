"""The schedule that listens: it lowers the learning rate when a metric stops improving."""

from __future__ import annotations

import functools
import json
import math
from typing import Any, Literal, NamedTuple, final

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxsched._arguments import (
    Check,
    Frozen,
    KnownCount,
    KnownReal,
    argument,
    integer,
    is_array,
    one_of,
    real,
)
from jaxsched._habits import PLATEAU_ATTRIBUTES, describe
from jaxsched._ops import as_result

_Mode = Literal["min", "max"]
_ThresholdMode = Literal["rel", "abs"]
_INT32_MAX = 2**31 - 1
_MOST_CUTS = 2**20


def _known(check: Check) -> Check:
    """A number that is known now: the state carries it as static metadata."""

    def known(name: str, value: Any) -> Any:
        if is_array(value):
            raise TypeError(
                f"`{name}` must be a Python number, got {value!r}; what has to be an array belongs "
                "into another schedule, with ReduceLROnPlateau(1.0) as a factor"
            )
        return check(name, value)

    return known


class PlateauState(NamedTuple):
    """What ReduceLROnPlateau remembers, under torch's names: four scalar arrays."""

    best: Any
    """The best metric, in the default float dtype at `init`; the worst finite number before one."""
    num_bad_epochs: Any
    cooldown_counter: Any
    cuts: Any
    """How often the learning rate was lowered."""
    plateau: jax.tree_util.Partial
    """Of the ReduceLROnPlateau: JAX's holder of a callable, static, which flax can save, too."""

    @property
    def schedule(self) -> ReduceLROnPlateau:
        return self.plateau.func  # pyright: ignore[reportReturnType]


def _flatten(state: PlateauState) -> tuple[list[Any], ReduceLROnPlateau]:
    return list(state[:-1]), state.schedule


def _flatten_with_keys(state: PlateauState) -> tuple[list[Any], ReduceLROnPlateau]:
    keys = map(jax.tree_util.GetAttrKey, state._fields)
    return list(zip(keys, state[:-1], strict=False)), state.schedule


def _unflatten(schedule: ReduceLROnPlateau, children: Any) -> PlateauState:
    return PlateauState(*children, plateau=jax.tree_util.Partial(schedule))


# A node of its own and no plain NamedTuple, so that jax.export can write what is static.
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
    """Lowers the learning rate when a metric, told once an epoch, has stopped improving.

    For `ReduceLROnPlateau(0.1, patience=2)`, told one metric an epoch:

        metric    1.0    0.8    0.9    0.9    0.9    0.7    told after the epoch
        bad         0      0      1      2      3      0    epochs in a row, more than 2 are a cut
        lr        0.1    0.1    0.1    0.1   0.01   0.01    from the next update on

    Formula: `lr = max(lr * factor, min_lr)` when bad > patience, but only if that lowers it by more
    than `eps`; bad then counts from 0 again. A metric is good if it is below `best * (1 -
    threshold)` ("rel") or `best - threshold` ("abs"), for mode "max" above `best * (1 + threshold)`
    or `best + threshold`; NaN is bad.

    Args:
        base_lr: learning rate before the first cut, >= 0.
        mode: "min" if a good metric falls, as a loss does; "max" if it rises.
        factor: what each cut multiplies the learning rate by, from 0 to below 1; 0 is one cut, to
            `min_lr`.
        patience: bad epochs in a row that are put up with, an integer >= 0.
        threshold: by how much a metric has to be better than the best, >= 0.
        threshold_mode: "rel": a part of the best; "abs": in the metric's unit. For metrics that may
            be negative use "abs": with "rel" the same again, or a little worse, counts as better.
        cooldown: epochs after a cut in which bad ones are not counted, an integer >= 0.
        min_lr: lower bound of the learning rate, >= 0; above base_lr there is never a cut.
        eps: a cut has to be larger than this, >= 0.

    A stateful schedule of optax, not a function of a count: `optax.inject_hyperparams(optax.sgd)(
    learning_rate=ReduceLROnPlateau(0.1))`. Tell it a metric once an epoch with `observe`, torch's
    `scheduler.step(metric)`, or once an update with `tx.update(grads, state, params, metric=loss)`;
    the next update's learning rate is then the new one. Updates without `metric` leave it alone.
    In torch it may follow a warmup; here it multiplies one, or any schedule, as a factor:
    `optax.chain(optax.sgd(warmup), optax.inject_hyperparams(optax.scale)(ReduceLROnPlateau(1.0)))`.

    Metrics are rounded to float32 (float64 under `jax_enable_x64`), comparisons are in double, and
    the learning rate is torch's to the last bit of float32, for the first million cuts.

    Raises:
        TypeError, ValueError: an argument is not as above, or an array; or no metric could be
            good (mode "min", "rel" and a threshold of 1 or more), which torch lets pass. Called
            with a count, as by `optax.sgd(ReduceLROnPlateau(0.1))`: TypeError.

    `optax.contrib.reduce_on_plateau` cuts one bad epoch earlier, when bad == patience; so with
    patience=0 at each good metric and at no bad one. For factor=0.5 it and this give

        metric                   1      2      2      2    0.5   0.25   0.25
        patience=0, optax      0.5    0.5    0.5    0.5   0.25  0.125  0.125
        patience=0, here         1    0.5   0.25  0.125  0.125  0.125 0.0625
        patience=2, optax        1      1    0.5    0.5    0.5    0.5    0.5
        patience=2, here         1      1      1    0.5    0.5    0.5    0.5

    It is told `value`, at every update, and has no mode and no `eps`.

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

    base_lr: KnownReal = argument(_known(real(at_least=0)))
    mode: _Mode = argument(one_of(_Mode), default="min")
    factor: KnownReal = argument(_known(real(at_least=0)), default=0.1)
    patience: KnownCount = argument(_known(integer(at_least=0)), default=10)
    threshold: KnownReal = argument(_known(real(at_least=0)), default=1e-4)
    threshold_mode: _ThresholdMode = argument(one_of(_ThresholdMode), default="rel")
    cooldown: KnownCount = argument(_known(integer(at_least=0)), default=0)
    min_lr: KnownReal = argument(_known(real(at_least=0)), default=0.0)
    eps: KnownReal = argument(_known(real(at_least=0)), default=1e-8)

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
        # Three buffers and not one: none can be donated twice.
        return _unflatten(self, [best, *(jnp.zeros((), jnp.int32) for _ in range(3))])

    def update(self, state: PlateauState, *, metric: Any = None, **extra: Any) -> PlateauState:
        # `extra` is what optax passes to all; `value` among it is meant for line searches.
        self._check(state)
        return state if metric is None else tell(state, metric)

    def __call__(self, state: PlateauState, **extra: Any) -> jax.Array:
        self._check(state)
        lrs = jnp.asarray(self._lrs, jnp.result_type(float))
        # Clipped for a checkpoint of a run in which more cuts were possible.
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
        """Stands for torch's inf or -inf, the best before the first metric.

        It is finite, since 0 times inf in other people's masks is NaN.
        """
        largest = float(jnp.finfo(dtype).max)
        return largest if self.mode == "min" else -largest

    def _is_better(self, metric: Any, best: Any) -> Any:
        rel = self.threshold_mode == "rel"
        if self.mode == "min":
            return metric < (best * (1.0 - self.threshold) if rel else best - self.threshold)
        return metric > (best * (self.threshold + 1.0) if rel else best + self.threshold)

    @functools.cached_property
    def _lrs(self) -> np.ndarray:
        """The learning rate after each number of cuts, torch's doubles, up to where it stays."""
        lrs = [self.base_lr]
        while len(lrs) <= _MOST_CUTS:
            lr = max(lrs[-1] * self.factor, self.min_lr)
            if not lrs[-1] - lr > self.eps:
                break
            lrs.append(lr)
        return np.array(lrs)


def tell(state: PlateauState, metric: Any) -> PlateauState:
    """torch's `step(metric)`."""
    if not isinstance(metric, jax.Array):
        metric = np.asarray(metric)
    if not any(jnp.issubdtype(metric.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise TypeError(f"`metric` must be a real number, got {metric!r}")
    if metric.shape:
        raise ValueError(f"`metric` must be a scalar, got an array of shape {metric.shape}")
    with np.errstate(over="ignore"):
        return _tell(state, metric.astype(state.best.dtype))


@jax.jit  # without it, outside the user's own, a dozen small programs
def _tell(state: PlateauState, metric: Any) -> PlateauState:
    schedule = state.schedule
    worst = schedule._worst(metric.dtype)
    with jax.enable_x64(True):
        best = jnp.where(state.best == worst, math.copysign(math.inf, worst), state.best)
        better = schedule._is_better(metric.astype(jnp.float64), best.astype(jnp.float64))
    # A metric that is that number itself is the one beside it: some metric was told.
    told = jnp.where(metric == worst, jnp.nextafter(metric, jnp.zeros_like(metric)), metric)
    best = jnp.where(better, told, state.best)
    bad = jnp.where(better | (state.cooldown_counter > 0), 0, state.num_bad_epochs + 1)
    cut = bad > min(schedule.patience, _INT32_MAX - 1)
    bad = jnp.where(cut, 0, bad)
    cooldown = jnp.maximum(state.cooldown_counter - 1, 0)
    cooldown = jnp.where(cut, min(schedule.cooldown, _INT32_MAX), cooldown)
    cuts = jnp.where(cut, jnp.minimum(state.cuts + 1, len(schedule._lrs) - 1), state.cuts)
    return PlateauState(best, bad, cooldown, cuts, state.plateau)
