"""Schedules made of schedules."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, final

import jax
import numpy as np

from jaxsched._arguments import Count, Counts, argument, has_arrays, integer, integers, is_array
from jaxsched._schedule import Member, Members, Schedule, member, members, shorten


@final
class SequentialLR(Schedule):
    """Runs one schedule after another, each on its own clock.

    For `SequentialLR([LinearLR(0.1, 0.5, 1.0, 2), StepLR(0.1, 3)], milestones=[2])`:

        lr = 0.05, 0.075       at counts 0, 1: the first one's 0, 1
        lr = 0.1, 0.1, 0.1     at counts 2, 3, 4: the second one's 0, 1, 2
        lr = 0.01 ...          from count 5, the second one's 3

    Formula: `schedulers[i](count - milestones[i - 1])`, where i milestones are <= count.

    Args:
        schedulers: the members, one or more: schedules or callables `count -> value`.
        milestones: counts (of this schedule) at which the next member takes over, integers >= 0,
            one fewer than the members and each above the last. After a milestone 0 the first member
            never runs.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`).

    Raises:
        TypeError, ValueError: an argument is not as above, or a member is stateful, as
            ReduceLROnPlateau is. torch takes milestones that are negative, fractional or out of
            order, and runs some other schedule.

    Nested or flat is the same here; torch starts nested ones a step early, or fails. A
    MultiplicativeLR starts from its base_lr like any other; torch's goes on from the current one.

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
        """All members but the last, as one."""
        head = SequentialLR(self.schedulers[:-1], self.milestones[:-1])
        return clamp(head, self.milestones[-1] - 1)

    def _course(self, dtype):
        last = self.schedulers[-1]._course(dtype)
        if last is None or last[1]:
            return None
        return range(max(self.milestones, default=0) + last[0][-1] + 1), 0


@final
class ChainedScheduler(Schedule):
    """Multiplies the factors of several schedules, all on one clock.

    For `ChainedScheduler([ConstantLR(0.1, 0.5, 2), StepLR(0.1, 3)])`:

        lr = 0.05, 0.05, 0.1    at counts 0, 1, 2
        lr = 0.01               at counts 3, 4, 5

    Formula: `base_lr * product(member(count) / base_lr)`, without the divisions.

    Args:
        schedulers: the members, one or more, all with the same base_lr, each base_lr times a
            factor: StepLR, MultiStepLR, ConstantLR, LinearLR, ExponentialLR, PolynomialLR,
            MultiplicativeLR, CosineAnnealingLR with eta_min=0, and `per_epoch`, `smooth_epochs`,
            `clamp`, SequentialLR and ChainedScheduler of those.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`).

    Raises:
        TypeError, ValueError: an argument is not as above. With other members torch's result
            depends on their order and can go below 0; record it (`RecordedLR`) to have it.

    Past the T_max of a cosine torch leaves the product; this is the product.

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
                    "RecordedLR (from_torch is to record them)"
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
        # A member that only runs out of digits, to 0 or inf, goes on in a product that does not.
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
        """The members with a base_lr of 1."""
        return jax.tree.map(
            lambda x: dataclasses.replace(x, base_lr=1.0) if hasattr(x, "base_lr") else x,
            self.schedulers,
            is_leaf=lambda x: hasattr(x, "base_lr"),
        )


@final
class clamp(Schedule):
    """Holds a schedule's value from `last_count` on.

    For `clamp(CosineAnnealingLR(0.1, T_max=2), last_count=2)`:

        lr = 0.1, 0.05    at counts 0, 1
        lr = 0            for 2 <= count, where the cosine alone would rise again

    Formula: `schedule(min(count, last_count))`.

    Args:
        schedule: what to run: a schedule or a callable `count -> value`.
        last_count: the count (in the schedule's unit) whose value holds, an integer >= 0.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`). `last_count` may be an array or tracer, unchecked.

    Raises:
        TypeError, ValueError: an argument is not as above.

    torch has no such class: there one stops to call `scheduler.step()`.

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
