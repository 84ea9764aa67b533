"""Schedules made of schedules."""

import dataclasses
import functools
from typing import Any, final

import numpy as np

from jaxsched._base.arguments import (
    Count,
    Counts,
    has_arrays,
    integer,
    integers,
    is_array,
)
from jaxsched._base.members import Member, Members, as_schedule, as_schedules, shorten
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course
from jaxsched._base.value import argument


@final
class SequentialLR(Schedule):
    """Runs one schedule after another; each counts from 0 when it starts.

    For `SequentialLR([LinearLR(0.1, 0.5, 1.0, 2), StepLR(0.1, 3)], milestones=[2])`:

    ```text
    lr = 0.05, 0.075      at counts 0, 1:    counts 0, 1 of the first member
    lr = 0.1, 0.1, 0.1    at counts 2, 3, 4: counts 0, 1, 2 of the second member
    lr = 0.01 ...         from count 5 on:   counts 3 ... of the second member
    ```

    Formula: `schedulers[i](count - milestones[i - 1])`, where i is the number of milestones <=
    count. The first member receives the count itself.

    Args:
        schedulers: the members, one or more: schedules or callables `count -> value`.
        milestones: counts of this schedule at which the next member starts, integers >= 0. There is
            one fewer than members, and each is above the one before. If the first milestone is 0,
            the first member never runs.

    Raises:
        TypeError, ValueError: a member is stateful, as ReduceLROnPlateau is; or a milestone is
            negative, fractional or out of order. torch accepts such milestones and runs another
            schedule.

    A SequentialLR inside another gives the same as one list of all members. In torch the inner one
    starts one step early, or fails. Every member starts from its own `base_lr`. In torch a
    MultiplicativeLR or SWALR that is not the first member goes on from the last learning rate, and
    beside a OneCycleLR, or after a CyclicLR, other members start from its first learning rate.

    Source: `torch.optim.lr_scheduler.SequentialLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.SequentialLR([js.LinearLR(0.1, 0.5, 1.0, 2), js.StepLR(0.1, 3)], [2])
    >>> [round(schedule(count), 6) for count in range(6)]
    [0.05, 0.075, 0.1, 0.1, 0.1, 0.01]
    """

    _is_factor = True

    schedulers: Members = argument(as_schedules)
    milestones: Counts = argument(integers(at_least=0, ordered=True))

    def __post_init__(self):
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"`milestones` must be one fewer than the {len(self.schedulers)} `schedulers`, got "
                f"{len(self.milestones)}"
            )
        pairs = zip(self.milestones, self.milestones[1:], strict=False)
        if not has_arrays(self.milestones) and any(a >= b for a, b in pairs):
            raise ValueError(f"`milestones` must increase strictly, got {self.milestones}")

    def _value(self, count, fraction, ops):
        starts, schedulers = self._starts, self.schedulers
        if ops.dtype is not None and len(starts) > 2 and isinstance(fraction, int):
            if self._head._table(ops.dtype) is not None:
                starts, schedulers = (0, starts[-1]), (self._head, schedulers[-1])

        def of_member(i, count, fraction):
            return schedulers[i]._at(count, fraction, ops)

        return ops.choose(starts, of_member, count, fraction)

    @functools.cached_property
    def _starts(self) -> tuple[Any, ...]:
        return 0, *self.milestones

    @functools.cached_property
    def _head(self) -> Schedule:
        """All members but the last, as one schedule."""
        head = SequentialLR(self.schedulers[:-1], self.milestones[:-1])
        return clamp(head, self.milestones[-1] - 1)

    def _course(self, dtype):
        last = self.schedulers[-1]._course(dtype)
        if last is None or last.period:
            return None
        return Course(range(self._starts[-1] + last.starts[-1] + 1))

    def _length(self, down_to):
        return self._starts[-1]


@final
class ChainedScheduler(Schedule):
    """Multiplies the factors of several schedules, which all run at the same count.

    For `ChainedScheduler([ConstantLR(0.1, 0.5, 2), StepLR(0.1, 3)])`:

    ```text
    lr = 0.05, 0.05, 0.1    at counts 0, 1, 2
    lr = 0.01               at counts 3, 4, 5
    ```

    Formula: `base_lr * product(factors)`, where the factor of a member is its value with a base_lr
    of 1.

    Args:
        schedulers: the members, one or more. All have the same `base_lr`, and each is `base_lr`
            times a factor: StepLR, MultiStepLR, ConstantLR, LinearLR, ExponentialLR, PolynomialLR,
            MultiplicativeLR, CosineAnnealingLR with eta_min=0, and `per_epoch`, `smooth_epochs`,
            `clamp`, SequentialLR and ChainedScheduler of these.

    Raises:
        ValueError: another class is a member, or the members differ in `base_lr`. With other
            members torch's result depends on their order and can fall below 0. To get that result,
            record it: `from_torch(scheduler, counts=n)` makes a `RecordedLR`.

    After the `T_max` of a cosine, and after a milestone of a SequentialLR in the chain, torch's
    result is no longer the product. Here it is the product at every count.

    Source: `torch.optim.lr_scheduler.ChainedScheduler`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.ChainedScheduler([js.ConstantLR(0.1, 0.5, 2), js.StepLR(0.1, 3)])
    >>> [round(schedule(count), 6) for count in range(4)]
    [0.05, 0.05, 0.1, 0.01]
    """

    _is_factor = True

    schedulers: Members = argument(as_schedules)

    def __post_init__(self):
        for schedule in self._walk():
            if not schedule._is_factor:
                raise ValueError(
                    f"`schedulers` must each be base_lr times a factor, got {shorten(schedule)}. "
                    "What torch makes of others depends on their order: replay its own values with "
                    "RecordedLR, which from_torch(scheduler, counts=n) makes"
                )
        numbers = {base_lr for base_lr in self._base_lrs if not is_array(base_lr)}
        if len(numbers) > 1:
            raise ValueError(f"`schedulers` must have one base_lr, got {sorted(numbers)}")

    def _value(self, count, fraction, ops):
        in_double = ops.in_double
        factors = [factor._at(count, fraction, in_double) for factor in self._factors]
        return ops.product(self._base_lrs[0], *factors)

    def _course(self, dtype):
        last = 0
        for schedule in self.schedulers:
            course = schedule._course(dtype)
            if course is None or course.period:
                return None
            last = max(last, course.starts[-1])
        # A member may reach 0 or inf only because of its dtype. Then the product changes after
        # `last`, too, unless it is 0 itself.
        with np.errstate(over="ignore"):
            ends = np.array([schedule(last) for schedule in self.schedulers]).astype(dtype)
            is_zero = np.array(self(last)).astype(dtype) == 0
        is_over = np.isin(ends, (0, np.inf)).any()
        return None if is_over and not is_zero else Course(range(last + 1))

    def _length(self, down_to):
        return 0  # its members have their own

    @functools.cached_property
    def _base_lrs(self) -> list[Any]:
        return [m.base_lr for m in self._walk() if "base_lr" in m._checks]  # pyright: ignore[reportAttributeAccessIssue]

    @functools.cached_property
    def _factors(self) -> tuple[Schedule, ...]:
        """The members, each with a base_lr of 1."""

        def factor(schedule: Any) -> Any:
            has_one = "base_lr" in schedule._checks
            return dataclasses.replace(schedule, base_lr=1.0) if has_one else schedule

        return tuple(schedule._rebuilt(factor) for schedule in self.schedulers)


@final
class clamp(Schedule):
    """Holds a schedule's value from `last_count` on.

    For `clamp(CosineAnnealingLR(0.1, T_max=2), last_count=2)`:

    ```text
    lr = 0.1, 0.05    at counts 0, 1
    lr = 0            for 2 <= count, where the cosine alone would rise again
    ```

    Formula: `schedule(min(count, last_count))`.

    Args:
        schedule: a schedule or a callable `count -> value`.
        last_count: the count whose value holds, in the unit of the schedule, an integer >= 0.

    torch has no such class. In torch the loop stops calling `scheduler.step()` at that count.

    >>> import jaxsched as js
    >>> schedule = js.clamp(js.CosineAnnealingLR(0.1, T_max=2), last_count=2)
    >>> [round(schedule(count), 4) for count in range(5)]
    [0.1, 0.05, 0.0, 0.0, 0.0]
    """

    _is_factor = True

    schedule: Member = argument(as_schedule)
    last_count: Count = argument(integer(at_least=0))

    def _value(self, count, fraction, ops):
        if not isinstance(fraction, int):
            fraction = ops.where(count < self.last_count, fraction, 0.0)
        return self.schedule._at(ops.minimum(count, self.last_count), fraction, ops)

    def _course(self, dtype):
        return Course(range(self.last_count + 1))

    def _length(self, down_to):
        return 0  # its member has its own
