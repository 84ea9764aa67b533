"""A log beside a schedule: each row at its count, and which rows differ from it."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from jaxsched._base.arguments import COUNT_MAX
from jaxsched._base.members import as_schedule
from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.compare.replay import replay, told
from jaxsched._desk.compare.tables import Known, of_schedule, tabulated
from jaxsched._desk.curve import MOST_COUNTS
from jaxsched._desk.logs.numbering import distinct, numbered
from jaxsched._desk.logs.record import Record, read_log
from jaxsched._desk.placed import epoch_lengths
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.epochs import Clock, per_epoch
from jaxsched._schedules.plateau import ReduceLROnPlateau


class Aligned(NamedTuple):
    """A log in each numbering that it allows, by what there is to say of it."""

    schedule: Any
    """In the unit of the counts, and functions as tables."""
    known: Known
    record: Record
    clock: Clock | None
    shown: dict[str, np.ndarray]
    """The counts as they are told."""
    logs: dict[str, Log]
    wrong: dict[str, np.ndarray]
    """The rows that differ from the schedule."""
    note: str
    """The numbering in which the first one comes last, or none does."""
    notes: tuple[str, ...]
    is_log: bool
    """Whether it is no other schedule in the place of a log."""

    @property
    def drawn(self) -> Any:
        """A function of the count: of a plateau the learning rates that the log's metrics give."""
        if not isinstance(self.schedule, ReduceLROnPlateau):
            return self.schedule
        log, counts = self.logs[self.note], self.shown[self.note]
        lrs = log.expected(Reading(self.schedule), log.counts)
        every = np.arange(min(int(counts[-1]), MOST_COUNTS) + 1)
        return RecordedLR(lrs[np.maximum(np.searchsorted(counts, every, side="right") - 1, 0)])


def align(
    schedule: Any, recorded: Any, steps_per_epoch: Any = None, lr: Any = None, step: Any = None
) -> Aligned:
    clock = None if steps_per_epoch is None else Clock(steps_per_epoch)
    is_plateau = isinstance(schedule, ReduceLROnPlateau)
    if not is_plateau:
        as_schedule("schedule", schedule)
    is_log = not callable(recorded) or hasattr(recorded, "columns")
    if is_log:
        record, said = read_log(recorded, is_plateau, lr, step), ()
    else:
        if is_plateau:
            raise TypeError("`recorded` must be a log, which has the metric of a ReduceLROnPlateau")
        record, said = of_schedule(recorded, schedule, clock)
    clock, also = _clock(record, schedule, clock)
    record, numberings, notes = numbered(record, clock)
    known, replayed = Known(schedule, COUNT_MAX, {}), _no_replay
    if is_plateau:
        if not record.metric:
            raise ValueError(
                "`recorded` must have a column `val_loss`, `metric` or the like, which a "
                "ReduceLROnPlateau is told"
            )
        note, counts, _ = numberings[0]
        shown = {note: counts}
        read = {note: np.arange(len(counts))}
        metrics = told(record.metrics, counts, clock)
        replayed = functools.partial(replay, metrics=metrics)
    else:
        last = max(int(numbering.counts[-1]) for numbering in numberings)
        known = tabulated(schedule, last + 2)
        schedule = known.schedule
        if clock is not None and not epoch_lengths(schedule):
            schedule = per_epoch(schedule, clock.lengths)
        shown = read = distinct(numberings, schedule)
    logs = {
        note: Log(counts, record.lrs, record.slack, known.horizon, replayed)
        for note, counts in read.items()
    }
    wrong = {n: np.flatnonzero(~log.agrees(Reading(schedule))) for n, log in logs.items()}
    note = max(wrong, key=lambda n: wrong[n][0] if len(wrong[n]) else math.inf)
    said = (*said, *also, *notes)
    return Aligned(schedule, known, record, clock, shown, logs, wrong, note, said, is_log)


def _clock(
    record: Record, schedule: Any, clock: Clock | None
) -> tuple[Clock | None, tuple[str, ...]]:
    """The clock that is given, or that of a schedule in updates, if the rows have epochs."""
    named = epoch_lengths(schedule)
    if clock is not None or not named or not (record.in_epochs or record.epochs is not None):
        return clock, ()
    if len(named) > 1:
        if not record.in_epochs:
            return None, ()
        raise ValueError(
            "`steps_per_epoch` must be given: the rows are epochs, and the schedule names "
            f"{' and '.join(map(str, named))} updates in one"
        )
    (lengths,) = named
    if not record.in_epochs:
        return Clock(lengths), ()
    length = f"{lengths} updates" if isinstance(lengths, int) else "as many updates"
    return Clock(lengths), (f"The rows are epochs of {length}, as the schedule has them.",)


def _no_replay(plateau: ReduceLROnPlateau) -> RecordedLR:
    raise AssertionError("only a plateau is replayed")
