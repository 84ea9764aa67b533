"""Schedules that follow half a wave of the cosine."""

import functools
from typing import final

from jaxsched._base.arguments import (
    Count,
    Real,
    StaticCount,
    Strategy,
    integer,
    is_array,
    one_of,
    real,
)
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course
from jaxsched._base.value import argument


@final
class CosineAnnealingLR(Schedule):
    """Moves the learning rate from `base_lr` to `eta_min` along a cosine, then back, and so on.

    After `T_max` the learning rate rises again, as in torch. To hold `eta_min` instead, wrap the
    schedule: `js.clamp(schedule, T_max)`.

    For `CosineAnnealingLR(0.1, T_max=4)`:

    ```text
    lr = 0.1, 0.0854, 0.05, 0.0146    at counts 0, 1, 2, 3
    lr = 0                            at count 4
    lr = 0.0146, 0.05, 0.0854, 0.1    at counts 5, 6, 7, 8, where it rises again
    ```

    Formula: `eta_min + (base_lr - eta_min) * sin(pi / 2 * (T_max - count) / T_max) ** 2`. The
    square equals torch's `(1 + cos(pi * count / T_max)) / 2`, which loses digits near `T_max`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        T_max: counts (epochs or updates) from `base_lr` to `eta_min`, an integer >= 1.
        eta_min: learning rate at `T_max`, >= 0. If it is above `base_lr`, the learning rate rises
            first.

    torch computes each learning rate from the last one. This recursion drifts from torch's own
    closed form, by 6e-13 after 2,000 counts with T_max=7. Here it is the closed form. For a cosine
    with restarts see `CosineAnnealingWarmRestarts`.

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

    def _value(self, count, fraction, ops):
        t = ops.remainder(count, 2 * self.T_max)
        left = ops.where(t < self.T_max, self.T_max - t - fraction, t - self.T_max + fraction)
        left = ops.ratio(left, self.T_max)
        return self.eta_min + (self.base_lr - self.eta_min) * ops.half_wave(left)

    def _course(self, dtype):
        return Course(range(2 * self.T_max), 2 * self.T_max)

    def _length(self, down_to):
        return self.T_max

    @property
    def _is_factor(self):
        return not is_array(self.eta_min) and self.eta_min == 0


@final
class CosineAnnealingWarmRestarts(Schedule):
    """Lowers the learning rate along a cosine, in cycles that each start again at `base_lr`.

    For `CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2)`:

    ```text
    lr = 0.1, 0.05                    at counts 0, 1
    lr = 0.1, 0.0854, 0.05, 0.0146    at counts 2, 3, 4, 5
    lr = 0.1, ...                     at counts 6, ..., 13
    ```

    Formula: `eta_min + (base_lr - eta_min) * sin(pi / 2 * (T_i - t) / T_i) ** 2`, where cycle i has
    `T_i = T_0 * T_mult ** i` counts and t is the number of counts since it started. The learning
    rate comes close to `eta_min` and does not reach it.

    Args:
        base_lr: learning rate at the start of each cycle, >= 0.
        T_0: counts (epochs or updates) in the first cycle, an integer >= 1.
        T_mult: length of each cycle over the length of the one before, an integer >= 1. Not an
            array or tracer.
        eta_min: learning rate that each cycle approaches, >= 0.

    torch's `step(epoch)` finds the cycle by a logarithm, which is wrong at some epochs: at 111, for
    T_0=1 and T_mult=10. Here the cycle is found in integers. For torch's `step(epoch + i / iters)`
    see `smooth_epochs`.

    Source: `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, torch 2.13; Loshchilov and
    Hutter, SGDR, arXiv:1608.03983.

    >>> import jaxsched as js
    >>> schedule = js.CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2)
    >>> [round(schedule(count), 4) for count in range(7)]
    [0.1, 0.05, 0.1, 0.0854, 0.05, 0.0146, 0.1]
    """

    base_lr: Real = argument(real(at_least=0))
    T_0: Count = argument(integer(at_least=1))
    T_mult: StaticCount = argument(integer(at_least=1), default=1, static=True)
    eta_min: Real = argument(real(at_least=0), default=0.0)

    def _value(self, count, fraction, ops):
        if self.T_mult == 1:
            t = ops.remainder(count, self.T_0) + fraction
            left = ops.ratio(self.T_0 - t, self.T_0)
        else:
            # In counts if T_0 is a number, in lengths of the first cycle if it is an array.
            at, unit = (
                (ops.quotient(count, self.T_0), self.T_0) if is_array(self.T_0) else (count, 1)
            )
            starts, inverses = self._cycles
            start = unit * ops.latest(starts, starts, at)
            t = count - start + fraction
            # A cycle starts after T_0 * (1 + T_mult + ...) = (length - T_0) / (T_mult - 1).
            length = start * (self.T_mult - 1.0) + self.T_0
            # Not over the length: XLA for CPU makes a kernel of its own of such a division.
            left = ops.ratio((length - t) * ops.latest(inverses, starts, at), unit)
        return self.eta_min + (self.base_lr - self.eta_min) * ops.half_wave(left)

    def _course(self, dtype):
        return Course(range(self.T_0), self.T_0) if self.T_mult == 1 else None

    def _length(self, down_to):
        return self.T_0

    @functools.cached_property
    def _cycles(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Where each cycle starts, if that fits in 63 bits, and 1 over its length."""
        first = 1 if is_array(self.T_0) else self.T_0
        starts = [0]
        while (start := starts[-1] * self.T_mult + first) < 2**63:
            starts.append(start)
        return tuple(starts), tuple(1 / (first * self.T_mult**i) for i in range(len(starts)))


@final
class SWALR(Schedule):
    """Moves the learning rate from `base_lr` to `swa_lr` and holds it, for weight averaging.

    For `SWALR(0.1, swa_lr=0.05, anneal_epochs=4, anneal_strategy="linear")`:

    ```text
    lr = 0.1, 0.0875, 0.075, 0.0625    at counts 0, 1, 2, 3
    lr = 0.05                          for 4 <= count
    ```

    Formula: `swa_lr + (base_lr - swa_lr) * x` for "linear", and
    `swa_lr + (base_lr - swa_lr) * sin(pi / 2 * x) ** 2` for "cos", where x is
    `max(anneal_epochs - count, 0) / anneal_epochs`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        swa_lr: learning rate from `anneal_epochs` on, >= 0.
        anneal_epochs: counts (epochs or updates) from `base_lr` to `swa_lr`, an integer >= 0. With
            0 the learning rate is `swa_lr` from count 0 on.
        anneal_strategy: "cos" or "linear".

    torch's SWALR starts from the learning rate that another scheduler left in the optimizer. Here
    put it after that schedule with `SequentialLR`, and give its start as `base_lr`.

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

    def _value(self, count, fraction, ops):
        total = self.anneal_epochs
        length = ops.maximum(total, 1) if is_array(total) else max(total, 1)
        left = ops.ratio(total - ops.minimum(count + fraction, total), length)
        if self.anneal_strategy == "cos":
            left = ops.half_wave(left)
        return self.swa_lr + (self.base_lr - self.swa_lr) * left

    def _course(self, dtype):
        return Course(range(self.anneal_epochs + 1))
