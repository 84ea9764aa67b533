"""Schedules made of schedules."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, final

import jax
import numpy as np

from jaxsched._base.arguments import (
    Count,
    Counts,
    argument,
    has_arrays,
    integer,
    integers,
    is_array,
)
from jaxsched._base.schedule import Member, Members, Schedule, member, members, shorten


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
    MultiplicativeLR or SWALR that is not the first member goes on from the last learning rate.

    Source: `torch.optim.lr_scheduler.SequentialLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.SequentialLR([js.LinearLR(0.1, 0.5, 1.0, 2), js.StepLR(0.1, 3)], [2])
    >>> [round(schedule(count), 6) for count in range(6)]
    [0.05, 0.075, 0.1, 0.1, 0.1, 0.01]
    """

    _is_factor = True

    schedulers: Members = argument(members)
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

    def _value(self, count, part, ops):
        starts, schedulers = (0, *self.milestones), self.schedulers
        if len(schedulers) > 2 and isinstance(part, int) and ops.is_table(self._head):
            starts, schedulers = (0, starts[-1]), (self._head, schedulers[-1])
        formulas = [
            lambda count, part, start=start, member=member: ops.value(
                member, ops.maximum(count, start) - start, part
            )
            for start, member in zip(starts, schedulers, strict=True)
        ]
        return ops.choose(starts[1:], formulas, count, part)

    @functools.cached_property
    def _head(self) -> Schedule:
        """All members but the last, as one schedule."""
        head = SequentialLR(self.schedulers[:-1], self.milestones[:-1])
        return clamp(head, self.milestones[-1] - 1)

    def _course(self, dtype):
        last = self.schedulers[-1]._course(dtype)
        if last is None or last[1]:
            return None
        return range(max(self.milestones, default=0) + last[0][-1] + 1), 0


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

    After the `T_max` of a cosine torch's result is no longer the product. Here it is the product at
    every count.

    Source: `torch.optim.lr_scheduler.ChainedScheduler`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.ChainedScheduler([js.ConstantLR(0.1, 0.5, 2), js.StepLR(0.1, 3)])
    >>> [round(schedule(count), 6) for count in range(4)]
    [0.05, 0.05, 0.1, 0.01]
    """

    _is_factor = True

    schedulers: Members = argument(members)

    def __post_init__(self):
        for part in self._parts():
            if not part._is_factor:
                raise ValueError(
                    f"`schedulers` must each be base_lr times a factor, got {shorten(part)}. What "
                    "torch makes of others depends on their order: replay its own values with "
                    "RecordedLR, which from_torch(scheduler, counts=n) makes"
                )
        numbers = {base_lr for base_lr in self._base_lrs if not is_array(base_lr)}
        if len(numbers) > 1:
            raise ValueError(f"`schedulers` must have one base_lr, got {sorted(numbers)}")

    def _value(self, count, part, ops):
        factors = [ops.in_double.value(factor, count, part) for factor in self._factors]
        return ops.product(self._base_lrs[0], *factors)

    def _course(self, dtype):
        last = 0
        for schedule in self.schedulers:
            course = schedule._course(dtype)
            if course is None or course[1]:
                return None
            last = max(last, course[0][-1])
        # A member may reach 0 or inf only because of its dtype. Then the product changes after
        # `last`, too, unless it is 0 itself.
        with np.errstate(over="ignore"):
            ends = np.array([part(last) for part in self.schedulers]).astype(dtype)
            is_zero = np.array(self(last)).astype(dtype) == 0
        is_over = np.isin(ends, (0, np.inf)).any()
        return None if is_over and not is_zero else (range(last + 1), 0)

    @functools.cached_property
    def _base_lrs(self) -> list[Any]:
        parts = [part for part in self._parts() if hasattr(part, "base_lr")]
        return [part.base_lr for part in parts]  # pyright: ignore[reportAttributeAccessIssue]

    @functools.cached_property
    def _factors(self) -> tuple[Schedule, ...]:
        """The members, each with a base_lr of 1."""
        return jax.tree.map(
            lambda x: dataclasses.replace(x, base_lr=1.0) if hasattr(x, "base_lr") else x,
            self.schedulers,
            is_leaf=lambda x: hasattr(x, "base_lr"),
        )


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

    schedule: Member = argument(member)
    last_count: Count = argument(integer(at_least=0))

    def _value(self, count, part, ops):
        if not isinstance(part, int):
            part = ops.where(count < self.last_count, part, 0.0)
        return ops.value(self.schedule, ops.minimum(count, self.last_count), part)

    def _course(self, dtype):
        return range(self.last_count + 1), 0
