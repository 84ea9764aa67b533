"""What the tools share: a schedule's curve on the host, where its parts are, what is found."""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import Function, integer, is_array
from jaxsched._base.hints import describe
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule, as_schedule
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR, clamp
from jaxsched._schedules.cycle import OneCycleLR
from jaxsched._schedules.decay import StepLR
from jaxsched._schedules.epochs import Clock, per_epoch, smooth_epochs
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


class Findings(list[Finding]):
    """A list of findings that shows its sentences, in a REPL and in a notebook."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "[]"

    def __reduce__(self) -> Any:
        return list, ([*self],)  # what lasts is a plain list

    def _repr_html_(self) -> str:
        items = [
            f"<li><code>{html.escape(code)}</code>: {marked(message)} {marked(advice)}</li>"
            for code, message, advice in self
        ]
        return f"<ul>{''.join(items)}</ul>" if items else "No findings."


def marked(text: str) -> str:
    """A sentence as HTML: what stands in backticks is code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


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
    whole: Callable[[Schedule], Schedule]
    """The whole with another schedule in the place of this one."""


def placed(
    schedule: Schedule,
    at: Callable[[int], int] = lambda count: count,
    stop: float = math.inf,
    adapter: per_epoch | smooth_epochs | None = None,
    whole: Callable[[Schedule], Schedule] = lambda schedule: schedule,
) -> Iterator[Placed]:
    """The schedule, its members, their members, and so on, each with its own clock and unit."""
    yield Placed(schedule, at, stop, adapter, whole)

    def around(name: str, i: int | None = None) -> Callable[[Schedule], Schedule]:
        def with_another(new: Schedule) -> Schedule:
            old = getattr(schedule, name)
            value = new if i is None else (*old[:i], new, *old[i + 1 :])
            return whole(dataclasses.replace(schedule, **{name: value}))  # pyright: ignore[reportArgumentType]

        return with_another

    match schedule:
        case SequentialLR(schedulers=members, milestones=milestones):
            stops = [*map(at, milestones), math.inf]
            for i, (start, end) in enumerate(zip((0, *milestones), stops, strict=True)):
                shifted = lambda count, start=start: at(start + count)  # noqa: E731
                inside = around("schedulers", i)
                yield from placed(members[i], shifted, min(stop, end), adapter, inside)
        case ChainedScheduler(schedulers=members):
            for i, inner in enumerate(members):
                yield from placed(inner, at, stop, adapter, around("schedulers", i))
        case clamp(schedule=inner, last_count=last):
            is_smooth = isinstance(adapter, smooth_epochs)  # then it holds from `last` itself on
            end = at(last) + 1 if is_smooth else at(last + 1)
            yield from placed(inner, at, min(stop, end), adapter, around("schedule"))
        case per_epoch(schedule=inner) | smooth_epochs(schedule=inner):
            clock = schedule._clock
            in_updates = lambda epoch: at(clock.first_update(epoch, PYTHON))  # noqa: E731
            yield from placed(inner, in_updates, stop, schedule, around("schedule"))


def epoch_lengths(schedule: Any) -> set[int | tuple[int, ...]]:
    """The `steps_per_epoch` that it names. If there are any, its counts are updates."""
    found = set()
    for member in schedule._walk() if isinstance(schedule, Schedule) else ():
        if isinstance(member, (per_epoch, smooth_epochs)):
            found.add(member.steps_per_epoch)
        elif isinstance(member, OneCycleLR) and member.total_steps is None:
            found.add(member.steps_per_epoch)
    return found


def clock_of(schedule: Any, steps_per_epoch: Any) -> Clock | None:
    """How epochs become updates: as given, or as the schedule names it."""
    if steps_per_epoch is not None:
        return Clock(steps_per_epoch)
    named = epoch_lengths(schedule)
    return Clock(*named) if len(named) == 1 else None


def epoch_length(schedule: Any, steps_per_epoch: Any) -> int | None:
    """Updates in an epoch, if all have as many: as given, or as the schedule names it."""
    if steps_per_epoch is not None:
        return size("steps_per_epoch", steps_per_epoch)
    clock = clock_of(schedule, None)
    return clock.lengths if clock and isinstance(clock.lengths, int) else None


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


class Pieces(NamedTuple):
    """A curve by the counts at which it changes, from 0 on, and its value from each of them on."""

    starts: np.ndarray
    values: np.ndarray
    num_counts: int


def pieces(lrs: np.ndarray) -> Pieces:
    starts = np.flatnonzero(np.concatenate([[True], lrs[1:] != lrs[:-1]]))
    return Pieces(starts, lrs[starts], len(lrs))


def pieces_of(schedule: Schedule, num_counts: int, most: int) -> Pieces | None:
    """The same of a schedule, by at most so many values, or None.

    A schedule that says when it changes is called at these counts only.
    """
    course = schedule._course(np.float64)
    if course is None or course.period or 4 * len(course.starts) > num_counts:
        return pieces(schedule(np.arange(num_counts))) if num_counts <= most else None
    if len(course.starts) > most:
        return None
    counts = np.unique([start for start in (0, *course.starts) if start < num_counts])
    changes = pieces(schedule(counts))
    return Pieces(counts[changes.starts], changes.values, num_counts)


def vertices(curve: Pieces, stands: bool, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The points of a line: where each piece starts and, if it stands still, also where it ends.

    Of more than `most` pieces the wide ones are kept, what follows on them, and of all others the
    lowest and the highest.
    """
    starts, values, num_counts = curve
    ends = np.append(starts[1:], num_counts)
    if len(starts) > most:
        wide = np.flatnonzero(ends - starts > num_counts / most)
        edges = np.linspace(0, len(starts), most // 4).astype(int)
        places = [
            (a, a + np.argmin(values[a:b]), a + np.argmax(values[a:b]), b - 1)
            for a, b in itertools.pairwise(edges.tolist())
        ]
        kept = np.unique(np.concatenate([wide, wide + 1, np.ravel(places)]))
        kept = kept[kept < len(starts)]
        starts, ends, values = starts[kept], ends[kept], values[kept]
    if stands:
        return np.append(starts, num_counts), np.append(values, values[-1])
    ends = np.where(ends - starts > 1, ends, starts)
    return np.stack([starts, ends], 1).ravel(), np.repeat(values, 2)


def moves(schedule: Schedule) -> bool:
    """Whether a part moves at each count: a cosine does, and does not inside of per_epoch."""
    return any(
        member.schedule._is_smooth
        and len([*member.schedule._walk()]) == 1
        and not isinstance(member.adapter, per_epoch)
        for member in placed(schedule)
    )


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
