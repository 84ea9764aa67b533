"""Schedules that move the learning rate up and down, and the momentum the other way."""

import dataclasses
import functools
import itertools
import math
from typing import Any, Literal, final

import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import (
    Count,
    Function,
    OptionalCount,
    OptionalStaticCount,
    Real,
    StaticReal,
    Strategy,
    boolean,
    function,
    has_arrays,
    integer,
    is_array,
    one_of,
    optional,
    real,
)
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course, decay_places
from jaxsched._base.value import argument

_Mode = Literal["triangular", "triangular2", "exp_range"]
_ScaleMode = Literal["cycle", "iterations"]
_LENGTH = optional(integer(at_least=1))


@final
class CyclicLR(Schedule):
    """Moves the learning rate up and down between `base_lr` and `max_lr` in straight lines.

    For `CyclicLR(0.1, max_lr=0.5, step_size_up=2)`:

    ```text
    lr = 0.1, 0.3, 0.5, 0.3    at counts 0, 1, 2, 3, then the same again
    ```

    Formula: `base_lr + (max_lr - base_lr) * height * scale`. On the way up, height is
    `t / step_size_up`, where t is the number of counts since the cycle started. On the way down it
    is `left / step_size_down`, where left is the number of counts until the cycle ends. The scale
    is

    ```text
    triangular     1
    triangular2    0.5 ** (cycle - 1), for cycles 1, 2, 3 ...
    exp_range      gamma ** count
    scale_fn       scale_fn(cycle), or scale_fn(count) for scale_mode="iterations"
    ```

    Args:
        base_lr: learning rate at the start of each cycle, >= 0.
        max_lr: learning rate `step_size_up` counts later, >= 0. It may be below `base_lr`.
        step_size_up: counts (most often updates) from `base_lr` to `max_lr`, an integer >= 1.
        step_size_down: counts from `max_lr` back to `base_lr`, an integer >= 0. The default is
            `step_size_up`. With 0 the learning rate jumps back.
        mode: "triangular", "triangular2" or "exp_range". With `scale_fn` it is checked and has no
            effect.
        gamma: base of the power in "exp_range", >= 0.
        scale_fn: your own scale, a function that JAX can trace.
        scale_mode: what `scale_fn` receives: the number of the cycle ("cycle") or the count
            ("iterations").
        base_momentum: momentum where the learning rate is `max_lr`, >= 0.
        max_momentum: momentum at the start of each cycle, >= 0.

    The property `momentum` is the momentum schedule: another CyclicLR, from `max_momentum` to
    `base_momentum`. torch's `cycle_momentum` is left out, because the momentum moves only if you
    pass that schedule to the optimizer.

    torch's triangular2 overflows after 1,024 cycles. Here the learning rate goes to `base_lr`.

    Source: `torch.optim.lr_scheduler.CyclicLR`, torch 2.13; Smith, arXiv:1506.01186.

    >>> import jaxsched as js
    >>> schedule = js.CyclicLR(0.1, max_lr=0.5, step_size_up=2)
    >>> [round(schedule(count), 4) for count in range(5)]
    [0.1, 0.3, 0.5, 0.3, 0.1]
    >>> [round(schedule.momentum(count), 4) for count in range(5)]
    [0.9, 0.85, 0.8, 0.85, 0.9]
    """

    base_lr: Real = argument(real(at_least=0))
    max_lr: Real = argument(real(at_least=0))
    step_size_up: Count = argument(integer(at_least=1), default=2000)
    step_size_down: OptionalCount = argument(optional(integer(at_least=0)), default=None)
    mode: _Mode = argument(one_of(_Mode), default="triangular", static=True)
    gamma: Real = argument(real(at_least=0), default=1.0)
    scale_fn: Function | None = argument(optional(function), default=None, static=True)
    scale_mode: _ScaleMode = argument(one_of(_ScaleMode), default="cycle", static=True)
    base_momentum: Real = argument(real(at_least=0), default=0.8)
    max_momentum: Real = argument(real(at_least=0), default=0.9)

    @property
    def _sizes(self):
        up = self.step_size_up
        return up, up if self.step_size_down is None else self.step_size_down

    def _value(self, count, fraction, ops):
        up, down = self._sizes
        past, t = ops.quotient(count, up + down), ops.remainder(count, up + down)
        height = ops.where(t < up, t + fraction, up + down - t - fraction)
        height = (self.max_lr - self.base_lr) * ops.ratio(height, ops.where(t < up, up, down))
        if self.scale_fn is not None:
            x = past + 1 if self.scale_mode == "cycle" else count + fraction
            height = height * ops.call(self.scale_fn, x, "`scale_fn`")
        elif self.mode == "triangular2":
            height = ops.product(height, ops.in_double.decay(1.0, 0.5, past))
        elif self.mode == "exp_range":
            height = ops.product(height, ops.in_double.decay(1.0, self.gamma, count + fraction))
        return self.base_lr + height

    def _course(self, dtype):
        if self.scale_fn is not None:
            return None
        period = sum(self._sizes)
        height = abs(self.max_lr - self.base_lr)
        if self.mode == "triangular2":
            return Course(range(period * decay_places(height, 0.5, dtype) + 1))
        if self.mode == "triangular" or self.gamma == 1:
            return Course(range(period), period)
        if self.gamma > 1:
            return None
        cycles = -(-decay_places(height, self.gamma, dtype) // period)
        return Course(range(period * cycles + 1))

    def _length(self, down_to):
        return sum(self._sizes)

    @property
    def _is_traced(self):
        return self.scale_fn is not None

    @property
    def momentum(self) -> "CyclicLR":
        """The momentum schedule, for inject_hyperparams(optax.sgd)(s, momentum=s.momentum)."""
        return dataclasses.replace(self, base_lr=self.max_momentum, max_lr=self.base_momentum)


@final
class OneCycleLR(Schedule):
    """Raises the learning rate to `max_lr` and then lowers it to nearly 0, once.

    For `OneCycleLR(1.0, total_steps=11, pct_start=0.5, anneal_strategy="linear")`:

    ```text
    lr = 0.04        at count 0: max_lr / div_factor
    lr = 1           at count 4.5: pct_start * total_steps - 1
    lr = 0.000004    at count 10 and after: max_lr / div_factor / final_div_factor
    ```

    Formula: in a phase from a to b, where x is how much of the phase has passed, from 0 to 1:
    `a + (b - a) * x` for "linear", `a + (b - a) * sin(pi / 2 * x) ** 2` for "cos". With
    `three_phase` the second phase is as long as the first and returns to the first learning rate.
    The third phase goes from there to the last learning rate.

    Args:
        max_lr: learning rate at the peak, >= 0.
        total_steps: number of all counts (most often updates), an integer >= 1.
        epochs: with `steps_per_epoch`, another way to give the number of counts: the product of
            the two. An integer >= 1. Beside `total_steps` both may stand only if that is their
            product.
        steps_per_epoch: counts in each of `epochs`, an integer >= 1.
        pct_start: fraction of the counts on the way up, from 0 to 1. The peak may lie between two
            counts.
        anneal_strategy: "cos" or "linear".
        base_momentum: momentum at the peak, >= 0.
        max_momentum: momentum at the start and the end, >= 0.
        div_factor: `max_lr` over the first learning rate, > 0.
        final_div_factor: the first learning rate over the last, > 0.
        three_phase: whether the way down has two phases.

    Learning rates, momenta and the two factors may be arrays or tracers. `total_steps`, `epochs`,
    `steps_per_epoch` and `pct_start` may not.

    The property `momentum` is the momentum schedule, another OneCycleLR. torch's `cycle_momentum`
    is left out, because the momentum moves only if you pass that schedule to the optimizer.

    Raises:
        ValueError: no length is given, or two that differ; or the first phase would end at count 0,
            where torch divides by zero; or a learning rate would not be finite.

    At `total_steps`, after the last update, torch gives one value more, along its formula, and then
    raises an error. Here the last value holds.

    Source: `torch.optim.lr_scheduler.OneCycleLR`, torch 2.13; Smith and Topin, arXiv:1708.07120.

    >>> import jaxsched as js
    >>> schedule = js.OneCycleLR(1.0, total_steps=10, pct_start=0.4, anneal_strategy="linear")
    >>> [round(schedule(count), 2) for count in range(11)]
    [0.04, 0.36, 0.68, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17, 0.0, 0.0]
    >>> [round(schedule.momentum(count), 2) for count in (0, 3, 9)]
    [0.95, 0.85, 0.95]
    """

    max_lr: Real = argument(real(at_least=0))
    total_steps: OptionalStaticCount = argument(_LENGTH, default=None, static=True)
    epochs: OptionalStaticCount = argument(_LENGTH, default=None, static=True)
    steps_per_epoch: OptionalStaticCount = argument(_LENGTH, default=None, static=True)
    pct_start: StaticReal = argument(real(at_least=0, at_most=1), default=0.3, static=True)
    anneal_strategy: Strategy = argument(one_of(Strategy), default="cos", static=True)
    base_momentum: Real = argument(real(at_least=0), default=0.85)
    max_momentum: Real = argument(real(at_least=0), default=0.95)
    div_factor: Real = argument(real(above=0), default=25.0)
    final_div_factor: Real = argument(real(above=0), default=1e4)
    three_phase: bool = argument(boolean, default=False, static=True)

    def __post_init__(self):
        if self.total_steps is None and (self.epochs is None or self.steps_per_epoch is None):
            got = [n for n in ("epochs", "steps_per_epoch") if getattr(self, n) is not None]
            raise ValueError(
                "`total_steps`, or both `epochs` and `steps_per_epoch`, must be given, got "
                f"{f'`{got[0]}` alone' if got else 'none'}"
            )
        if self.total_steps is not None and (self.epochs or self.steps_per_epoch):
            if (self.epochs or 0) * (self.steps_per_epoch or 0) != self.total_steps:
                raise ValueError(
                    "`total_steps` must stand alone, or be epochs * steps_per_epoch, got "
                    f"{self.total_steps} beside {self.epochs} epochs of {self.steps_per_epoch} "
                    "steps: torch's OneCycleLR(optimizer, 1.0, 1000) is OneCycleLR(1.0, 1000), "
                    "without the optimizer's learning rate"
                )
        if self._total * self.pct_start == 1:
            raise ValueError(
                f"`pct_start` must not end the first phase at count 0, got {self.pct_start} of "
                f"{self._total} steps: pct_start * total_steps - 1 = 0"
            )
        numbers = self.max_lr, self.div_factor, self.final_div_factor
        if not has_arrays(numbers) and not all(map(math.isfinite, self._lrs)):
            raise ValueError(
                f"`div_factor` and `final_div_factor` must leave finite learning rates, got "
                f"{self.div_factor} and {self.final_div_factor} for {self.max_lr}"
            )

    @property
    def _total(self) -> int:
        if self.total_steps is not None:
            return self.total_steps
        assert self.epochs is not None and self.steps_per_epoch is not None
        return self.epochs * self.steps_per_epoch

    @property
    def _lrs(self) -> tuple[float, float, float]:
        """The first, the highest and the last learning rate."""
        first = self.max_lr / self.div_factor
        return first, self.max_lr, first / self.final_div_factor

    @functools.cached_property
    def _phases(self) -> list[tuple[Any, ...]]:
        """Of each phase: its start, its end, its length, its first and its last learning rate."""
        last, peak = float(self._total - 1), self.pct_start * self._total - 1
        ends, lrs = (0.0, peak, last), self._lrs
        if self.three_phase:
            ends, lrs = (0.0, peak, 2 * peak, last), (*lrs[:2], lrs[0], lrs[2])
        pairs = zip(itertools.pairwise(ends), itertools.pairwise(lrs), strict=True)
        # A phase of length 0 has no counts. Its divisor only has to differ from 0.
        return [(start, end, end - start or 1.0, a, b) for (start, end), (a, b) in pairs]

    def _value(self, count, fraction, ops):
        _, end, length, first_lr, last_lr = self._phases[0]
        count = ops.minimum(count + fraction, self._phases[-1][1])
        for start, *phase in self._phases[1:]:
            is_later = count > start
            end, length, first_lr, last_lr = (
                ops.where(is_later, new, old)
                for new, old in zip(phase, (end, length, first_lr, last_lr), strict=True)
            )
        left = ops.ratio(end - count, length)
        if self.anneal_strategy == "cos":
            left = ops.half_wave(left)
        return last_lr + (first_lr - last_lr) * left

    def _course(self, dtype):
        return Course(range(self._total))

    def _length(self, down_to):
        return self._total

    @property
    def momentum(self) -> "OneCycleLR":
        """The momentum schedule, for inject_hyperparams(optax.sgd)(s, momentum=s.momentum)."""
        momenta = self.base_momentum, self.max_momentum
        tiny = 1e-30 if has_arrays(momenta) else 1e-300  # which a float32 does not hold
        peak, start = (_not_zero(momentum, tiny) for momentum in momenta)
        return dataclasses.replace(self, max_lr=peak, div_factor=peak / start, final_div_factor=1.0)


def _not_zero(momentum: Any, tiny: float) -> Any:
    """The momentum, `tiny` for 0. OneCycleLR computes the first one as peak / (peak / start), which
    divides by zero if one of them is 0."""
    if not is_array(momentum):
        return momentum or tiny
    if isinstance(momentum, np.ndarray):
        return np.where(momentum == 0, tiny, momentum.astype(np.float64))
    return jnp.where(momentum == 0, tiny, momentum.astype(jnp.result_type(float)))
