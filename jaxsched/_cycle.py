"""Schedules that go up and down, and take the momentum the other way."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any, Literal, final

from jaxsched._arguments import (
    Count,
    Function,
    OptionalCount,
    Real,
    Strategy,
    argument,
    boolean,
    function,
    has_arrays,
    integer,
    is_array,
    one_of,
    optional,
    real,
)
from jaxsched._ops import decay_places
from jaxsched._schedule import Schedule

_Mode = Literal["triangular", "triangular2", "exp_range"]
_ScaleMode = Literal["cycle", "iterations"]
_LENGTH = optional(integer(at_least=1))


@final
class CyclicLR(Schedule):
    """Moves the learning rate up and down between `base_lr` and `max_lr` in straight lines.

    For `CyclicLR(0.1, max_lr=0.5, step_size_up=2)`:

        lr = 0.1, 0.3, 0.5, 0.3    at counts 0, 1, 2, 3, and again

    Formula: `base_lr + (max_lr - base_lr) * height * scale`, where height is count / step_size_up
    on the way up and what is left of the cycle / step_size_down on the way down, and scale is

        triangular     1
        triangular2    0.5 ** (cycle - 1), for cycles 1, 2, 3 ...
        exp_range      gamma ** count
        scale_fn       scale_fn(cycle), or scale_fn(count) for scale_mode="iterations"

    Args:
        base_lr: learning rate at the start of each cycle, >= 0.
        max_lr: learning rate after `step_size_up` counts, >= 0; may be below `base_lr`.
        step_size_up: counts (updates, most often) up, an integer >= 1.
        step_size_down: counts down, an integer >= 0, `step_size_up` by default; 0 is a sawtooth.
        mode: "triangular", "triangular2" or "exp_range"; of no effect with a `scale_fn`.
        gamma: base of "exp_range", >= 0.
        scale_fn: your own scale, a function that JAX can trace.
        scale_mode: what `scale_fn` is given, "cycle" or "iterations".
        base_momentum: momentum at the height of the cycle, >= 0.
        max_momentum: momentum at its start, >= 0.

    `.momentum` is the momentum schedule, again a CyclicLR, from `max_momentum` to `base_momentum`.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). Numbers may be arrays or tracers, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above. torch's triangular2 overflows after
            1,024 cycles; here it comes to `base_lr`.

    Source: `torch.optim.lr_scheduler.CyclicLR`, torch 2.13, without `cycle_momentum`, since the
    momentum moves only where you put it; Smith, arXiv:1506.01186.

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

    def _value(self, count, part, ops):
        up, down = self._sizes
        past, t = ops.quotient(count, up + down), ops.remainder(count, up + down)
        height = ops.where(t < up, t + part, up + down - t - part)
        height = (self.max_lr - self.base_lr) * ops.ratio(height, ops.where(t < up, up, down))
        if self.scale_fn is not None:
            x = past + 1 if self.scale_mode == "cycle" else count + part
            height = height * ops.call(self.scale_fn, x, "`scale_fn`")
        elif self.mode == "triangular2":
            height = ops.product(height, ops.in_double.decay(1.0, 0.5, past))
        elif self.mode == "exp_range":
            height = ops.product(height, ops.in_double.decay(1.0, self.gamma, count + part))
        return self.base_lr + height

    def _course(self, dtype):
        period = sum(self._sizes)
        height = abs(self.max_lr - self.base_lr)
        if self.mode == "triangular2":
            return range(period * decay_places(height, 0.5, dtype) + 1), 0
        if self.mode == "triangular" or self.gamma == 1:
            return range(period), period
        if self.gamma > 1:
            return None
        return range(period * -(-decay_places(height, self.gamma, dtype) // period) + 1), 0

    @property
    def _is_traced(self):
        return self.scale_fn is not None

    @property
    def momentum(self) -> CyclicLR:
        """The momentum schedule, for inject_hyperparams(optax.sgd)(s, momentum=s.momentum)."""
        return dataclasses.replace(self, base_lr=self.max_momentum, max_lr=self.base_momentum)


@final
class OneCycleLR(Schedule):
    """Takes the learning rate up to `max_lr` and down to nearly nothing, once.

    For `OneCycleLR(1.0, total_steps=11, pct_start=0.5, anneal_strategy="linear")`:

        lr = 0.04       at count 0: max_lr / div_factor
        lr = 1          at count 4.5: pct_start * total_steps - 1
        lr = 0.000004   at count 10 and after: max_lr / div_factor / final_div_factor

    Formula: in each phase from a to b, at its fraction x in [0, 1]: `a + (b - a) * x` for "linear",
    `a + (b - a) * sin(pi / 2 * x) ** 2` for "cos". With `three_phase` the second one goes down to
    where the first started, as long as the first, and the third to the end.

    Args:
        max_lr: learning rate at the peak, >= 0.
        total_steps: counts (updates, most often) in all, an integer >= 1.
        epochs, steps_per_epoch: or both of these, integers >= 1, for their product; `total_steps`
            comes before them.
        pct_start: part of the counts on the way up, from 0 to 1; need not end at an integer.
        anneal_strategy: "cos" or "linear".
        base_momentum: momentum at the peak, >= 0.
        max_momentum: momentum at the start and the end, >= 0.
        div_factor: `max_lr` over the first learning rate, > 0.
        final_div_factor: the first learning rate over the last, > 0.
        three_phase: whether to come down in two phases.

    `.momentum` is the momentum schedule, again a OneCycleLR.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). Rates, momenta and factors may be arrays, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above, or the first phase would end at count 0,
            where torch divides by zero. Past `total_steps` torch raises; here the last value holds.

    Source: `torch.optim.lr_scheduler.OneCycleLR`, torch 2.13, without `cycle_momentum`; Smith and
    Topin, arXiv:1708.07120.

    >>> import jaxsched as js
    >>> schedule = js.OneCycleLR(1.0, total_steps=10, pct_start=0.4, anneal_strategy="linear")
    >>> [round(schedule(count), 2) for count in range(11)]
    [0.04, 0.36, 0.68, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17, 0.0, 0.0]
    >>> [round(schedule.momentum(count), 2) for count in (0, 3, 9)]
    [0.95, 0.85, 0.95]
    """

    max_lr: Real = argument(real(at_least=0))
    total_steps: OptionalCount = argument(_LENGTH, default=None, static=True)
    epochs: OptionalCount = argument(_LENGTH, default=None, static=True)
    steps_per_epoch: OptionalCount = argument(_LENGTH, default=None, static=True)
    pct_start: Real = argument(real(at_least=0, at_most=1), default=0.3, static=True)
    anneal_strategy: Strategy = argument(one_of(Strategy), default="cos", static=True)
    base_momentum: Real = argument(real(at_least=0), default=0.85)
    max_momentum: Real = argument(real(at_least=0), default=0.95)
    div_factor: Real = argument(real(above=0), default=25.0)
    final_div_factor: Real = argument(real(above=0), default=1e4)
    three_phase: bool = argument(boolean, default=False, static=True)

    def __post_init__(self):
        if self.total_steps is None and (self.epochs is None or self.steps_per_epoch is None):
            raise ValueError(
                "`total_steps`, or both `epochs` and `steps_per_epoch`, must be given, got "
                f"{self.epochs} epochs of {self.steps_per_epoch} steps"
            )
        if self._total * self.pct_start == 1:
            raise ValueError(
                f"`pct_start` must not end the first phase at count 0, got {self.pct_start} of "
                f"{self._total} steps: pct_start * total_steps - 1 = 0"
            )
        if not has_arrays(lrs := self._lrs) and not all(map(math.isfinite, lrs)):
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
        """Where each starts, where it ends, its length, its first and its last learning rate."""
        last, peak = float(self._total - 1), self.pct_start * self._total - 1
        ends, lrs = (0.0, peak, last), self._lrs
        if self.three_phase:
            ends, lrs = (0.0, peak, 2 * peak, last), (*lrs[:2], lrs[0], lrs[2])
        pairs = zip(itertools.pairwise(ends), itertools.pairwise(lrs), strict=True)
        # One of no length has no counts.
        return [(start, end, end - start or 1.0, a, b) for (start, end), (a, b) in pairs]

    def _value(self, count, part, ops):
        _, end, length, first_lr, last_lr = self._phases[0]
        count = ops.minimum(count + part, self._phases[-1][1])
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
        return range(self._total), 0

    @property
    def momentum(self) -> OneCycleLR:
        """The momentum schedule, for inject_hyperparams(optax.sgd)(s, momentum=s.momentum)."""
        # The start is a quotient, so 0 is next to 0.
        peak, start = (
            m if is_array(m) or m else 1e-300 for m in (self.base_momentum, self.max_momentum)
        )
        return dataclasses.replace(self, max_lr=peak, div_factor=peak / start, final_div_factor=1.0)
