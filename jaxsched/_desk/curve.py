"""A schedule's curve on the host, and the points with which it is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import Function
from jaxsched._base.hints import describe
from jaxsched._base.members import as_schedule
from jaxsched._base.schedule import Schedule
from jaxsched._desk.placed import size
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
