"""The counts of a log's rows: every reading of its labels that the log allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxsched._base.ops import NUMPY
from jaxsched._desk.logs.record import Record
from jaxsched._schedules.epochs import Clock

_MOST_FALLS = 1000


class Numbering(NamedTuple):
    """One reading."""

    note: str
    """What there is to say of it."""
    counts: np.ndarray
    """Of the rows. They never fall."""
    epochs: tuple[np.ndarray, np.ndarray] | None = None
    """The first and the last updates of the rows' epochs, if the rows are of the ends of them."""


class Rows(NamedTuple):
    """The rows that are compared, in the order of their counts."""

    record: Record
    numberings: list[Numbering]
    """The plainest first."""
    notes: tuple[str, ...]


def numbered(record: Record, clock: Clock | None) -> Rows:
    """The rows that were not written again, and their counts.

    With a clock counts are updates. Labels that are epochs need one if the schedule is in updates.
    """
    labels = record.labels
    if labels is None:
        plain = Numbering("", np.arange(len(record.lrs)))
        return Rows(record, [plain], record.notes)
    epochs = record.epochs
    if not _starts_again(labels, epochs):
        epochs = None
        passes = _passes(record, clock)
        if passes is not None:
            epochs, record = passes, record._replace(epochs=passes)
    if epochs is None:
        keys = labels
    else:  # the label starts again in each epoch
        ranks = [np.unique(x, return_inverse=True)[1] for x in (epochs, labels)]
        keys = ranks[0] * len(labels) + ranks[1]
    kept, order, notes = _written_last(keys, record.label)
    places = np.flatnonzero(kept)[order]
    record = record._replace(
        lrs=record.lrs[places],
        slack=record.slack[places],
        labels=labels[places],
        metrics=[record.metrics[i] for i in places] if record.metrics else [],
    )
    if epochs is not None:
        numberings, note = _within_epochs(record, labels[places], epochs[places], clock)
        notes = [note, *notes]
    elif record.in_epochs and clock is not None:
        numberings = _of_epochs(_from_0_or_1(labels[places]), clock)
    else:
        if record.in_epochs and not record.metrics:  # a plateau may be told many in an epoch
            _check_updates_are_told(record, labels[places])
        numberings = _from_0_or_1(labels[places])
    return Rows(record, numberings, (*record.notes, *notes))


def _check_updates_are_told(record: Record, epochs: np.ndarray) -> None:
    """Where most epochs have many rows, the learning rate may not change within one."""
    is_same = np.diff(epochs) == 0
    allowed = 2.0**-23 * np.abs(record.lrs[1:]) + record.slack[1:] + record.slack[:-1]
    changes = np.flatnonzero(is_same & (np.abs(np.diff(record.lrs)) > allowed))
    if len(changes) and 2 * np.count_nonzero(is_same) >= len(epochs):
        raise ValueError(
            "`recorded` must have a column `step`, or `steps_per_epoch` must be given, because the "
            f"learning rate changes within epoch {epochs[changes[0]]}, in which rows are updates"
        )


# -- what was written again ----------------------------------------------------------------------


def _written_last(keys: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Which rows are kept, in which order, and what there is to say.

    Where the numbers go back, rows are left out if all that lies between is written again.
    """
    kept = np.ones(len(keys), bool)
    falls = np.flatnonzero(np.diff(keys) < 0) + 1
    if 2 * len(falls) > len(keys) or len(falls) > _MOST_FALLS:
        raise ValueError(f"`recorded` must have a {label!r} that rises from row to row")
    for start, stop in itertools.pairwise([*falls, len(keys)]):
        new, old = keys[start:stop], keys[:start]
        again = kept[:start] & (old >= new[0]) & (old <= new[-1])
        if np.isin(old[again], new).all():
            kept[:start] &= ~again
    left = keys[kept]
    order = np.argsort(left, kind="stable")
    notes = []
    if not kept.all():
        number = np.count_nonzero(~kept)
        notes.append(f"{number} more are left out, because the run wrote them again.")
    if (np.diff(left) < 0).any():
        row = np.flatnonzero(kept)[np.argmax(np.diff(left) < 0) + 1]
        notes.append(f"{label!r} goes back at row {row}: the rows are sorted.")
    return kept, order, notes


def _passes(record: Record, clock: Clock | None) -> np.ndarray | None:
    """Which time the labels run through, if each time starts as the first and looks like an epoch.

    Without an epoch beside them nobody knows whether the run began again.
    """
    labels = record.labels
    assert labels is not None
    falls = np.flatnonzero(np.diff(labels) < 0) + 1
    lengths = np.diff(np.array([0, *falls, len(labels)]))
    is_like_epochs = len(falls) and (labels[falls] == labels[0]).all()
    if not is_like_epochs or (lengths[:-1] != lengths[0]).any() or lengths[-1] > lengths[0]:
        return None
    gap = int(np.diff(labels[: lengths[0]]).max(initial=1))
    if clock is None or record.in_epochs or labels.max() + gap < np.min(clock.lengths):
        raise ValueError(
            f"`recorded` must have a {record.label!r} that counts through the run, got one that "
            f"starts again at row {falls[0]}: if it starts again in each epoch, give "
            "`steps_per_epoch` or a column `epoch`; if the run began again, give one run"
        )
    return np.repeat(np.arange(len(lengths)), lengths)


def _starts_again(labels: np.ndarray, epochs: np.ndarray | None) -> bool:
    """Whether the labels count within epochs: they fall, or stay, where the epoch rises."""
    if epochs is None:
        return False
    return bool(((np.diff(labels) <= 0) & (np.diff(epochs) > 0)).any())


# -- counts --------------------------------------------------------------------------------------


def _from_0_or_1(labels: np.ndarray) -> list[Numbering]:
    """The labels as counts, and one less where the log may number its rows from 1."""
    counted = np.unique(labels)
    first = int(counted[0])
    as_counts = Numbering("", labels)
    if first == 1:
        return [
            Numbering("They are numbered from 1, which is count 0.", labels - 1),
            as_counts._replace(note="The first one is count 1."),
        ]
    if len(counted) == 1 or first == 0:
        return [as_counts]
    gaps, times = np.unique(np.diff(counted), return_counts=True)
    gap = int(gaps[np.argmax(times)])
    if first != gap:  # from 0 on they would be 0, 50, 100 ... or 49, 99, 149 ...
        return [as_counts]
    from_1 = f"They are numbered from 1: the first one is count {first - 1}."
    return [
        as_counts._replace(note=f"The first one is count {first}."),
        Numbering(from_1, labels - 1),
    ]


def _starts(epochs: np.ndarray, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """The first update of each epoch, and how many it has."""
    if (int(epochs[-1]) + 1) * int(np.max(clock.lengths)) >= 2**53:
        raise ValueError(f"`recorded` must have counts below 2**53, got epoch {epochs[-1]}")
    starts = clock.first_update(epochs, NUMPY)
    return starts, np.broadcast_to(clock.epoch(starts, NUMPY)[2], starts.shape)


def _of_epochs(numberings: list[Numbering], clock: Clock) -> list[Numbering]:
    """The update of each row, if rows have epochs only: all of an epoch, or one of them."""
    firsts, lasts, afters = [], [], []
    for note, epochs, _ in numberings:
        starts, lengths = _starts(epochs, clock)
        first, rows = np.unique(epochs, return_index=True, return_counts=True)[1:]
        place = np.arange(len(epochs)) - np.repeat(first, rows)
        if place.any() and (rows[:-1] != lengths[first][:-1]).any():
            raise ValueError(
                "`recorded` must have a column `step`, or one row for each epoch, or as many as "
                f"`steps_per_epoch` says, got {rows[0]} of epoch {epochs[0]}"
            )
        firsts.append(Numbering(note, starts + place))
        if not place.any():
            ends = starts + lengths
            of = (starts, ends - 1)
            last, after = "is of the last", "is read after the last"
            lasts.append(Numbering(_joined(note, _of_update(last)), ends - 1, of))
            afters.append(Numbering(_joined(note, _of_update(after)), ends, of))
    return [*firsts, *lasts, *afters]


def _of_update(which: str) -> str:
    return f"Each row {which} update of its epoch."


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _within_epochs(
    record: Record, steps: np.ndarray, epochs: np.ndarray, clock: Clock | None
) -> tuple[list[Numbering], str]:
    """The counts of rows that have an epoch and a step in it."""
    if record.epoch_length is not None:
        clock = Clock(record.epoch_length)
    clock = _clock_of(steps, epochs) or clock
    if clock is None:
        raise ValueError(
            f"`recorded` must have a {record.label!r} that counts through the run, got one that "
            "starts again in each epoch: give `steps_per_epoch`"
        )
    numberings, in_epoch = [], _from_0_or_1(steps)
    for note, epoch, _ in _from_0_or_1(epochs):
        starts, lengths = _starts(epoch, clock)
        too_late = steps - (len(in_epoch) > 1) >= lengths
        if too_late.any():
            row = int(np.argmax(too_late))
            raise ValueError(
                f"`recorded` must have a {record.label!r} within an epoch of {lengths[row]} "
                f"updates, got {steps[row]}"
            )
        for also, step, _ in in_epoch:
            said = _joined(f"Epochs: {note}" * bool(note), f"Updates: {also}" * bool(also))
            numberings.append(Numbering(said, starts + step))
    length = clock.lengths if isinstance(clock.lengths, int) else "the given number of"
    return numberings, f"{record.label!r} starts again in each epoch of {length} updates."


def _clock_of(steps: np.ndarray, epochs: np.ndarray) -> Clock | None:
    """Of a log that has every update, and so shows how many an epoch has."""
    found, rows = np.unique(epochs, return_counts=True)
    place = np.arange(len(steps)) - np.repeat(np.cumsum(rows) - rows, rows)
    is_whole = (steps - place == steps[0]).all() and steps[0] <= 1 and len(found) > 1
    is_even = (rows[:-1] == rows[0]).all() and rows[-1] <= rows[0]
    return Clock(int(rows[0])) if is_whole and is_even and (np.diff(found) == 1).all() else None


def distinct(
    numberings: list[Numbering], at: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """The counts by what there is to say of them, for a schedule that is `at` each count.

    If it stands still in its epochs, their ends are no readings: after one comes the next epoch.
    """
    numberings = [
        numbering
        for numbering in numberings
        if numbering.epochs is None or (at(numbering.epochs[0]) != at(numbering.epochs[1])).any()
    ]
    of_first = _of_update("is of the first") * any(n.epochs is not None for n in numberings)
    found: dict[str, np.ndarray] = {}
    for note, counts, epochs in numberings:
        if not any(np.array_equal(counts, others) for others in found.values()):
            found[note if epochs is not None else _joined(note, of_first)] = counts
    return found
