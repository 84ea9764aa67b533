"""Tables: the values of a short schedule, computed on the host, looked up on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched._base.arguments import INT32_MAX
from jaxsched._base.ops import Ops

TABLE_BITS = 12
MOST_PLACES = 2**TABLE_BITS
"""The largest number of places in a table."""


class Course(NamedTuple):
    """When the value of a schedule changes."""

    starts: Sequence[int]
    """The counts at which it changes, from 0 on. They never fall."""
    period: int = 0
    """The number of counts after which everything repeats. 0: the last value stays."""


class Table(NamedTuple):
    """The values of a schedule, in the dtype of the result."""

    values: np.ndarray
    step: int
    """The number of counts for which each value holds, if these are regular."""
    starts: tuple[int, ...]
    """The count from which on each value holds, if they are irregular; else empty."""
    period: int
    """The number of counts after which the schedule repeats. 0: the last value stays."""

    def look_up(self, count: Any, ops: Ops) -> Any:
        if self.period:
            count = ops.remainder(count, self.period)
        if self.starts:
            return ops.take(self.values, ops.passed(self.starts[1:], count))
        place = count if self.step == 1 else ops.quotient(count, self.step)
        if not self.period:
            place = ops.minimum(place, len(self.values) - 1)
        return ops.take(self.values, place)


def tabulate(
    course: Course, values_at: Callable[[np.ndarray], np.ndarray], most: float
) -> Table | None:
    """The table of what has this course. None if it has more than `most` places."""
    starts, period = course
    if (period or starts[-1]) > INT32_MAX:
        return None
    unit = starts.step if isinstance(starts, range) else math.gcd(*starts)
    step = math.gcd(unit, period) or 1
    places = period // step or starts[-1] // step + 1
    if places <= most:
        values = values_at(step * np.arange(places))
        return Table(values, step if places > 1 else 1, (), period)
    if len(starts) > most:
        return None
    return Table(values_at(np.array(starts)), 1, tuple(starts), period)


def decay_places(base_lr: Any, gamma: Any, dtype: Any) -> int:
    """The number of values of base_lr * gamma ** k in `dtype`, until it stays at 0 or inf."""
    if base_lr == 0 or gamma == 1:
        return 1
    if gamma == 0:
        return 2
    info = np.finfo(dtype)
    end = math.log2(info.max) if gamma > 1 else math.log2(info.smallest_subnormal) - 1
    return max(math.ceil((end - math.log2(base_lr)) / math.log2(gamma)), 0) + 2


def decays(gamma: float, down_to: float) -> int:
    """How often gamma has to be multiplied until the product is `down_to`. 0 if it never is."""
    if not 0 < gamma < 1:
        return int(gamma == 0)
    return math.ceil(math.log(down_to) / math.log(gamma) - 1e-9)
