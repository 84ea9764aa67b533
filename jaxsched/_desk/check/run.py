"""A schedule in a run: where its parts are, in which unit, and how a sentence names them."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._base.value import Frozen
from jaxsched._desk.placed import Placed, epoch_lengths, placed
from jaxsched._schedules.decay import ConstantLR, LinearLR
from jaxsched._schedules.epochs import Clock

_LONGEST = 300
"""The most characters of a corrected schedule. Of a longer one only the part is shown."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A schedule, the counts for which it is used, and the updates in an epoch, if they are known.

    `is_schedule` is False for a function that was given in the place of a schedule.
    """

    schedule: Schedule
    num_counts: int
    clock: Clock | None
    lrs: np.ndarray
    is_schedule: bool

    def of(self, *classes: type) -> Iterator[tuple[Placed, Any]]:
        """The parts of these classes that have an effect, and their schedules."""
        for member in placed(self.schedule):
            if isinstance(member.schedule, classes) and member.at(0) < self.end(member):
                yield member, member.schedule

    def end(self, member: Placed) -> int:
        """The count from which a member has no effect."""
        return int(min(member.stop, self.num_counts))

    def own(self, member: Placed) -> int:
        """How many counts a member has until then, on its own clock."""
        return bisect.bisect_left(range(self.num_counts), self.end(member), key=member.at)

    @property
    def epochs(self) -> float | None:
        """The epochs in the run, if the updates in an epoch are known."""
        return None if self.clock is None else epochs_in(self.clock, self.num_counts)

    @property
    def unit(self) -> str:
        return "update" if self.clock or epoch_lengths(self.schedule) else "count"

    def unit_of(self, member: Placed) -> str:
        return "epoch" if member.adapter else self.unit

    def limit(self, member: Placed) -> str:
        if member.stop < self.num_counts:
            return f"it has no effect from {self.place(self.end(member))} on"
        return f"the run has {self.span(self.num_counts)}"

    def span(self, counts: int) -> str:
        epochs = epochs_in(self.clock, counts) if self.clock else 0
        note = f" ({epochs:.4g} epoch{'s' * (epochs != 1)})" if epochs else ""
        return f"{many(counts, self.unit)}{note}"

    def place(self, count: int) -> str:
        epoch = f" (epoch {self.clock.epoch(count, PYTHON)[0]:,})" if self.clock else ""
        return f"{self.unit} {count:,}{epoch}"

    def write(self, member: Placed, new: Schedule) -> str:
        """The corrected schedule, with another in the place of a member: its unit, and the line."""
        unit = self.unit_of(member)
        counts = "" if unit == "count" else f"It counts {unit}s: "
        return f"{counts}{'w' if counts else 'W'}rite {self.line(member, new)}."

    def line(self, member: Placed, new: Schedule) -> str:
        whole = code(member.whole(new))
        return f"`{whole if len(whole) <= _LONGEST and '<' not in whole else code(new)}`"


def epochs_in(clock: Clock, updates: int) -> float:
    """How many epochs these updates are."""
    epoch, step, length = clock.epoch(updates, PYTHON)
    return epoch + step / length


def many(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'s' * (number != 1)}"


def name(member: Placed) -> str:
    return type(member.schedule).__name__.replace("_Function", "the function")


def code(value: Any) -> str:
    """A schedule as one would write it: lists, and no argument that has its default."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(code, value))}]"
    if not isinstance(value, Frozen) or type(value).__repr__ is not Frozen.__repr__:
        return repr(value)
    fields: Any = dataclasses.fields(value)  # pyright: ignore[reportArgumentType]
    first, *others = ((field, getattr(value, field.name)) for field in fields)
    arguments = [f"{field.name}={code(x)}" for field, x in others if x != field.default]
    return f"{type(value).__name__}({', '.join([code(first[1]), *arguments])})"


def rise(schedule: Any) -> float:
    """How much of base_lr a warmup adds, 0 for a constant, below 0 for a decay."""
    if isinstance(schedule, ConstantLR):
        return 1 - schedule.factor
    return schedule.end_factor - schedule.start_factor if isinstance(schedule, LinearLR) else -1.0
