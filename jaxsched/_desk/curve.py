"""What the tools share: a schedule's curve on the host, where its parts are, what is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import Function, integer, is_array
from jaxsched._base.hints import describe
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule, as_schedule
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR, clamp
from jaxsched._schedules.cycle import OneCycleLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, StepLR
from jaxsched._schedules.epochs import per_epoch, smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau
from jaxsched._stack import unstack

MOST_COUNTS = 10**7
"""The largest number of counts in a curve."""
_MOST_VALUES = 10**9
"""The largest number of values in a curve, those of members included: a minute or so."""
MOST_TABULATED = 10**6
"""The largest number of counts for which a tool calls a function or tries an explanation."""


AnySchedule = Schedule | Function | ReduceLROnPlateau
EpochLengths = int | Sequence[int]


class Finding(NamedTuple):
    """What `check` finds in a schedule, and `compare` in a difference: three strings.

    ```text
    code       a short name that stays the same, as "milestone-never-reached"
    message    what is the case, in one sentence with its numbers
    advice     what to change
    ```

    `str(finding)` is all three in one line.
    """

    __module__ = "jaxsched"

    code: str
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.advice}"


def size(name: str, value: Any) -> int:
    """An integer >= 1, and no array: a number of counts, or of updates in an epoch."""
    if is_array(value):
        raise TypeError(f"`{name}` must be an integer >= 1, got {describe(value)}")
    return integer(at_least=1)(name, value)


def concrete(schedule: Any) -> Any:
    """The schedule or function, with Python's numbers in the place of scalar arrays."""
    if isinstance(schedule, ReduceLROnPlateau):
        raise TypeError(
            f"`schedule` must be a function of a count, got {describe(schedule)}, whose learning "
            "rates depend on a metric"
        )
    if not isinstance(schedule, Schedule):
        as_schedule("schedule", schedule)  # refuses what is no function
    elif not schedule._is_concrete:
        one = jax.tree.map(lambda x: np.asarray(x)[None], schedule)
        try:
            (schedule,) = unstack(one)
        except (TypeError, ValueError):
            pass
        if not schedule._is_concrete:
            raise ValueError(
                "`schedule` must be one schedule, got one that holds arrays, as many that are "
                "stacked do: take one of jaxsched.unstack(schedule)"
            )
    return schedule


def curve(schedule: Any, num_counts: Any) -> np.ndarray:
    """The learning rates at counts 0 to num_counts - 1, in double precision.

    A function that is no schedule, such as an optax schedule, is called as an optimizer calls it,
    inside `jit`, if JAX can trace it.
    """
    schedule, num_counts = concrete(schedule), size("num_counts", num_counts)
    if num_counts > MOST_COUNTS:
        raise ValueError(f"`num_counts` must be at most {MOST_COUNTS:,}, got {num_counts:,}")
    parts = len([*schedule._walk()]) if isinstance(schedule, Schedule) else 1
    if num_counts * parts > _MOST_VALUES:
        raise ValueError(
            f"`num_counts` must be at most {_MOST_VALUES // parts:,} for a schedule of {parts:,} "
            f"parts, got {num_counts:,}"
        )
    counts = np.arange(num_counts)
    try:
        if isinstance(schedule, Schedule):
            return schedule(counts)
        try:
            with jax.numpy_dtype_promotion("standard"):
                lrs = jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32))
        except jax.errors.JAXTypeError:
            lrs = as_schedule("schedule", schedule)(counts)
        return np.asarray(lrs, np.float64).reshape(num_counts)
    except Exception as error:  # of the user's function
        raise ValueError(
            f"`schedule` must give one number for each count, got {type(error).__name__}: {error}"
        ) from error


class Placed(NamedTuple):
    """A schedule in a schedule, and where it is."""

    schedule: Schedule
    at: Callable[[int], int]
    """The count of the whole at which this schedule is at its own count."""
    stop: float
    """The count of the whole from which it has no effect."""
    adapter: per_epoch | smooth_epochs | None
    """What turns its epochs into updates."""


def placed(
    schedule: Schedule,
    at: Callable[[int], int] = lambda count: count,
    stop: float = math.inf,
    adapter: per_epoch | smooth_epochs | None = None,
) -> Iterator[Placed]:
    """The schedule, its members, their members, and so on, each with its own clock and unit."""
    yield Placed(schedule, at, stop, adapter)
    match schedule:
        case SequentialLR(schedulers=members, milestones=milestones):
            stops = [*map(at, milestones), math.inf]
            for inner, start, end in zip(members, (0, *milestones), stops, strict=True):
                shifted = lambda count, start=start: at(start + count)  # noqa: E731
                yield from placed(inner, shifted, min(stop, end), adapter)
        case ChainedScheduler(schedulers=members):
            for inner in members:
                yield from placed(inner, at, stop, adapter)
        case clamp(schedule=inner, last_count=last):
            yield from placed(inner, at, min(stop, at(last + 1)), adapter)
        case per_epoch(schedule=inner) | smooth_epochs(schedule=inner):
            clock = schedule._clock
            in_updates = lambda epoch: at(clock.first_update(epoch, PYTHON))  # noqa: E731
            yield from placed(inner, in_updates, stop, schedule)


def is_warmup(member: Any) -> TypeGuard[ConstantLR | LinearLR]:
    return isinstance(member, ConstantLR) or (
        isinstance(member, LinearLR) and member.start_factor < member.end_factor
    )


def epoch_lengths(schedule: Any) -> set[int | tuple[int, ...]]:
    """The `steps_per_epoch` that it names. If there are any, its counts are updates."""
    found = set()
    for member in schedule._walk() if isinstance(schedule, Schedule) else ():
        if isinstance(member, (per_epoch, smooth_epochs)):
            found.add(member.steps_per_epoch)
        elif isinstance(member, OneCycleLR) and member.total_steps is None:
            found.add(member.steps_per_epoch)
    return found


def default_counts(schedule: Schedule) -> int:
    """A bit past the last change, or one period, or until little is left; else 100."""
    counts = 0
    for member in placed(schedule):
        inner: Any = member.schedule
        if n := inner._length(0.01):
            after = member.at(n + (inner.step_size if isinstance(inner, StepLR) else 1))
            if isinstance(member.adapter, smooth_epochs):
                after = member.at(n) + 1
            counts = max(counts, int(min(after, member.stop)))
    counts = counts or 100
    return min(counts + counts // 20 + 1 if holds(schedule, counts) else counts, 10**6)


def holds(schedule: Schedule, num_counts: int) -> bool:
    """Whether the last value of that many counts stays."""
    course = schedule._course(np.float64)
    return course is not None and not course.period and course.starts[-1] < num_counts


def epoch_length(schedule: Any, steps_per_epoch: Any) -> int | None:
    """Updates in an epoch: as given, or the one that the schedule names."""
    if steps_per_epoch is not None:
        return size("steps_per_epoch", steps_per_epoch)
    named = epoch_lengths(schedule)
    (length,) = named if len(named) == 1 else (None,)
    return length if isinstance(length, int) else None


def runs(lrs: np.ndarray) -> np.ndarray:
    """The counts at which the learning rate changes, from 0 on."""
    return np.flatnonzero(np.concatenate([[True], lrs[1:] != lrs[:-1]]))


def drawable(lrs: np.ndarray) -> np.ndarray:
    """NaN for what is too large for a scale, which matplotlib overflows at, and 0 for the tiny."""
    return np.where(abs(lrs) < 1e-100, 0.0, np.where(abs(lrs) < 1e100, lrs, np.nan))


def spans_decades(drawn: np.ndarray) -> bool:
    """Whether a log scale shows more: a tenth of the values is a hundredth of the peak or less.

    A warmup, and the end of a line or of a cosine, are shorter than that.
    """
    positive = drawn[drawn > 0]
    if not len(positive):
        return False
    return bool(np.quantile(positive, 0.1) <= positive.max() / 100 * (1 + 1e-9))
