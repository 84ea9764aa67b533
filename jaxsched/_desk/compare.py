"""A recorded run against a schedule: equal, or where it differs, and what that looks like."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from jaxsched._base.arguments import COUNT_MAX
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import as_schedule
from jaxsched._desk.comparison import Comparison
from jaxsched._desk.curve import AnySchedule, EpochLengths, epoch_lengths
from jaxsched._desk.evidence import what_is_not_shown
from jaxsched._desk.explain import Explanation, explain
from jaxsched._desk.identify import Identified, identified
from jaxsched._desk.numbering import Numbering, distinct, numbered
from jaxsched._desk.reading import Log, Reading
from jaxsched._desk.record import Record, Recorded, read_log
from jaxsched._desk.replay import replay, told
from jaxsched._desk.sentences import another_schedule, places
from jaxsched._desk.tables import Known, of_schedule, tabulated
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.epochs import Clock, per_epoch
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_SLACK = 0.05  # part of a learning rate that a log may leave open by printing few digits


def compare(
    schedule: AnySchedule,
    recorded: Recorded | AnySchedule,
    *,
    steps_per_epoch: EpochLengths | None = None,
    lr: Hashable | None = None,
    step: Hashable | None = None,
) -> Comparison:
    """Compares a recorded learning-rate log with a schedule, and says what a difference looks like.

    ```text
    Different at count 39100 (epoch 100): expected 0.01, found 0.1, relative difference 9.
    2 of 78200 rows differ.
    off-by-one: The log is one count late: each row has the learning rate of the count before. ...
    ```

    A row is equal if it has the schedule's value to the precision of float32 (2**-23 of it), or, if
    it is text, to the digits that the log prints, if it prints three or more. Less than 1e-15 of
    the largest learning rate in the log counts as 0. Rows whose last digit is more than 10 % of the
    number cannot be compared, and are counted in the notes.

    `recorded` is one of

    ```text
    numbers     a sequence or an array; a row may be a list of one, as of torch's get_last_lr()
    columns     a mapping, a DataFrame, or a list of rows that are mappings
    a schedule  another one, or a callable: both are compared until both are over
    a path      of a CSV file with a header, commas, semicolons or tabs; of JSON lines, or a list;
                of Hugging Face's trainer_state.json; of lines of text, as fairseq, Megatron and
                torchtune print them; of a TensorBoard event file or its folder, if the package
                tensorboard is installed, or of what it downloads
    ```

    with these columns, in upper or lower case:

    ```text
    lr      or learning_rate; also lr-SGD, train/lr, lr/group0 and the like, if it is one
    step    or global_step, num_updates, iteration and the like: the count of the row
    epoch   if there is no step, or the step starts again in each
    metric  for a ReduceLROnPlateau: val_loss, eval_loss, valid_loss, test_loss, metric or loss
    ```

    Rows without a learning rate are passed over. Without a step and an epoch row i is count i. If
    the log may number its rows from 1, or read an epoch's row at its end, each reading is tried. If
    the numbers go back, as in the log of a run that was resumed, the rows that the run wrote again
    are left out. `notes` says what was read and how, if it was not plain, and what the rows do not
    show. The page "Compare with a recorded run" has it in tables.

    A difference is explained by what is other in the log, one thing or two, the simplest that gives
    every row. Then `schedule` is the schedule that gives the log, where there is one:

    ```text
    another-ARGUMENT      has another value there, such as another-gamma: which; for some places or
                          lengths the rows leave a few values open
    another-class         is of another class with the same ends
    another-warmup        the warmup is longer or shorter: how much
    no-warmup             the warmup is missing
    added-warmup          a warmup that the schedule does not have: how long
    milestones-clock      milestones count from the start of the run, and not of their member
    chained, sequential   is of ChainedScheduler where SequentialLR is given; and the other way
    clamped, not-clamped  holds from a count on; or goes on where the schedule holds
    smooth, stands-still  moves where the schedule stands still; and the other way round
    steps-per-epoch       epochs of another length: which
    epochs-for-updates    each update counts as an epoch, or the log has a row for each epoch
    updates-for-epochs    each count lasts as long as an epoch
    read-after-step       one count (or epoch) early, as get_last_lr() after scheduler.step()
    off-by-one            one count (or epoch) late
    skipped-updates       some counts late from the start, as fp16 skips updates
    starts-later          starts at a later count
    never-stepped         stays at the first learning rate
    optax-late            one count late at some boundaries, as optax's staircase under jit
    plateau-early         one bad epoch early, as optax's plateau
    one-row               one row is wrong: which
    another-schedule      another one, which `identify` reads out of the log
    restart               goes on from count 0 or from another count: where
    float32-arithmetic    differs only by what float32 arithmetic loses; may come with the others
    ```

    If nothing gives every row, there is no explanation, and `places` says where the rows differ.

    Args:
        schedule: a schedule, or any callable `count -> value`, or a ReduceLROnPlateau. The plateau
            is told the metric that stands in a row, or in rows without a learning rate after it;
            with `steps_per_epoch` the last metric of each epoch.
        recorded: the learning rates that a run used.
        steps_per_epoch: optimizer updates in an epoch, as `per_epoch` takes it. Then rows are
            updates, or epochs if they have an epoch and no step, and a schedule without `per_epoch`
            and `smooth_epochs` in it is in epochs. None (the default): rows and schedule have one
            unit, unless the rows are epochs and the schedule says how many updates they have.
        lr: the name of the column of the learning rate.
        step: the name of the column that counts the rows.

    Returns:
        A `Comparison`: `equal`; `count`, `expected` and `found` of the first difference, or None;
        and `diagnoses`, the findings of the explanation, each with `code`, `message` and `advice`.

    Raises:
        TypeError, ValueError: `recorded` is none of these, or has no learning rate, or more than
            one; or a row holds what is not a finite number; or the file is damaged.
        OSError: the file cannot be opened.
        ImportError: it is of TensorBoard, and tensorboard is not installed.

    torch has no such function.

    >>> import jaxsched as js
    >>> schedule = js.StepLR(0.1, step_size=2)
    >>> js.compare(schedule, [0.1, 0.1, 0.01, 0.01, 0.001]).equal
    True
    >>> print(js.compare(schedule, [0.1, 0.1, 0.05, 0.05, 0.025]))
    Different at count 2: expected 0.01, found 0.05, relative difference 4.
    3 of 5 rows differ.
    another-gamma: The log has gamma=0.5, not 0.1. Use gamma=0.5 here, or gamma=0.1 in that run.
    """
    given, clock = schedule, None if steps_per_epoch is None else Clock(steps_per_epoch)
    is_plateau = isinstance(schedule, ReduceLROnPlateau)
    if not is_plateau:
        as_schedule("schedule", schedule)
    of_another = callable(recorded) and not hasattr(recorded, "columns")
    if of_another:
        if is_plateau:
            raise TypeError("`recorded` must be a log, which has the metric of a ReduceLROnPlateau")
        record, said = of_schedule(recorded, schedule, clock)
    else:
        record, said = read_log(recorded, is_plateau, lr, step), ()
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
    explained = explain(Reading(schedule), logs) if len(wrong[note]) else None
    if explained is None and len(wrong[note]) and not is_plateau and not of_another:
        explained = _from_nothing(record, read, clock)
    note = note if explained is None else explained.name
    rows, log = wrong[note], logs[note]
    is_told = np.abs(record.lrs) * _MOST_SLACK >= record.slack
    is_told[rows] = True
    comparison = Comparison(
        not len(rows), num_rows=int(np.count_nonzero(is_told)), notes=(*said, *also, *notes, note)
    )
    comparison = _noted(comparison, record, is_told, [len(rows) for rows in wrong.values()])
    if comparison.equal:
        lrs = log.expected(Reading(schedule), log.counts)[is_told]
        missing = what_is_not_shown(schedule, known.horizon, log.counts[is_told], lrs)
        return dataclasses.replace(
            comparison, notes=(*comparison.notes, *[missing] * bool(missing)), schedule=given
        )
    row = int(rows[0])
    count = int(shown[note][row])
    return dataclasses.replace(
        comparison,
        count=count,
        epoch=None if clock is None else int(clock.epoch(count, PYTHON)[0]),
        expected=float(log.expected(Reading(schedule), log.counts[[row]])[0]),
        found=float(record.lrs[row]),
        diagnoses=() if explained is None else explained.findings,
        num_different=len(rows),
        schedule=None if explained is None else known.with_functions(explained.schedule),
        places=places(shown[note], rows),
    )


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


def _from_nothing(
    record: Record, read: dict[str, np.ndarray], clock: Clock | None
) -> Explanation | None:
    """The schedule that the log has, where the given one is of no help."""
    found = identified(record, [Numbering(note, counts) for note, counts in read.items()], clock)
    if not isinstance(found, Identified):
        return None
    (name,) = (note for note, counts in read.items() if counts is found.counts)
    return Explanation(name, (another_schedule(found.schedule),), found.schedule)


def _noted(
    comparison: Comparison, record: Record, is_told: np.ndarray, wrong: list[int]
) -> Comparison:
    """With the notes on what is compared."""
    notes = [note for note in comparison.notes if note]
    if comparison.equal and max(wrong) > 0:
        notes.append(f"Read otherwise, {max(wrong)} of them differ.")
    if (record.slack > 2.0**-23 * np.abs(record.lrs)).any():
        notes.append(f"They are compared to the {record.digits} that the log prints.")
    if not is_told.all():
        row = int(np.argmin(is_told))
        notes.append(
            f"{np.count_nonzero(~is_told)} more print too few digits to be compared, as "
            f"{record.lrs[row]:g}."
        )
    return dataclasses.replace(comparison, notes=tuple(notes))


def _no_replay(plateau: ReduceLROnPlateau) -> RecordedLR:
    raise AssertionError("only a plateau is replayed")
