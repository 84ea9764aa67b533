"""Schedules on a half wave of the cosine."""

from __future__ import annotations

import functools
import itertools
from typing import final

from jaxsched._arguments import Count, Real, Strategy, argument, integer, is_array, one_of, real
from jaxsched._schedule import Schedule


@final
class CosineAnnealingLR(Schedule):
    """Goes from `base_lr` to `eta_min` along a cosine, and after `T_max` UP AGAIN.

    For `CosineAnnealingLR(0.1, T_max=4)`:

        lr = 0.1, 0.0854, 0.05, 0.0146    at counts 0, 1, 2, 3
        lr = 0                            at count 4
        lr = 0.0146, 0.05, 0.0854, 0.1    at counts 5, 6, 7, 8: it rises again, as in torch

    `js.clamp(schedule, T_max)` stays at the end instead.

    Formula: `eta_min + (base_lr - eta_min) * sin(pi / 2 * (T_max - count) / T_max) ** 2`. The
    square is torch's (1 + cos(pi * count / T_max)) / 2, without its cancellation at T_max.

    Args:
        base_lr: learning rate at count 0, >= 0.
        T_max: counts (epochs or updates) down to `eta_min`, an integer >= 1.
        eta_min: learning rate at `T_max`, >= 0; above `base_lr` it anneals upward.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). Arguments may be arrays or tracers, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above.

    torch's recursion drifts from its own closed form, 6e-13 after 2,000 counts of T_max=7; this is
    the closed form. Without restarts; those are `CosineAnnealingWarmRestarts`.

    Source: `torch.optim.lr_scheduler.CosineAnnealingLR`, torch 2.13; Loshchilov and Hutter, SGDR,
    arXiv:1608.03983.

    >>> import jaxsched as js
    >>> schedule = js.CosineAnnealingLR(0.1, T_max=4)
    >>> [round(schedule(count), 4) for count in range(9)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0, 0.0146, 0.05, 0.0854, 0.1]
    """

    base_lr: Real = argument(real(at_least=0))
    T_max: Count = argument(integer(at_least=1))
    eta_min: Real = argument(real(at_least=0), default=0.0)

    def _value(self, count, part, ops):
        t = ops.remainder(count, 2 * self.T_max)
        left = ops.where(t < self.T_max, self.T_max - t - part, t - self.T_max + part)
        left = ops.ratio(left, self.T_max)
        return self.eta_min + (self.base_lr - self.eta_min) * ops.half_wave(left)

    def _course(self, dtype):
        return range(2 * self.T_max), 2 * self.T_max

    @property
    def _is_factor(self):
        return not is_array(self.eta_min) and self.eta_min == 0


@final
class CosineAnnealingWarmRestarts(Schedule):
    """Takes the learning rate down along a cosine and starts again at the top, in cycles.

    For `CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2)`:

        lr = 0.1, 0.05                    at counts 0, 1
        lr = 0.1, 0.0854, 0.05, 0.0146    at counts 2, 3, 4, 5
        lr = 0.1, ...                     at counts 6, ..., 13

    Formula: `eta_min + (base_lr - eta_min) * sin(pi / 2 * (T_i - t) / T_i) ** 2`, t counts into a
    cycle of T_i = T_0 * T_mult ** i counts. `eta_min` is approached and not reached.

    Args:
        base_lr: learning rate at the start of each cycle, >= 0.
        T_0: counts (epochs or updates) in the first cycle, an integer >= 1.
        T_mult: how many times as long each next cycle is, an integer >= 1.
        eta_min: learning rate that each cycle goes to, >= 0.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). All but T_mult may be arrays or tracers, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above.

    torch finds the cycle by a logarithm if `step(epoch)` is called, which errs at huge counts; here
    it is found in integers. For its `step(epoch + i / iters)` see `smooth_epochs`.

    Source: `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, torch 2.13; Loshchilov and
    Hutter, SGDR, arXiv:1608.03983.

    >>> import jaxsched as js
    >>> schedule = js.CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2)
    >>> [round(schedule(count), 4) for count in range(7)]
    [0.1, 0.05, 0.1, 0.0854, 0.05, 0.0146, 0.1]
    """

    base_lr: Real = argument(real(at_least=0))
    T_0: Count = argument(integer(at_least=1))
    T_mult: Count = argument(integer(at_least=1), default=1, static=True)
    eta_min: Real = argument(real(at_least=0), default=0.0)

    def _value(self, count, part, ops):
        if self.T_mult == 1:
            t, length = ops.remainder(count, self.T_0), self.T_0
        else:
            # With Python's numbers in counts, else in lengths of the first cycle.
            at, unit = (
                (ops.quotient(count, self.T_0), self.T_0) if is_array(self.T_0) else (count, 1)
            )
            start = unit * ops.latest(self._starts, at)
            # A cycle starts after T_0 * (1 + T_mult + ...) = (length - T_0) / (T_mult - 1).
            t, length = count - start, start * (self.T_mult - 1.0) + self.T_0
        left = ops.ratio(length - (t + part), length)
        return self.eta_min + (self.base_lr - self.eta_min) * ops.half_wave(left)

    def _course(self, dtype):
        return (range(self.T_0), self.T_0) if self.T_mult == 1 else None

    @functools.cached_property
    def _starts(self) -> tuple[int, ...]:
        """Where each cycle starts, in 63 bits."""
        first = 1 if is_array(self.T_0) else self.T_0
        starts = itertools.accumulate(
            itertools.count(), lambda start, _: start * self.T_mult + first, initial=0
        )
        return tuple(itertools.takewhile(lambda start: start < 2**63, starts))


@final
class SWALR(Schedule):
    """Anneals the learning rate from `base_lr` to `swa_lr` and holds it, for weight averaging.

    For `SWALR(0.1, swa_lr=0.05, anneal_epochs=4, anneal_strategy="linear")`:

        lr = 0.1, 0.0875, 0.075, 0.0625    at counts 0, 1, 2, 3
        lr = 0.05                          for 4 <= count

    Formula: `swa_lr + (base_lr - swa_lr) * x` for "linear", where x is (anneal_epochs - count) /
    anneal_epochs, at least 0; with sin(pi / 2 * x) ** 2 in its place for "cos".

    Args:
        base_lr: learning rate at count 0, >= 0.
        swa_lr: learning rate from `anneal_epochs` on, >= 0.
        anneal_epochs: counts (epochs, or updates if you count those) from one to the other, an
            integer >= 0; 0 is `swa_lr` at once.
        anneal_strategy: "cos" or "linear".

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). Numbers may be arrays or tracers, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above.

    torch's starts from whatever another scheduler left in the optimizer: put it behind that one
    with `SequentialLR`, and say where it starts.

    Source: `torch.optim.swa_utils.SWALR`, torch 2.13; Izmailov et al., arXiv:1803.05407.

    >>> import jaxsched as js
    >>> schedule = js.SWALR(0.1, swa_lr=0.05, anneal_epochs=4, anneal_strategy="linear")
    >>> [round(schedule(count), 4) for count in range(6)]
    [0.1, 0.0875, 0.075, 0.0625, 0.05, 0.05]
    """

    base_lr: Real = argument(real(at_least=0))
    swa_lr: Real = argument(real(at_least=0))
    anneal_epochs: Count = argument(integer(at_least=0), default=10)
    anneal_strategy: Strategy = argument(one_of(Strategy), default="cos", static=True)

    def _value(self, count, part, ops):
        total = self.anneal_epochs
        length = ops.maximum(total, 1) if is_array(total) else max(total, 1)
        left = ops.ratio(total - ops.minimum(count + part, total), length)
        if self.anneal_strategy == "cos":
            left = ops.half_wave(left)
        return self.swa_lr + (self.base_lr - self.swa_lr) * left

    def _course(self, dtype):
        return range(self.anneal_epochs + 1), 0
