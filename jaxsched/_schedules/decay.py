"""Schedules that multiply the learning rate by a factor: steps, ramps, powers."""

from typing import final

from jaxsched._base.arguments import Count, Counts, Real, integer, integers, real
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course, decay_places, decays
from jaxsched._base.value import argument

_AT_LEAST_ONE = integer(at_least=1, hint="leave this schedule out to start without it")


@final
class StepLR(Schedule):
    """Multiplies the learning rate by `gamma` every `step_size` counts.

    For `StepLR(0.05, step_size=30)`:

    ```text
    lr = 0.05      for  0 <= count < 30
    lr = 0.005     for 30 <= count < 60
    lr = 0.0005    for 60 <= count < 90
    ```

    Formula: `base_lr * gamma ** (count // step_size)`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        step_size: counts (epochs or updates) between decays, an integer >= 1.
        gamma: factor of each decay, >= 0.

    Raises:
        TypeError, ValueError: `step_size` is fractional, or below 1. torch fails at the first step
            if it is 0, ignores the sign, and decays at other counts if it is fractional.

    Source: `torch.optim.lr_scheduler.StepLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.StepLR(0.1, step_size=5)
    >>> [schedule(count) for count in (0, 4, 5, 10)]
    [0.1, 0.1, 0.010000000000000002, 0.0010000000000000002]
    """

    _is_factor, _is_smooth = True, False

    base_lr: Real = argument(real(at_least=0))
    step_size: Count = argument(integer(at_least=1))
    gamma: Real = argument(real(at_least=0), default=0.1)

    def _value(self, count, fraction, ops):
        return ops.decay(self.base_lr, self.gamma, ops.quotient(count, self.step_size))

    def _course(self, dtype):
        places = decay_places(self.base_lr, self.gamma, dtype)
        return Course(range(0, places * self.step_size, self.step_size))

    def _length(self, down_to):
        return self.step_size * decays(self.gamma, down_to)


@final
class MultiStepLR(Schedule):
    """Multiplies the learning rate by `gamma` at each milestone.

    For `MultiStepLR(0.05, milestones=[30, 80])`:

    ```text
    lr = 0.05      for       count < 30
    lr = 0.005     for 30 <= count < 80
    lr = 0.0005    for 80 <= count
    ```

    Formula: `base_lr * gamma ** k`, where k is the number of milestones <= count.

    Args:
        base_lr: learning rate before the first milestone, >= 0.
        milestones: counts (epochs or updates) at which the learning rate decays, integers >= 0 in
            any order. A milestone given twice decays twice. Without milestones the learning rate
            stays at `base_lr`. Kept as a sorted tuple.
        gamma: factor of each decay, >= 0.

    Raises:
        TypeError, ValueError: a milestone is fractional, or below 0. torch accepts it and never
            decays there. Or `milestones` is a mapping, as optax's boundaries and scales are.

    Source: `torch.optim.lr_scheduler.MultiStepLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.MultiStepLR(0.1, milestones=[100, 150])
    >>> [schedule(count) for count in (99, 100, 150)]
    [0.1, 0.010000000000000002, 0.0010000000000000002]
    """

    _is_factor, _is_smooth = True, False

    base_lr: Real = argument(real(at_least=0))
    milestones: Counts = argument(integers(at_least=0, ordered=False))
    gamma: Real = argument(real(at_least=0), default=0.1)

    def _value(self, count, fraction, ops):
        return ops.decay(self.base_lr, self.gamma, ops.passed(self.milestones, count))

    def _course(self, dtype):
        return Course((0, *self.milestones))


@final
class ConstantLR(Schedule):
    """Multiplies the learning rate by `factor` for the first `total_iters` counts.

    For `ConstantLR(0.05, factor=0.5, total_iters=40)`:

    ```text
    lr = 0.025     for       count < 40
    lr = 0.05      for 40 <= count
    ```

    Formula: `base_lr * factor` while `count < total_iters`, then `base_lr`.

    Args:
        base_lr: learning rate from count `total_iters` on, >= 0.
        factor: factor of the learning rate before that, from 0 to 1.
        total_iters: counts (epochs or updates) with the factor, an integer >= 1.

    Raises:
        ValueError: `total_iters` is 0. torch accepts it and keeps the factor for ever. To start
            without the factor, leave this schedule out.

    A `factor` of 0 works here. torch accepts it and divides by zero later.

    Source: `torch.optim.lr_scheduler.ConstantLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.ConstantLR(0.05, factor=0.5, total_iters=40)
    >>> schedule(39), schedule(40)
    (0.025, 0.05)
    """

    _is_factor, _is_smooth = True, False

    base_lr: Real = argument(real(at_least=0))
    factor: Real = argument(real(at_least=0, at_most=1), default=1 / 3)
    total_iters: Count = argument(_AT_LEAST_ONE, default=5)

    def _value(self, count, fraction, ops):
        return self.base_lr * ops.where(count < self.total_iters, self.factor, 1.0)

    def _course(self, dtype):
        return Course((0, self.total_iters))


@final
class LinearLR(Schedule):
    """Moves the factor of the learning rate linearly from `start_factor` to `end_factor`.

    For `LinearLR(0.05, start_factor=0.5, total_iters=4)`:

    ```text
    lr = 0.025, 0.03125, 0.0375, 0.04375    at counts 0, 1, 2, 3
    lr = 0.05                               for 4 <= count
    ```

    Formula: `base_lr * (start_factor * (T - t) + end_factor * t) / T`, where T is `total_iters` and
    t is `min(count, T)`.

    Args:
        base_lr: learning rate that the factors multiply, >= 0.
        start_factor: factor at count 0, from 0 to 1.
        end_factor: factor from `total_iters` on, from 0 to 1.
        total_iters: counts (epochs or updates) from start to end, an integer >= 1.

    Raises:
        ValueError: `total_iters` is 0. torch accepts it and keeps `start_factor` for ever. To start
            without a warmup, leave this schedule out.

    A `start_factor` of 0 is a warmup from 0. torch refuses it, because its recursion divides by
    `start_factor`.

    Source: `torch.optim.lr_scheduler.LinearLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.LinearLR(0.05, start_factor=0.5, total_iters=4)
    >>> [round(schedule(count), 5) for count in range(6)]
    [0.025, 0.03125, 0.0375, 0.04375, 0.05, 0.05]
    """

    _is_factor = True

    base_lr: Real = argument(real(at_least=0))
    start_factor: Real = argument(real(at_least=0, at_most=1), default=1 / 3)
    end_factor: Real = argument(real(at_least=0, at_most=1), default=1.0)
    total_iters: Count = argument(_AT_LEAST_ONE, default=5)

    def _value(self, count, fraction, ops):
        total = self.total_iters
        t = ops.minimum(count + fraction, total)
        return self.base_lr * ((self.start_factor * (total - t) + self.end_factor * t) / total)

    def _course(self, dtype):
        return Course(range(self.total_iters + 1))


@final
class ExponentialLR(Schedule):
    """Multiplies the learning rate by `gamma` at every count.

    For `ExponentialLR(0.05, gamma=0.5)`:

    ```text
    lr = 0.05, 0.025, 0.0125, 0.00625 ...    at counts 0, 1, 2, 3 ...
    ```

    Formula: `base_lr * gamma ** count`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        gamma: factor of each count (epoch or update), >= 0.

    Raises:
        ValueError: `gamma` is negative. torch accepts it, and its learning rate changes its sign at
            every step.

    Source: `torch.optim.lr_scheduler.ExponentialLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.ExponentialLR(0.05, gamma=0.5)
    >>> [schedule(count) for count in range(4)]
    [0.05, 0.025, 0.0125, 0.00625]
    """

    _is_factor = True

    base_lr: Real = argument(real(at_least=0))
    gamma: Real = argument(real(at_least=0))

    def _value(self, count, fraction, ops):
        return ops.decay(self.base_lr, self.gamma, count + fraction)

    def _course(self, dtype):
        return Course(range(decay_places(self.base_lr, self.gamma, dtype)))

    def _length(self, down_to):
        return decays(self.gamma, down_to)


@final
class PolynomialLR(Schedule):
    """Lowers the learning rate to 0 as a power of the part of the counts that is left.

    For `PolynomialLR(0.05, total_iters=4)`:

    ```text
    lr = 0.05, 0.0375, 0.025, 0.0125    at counts 0, 1, 2, 3
    lr = 0                              for 4 <= count
    ```

    Formula: `base_lr * ((T - t) / T) ** power`, where T is `total_iters` and t is `min(count, T)`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        total_iters: counts (epochs or updates) until the learning rate is 0, an integer >= 1.
        power: exponent, >= 0. 1 is a straight line, 0 is a constant.

    Raises:
        ValueError: `power` is negative, where torch divides by zero at the end. Or `total_iters` is
            0, where torch stays at `base_lr` for ever.

    Source: `torch.optim.lr_scheduler.PolynomialLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.PolynomialLR(0.05, total_iters=4)
    >>> [round(schedule(count), 4) for count in range(6)]
    [0.05, 0.0375, 0.025, 0.0125, 0.0, 0.0]
    """

    _is_factor = True

    base_lr: Real = argument(real(at_least=0))
    total_iters: Count = argument(_AT_LEAST_ONE, default=5)
    power: Real = argument(real(at_least=0), default=1.0)

    def _value(self, count, fraction, ops):
        total = self.total_iters
        left = ops.ratio(total - ops.minimum(count + fraction, total), total)
        return self.base_lr * ops.power(left, self.power)

    def _course(self, dtype):
        return Course(range(self.total_iters + 1))
