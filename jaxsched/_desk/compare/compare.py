"""A recorded run against a schedule: equal, or where it differs, and what that looks like."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

import numpy as np

from jaxsched._base.ops import PYTHON
from jaxsched._desk.compare.aligned import Aligned, align
from jaxsched._desk.compare.comparison import Comparison
from jaxsched._desk.compare.evidence import what_is_not_shown
from jaxsched._desk.compare.explain import Explanation, explain
from jaxsched._desk.compare.reading import Reading
from jaxsched._desk.compare.sentences import another_schedule, places
from jaxsched._desk.curve import AnySchedule, EpochLengths
from jaxsched._desk.identify.identify import Identified, identified
from jaxsched._desk.logs.numbering import Numbering
from jaxsched._desk.logs.record import Record, Recorded
from jaxsched._schedules.plateau import ReduceLROnPlateau

_BEYOND = "The last row is torch's after the last update: no update uses it."
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
    another-schedule      another one, which identify reads out of the log
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
    found = align(schedule, recorded, steps_per_epoch, lr, step)
    reading, record, clock, wrong = Reading(found.schedule), found.record, found.clock, found.wrong
    explained = None
    if len(wrong[found.note]):
        explained = explain(reading, found.logs) or _from_nothing(found)
    note = found.note if explained is None else explained.name
    rows, log, counts = wrong[note], found.logs[note], found.shown[note]
    is_told = np.abs(record.lrs) * _MOST_SLACK >= record.slack
    is_told[rows] = True
    num_rows = int(np.count_nonzero(is_told))
    comparison = Comparison(not len(rows), num_rows=num_rows, notes=(*found.notes, note))
    comparison = _noted(comparison, record, is_told, [len(rows) for rows in wrong.values()])
    if comparison.equal:
        expected = log.expected(reading, log.counts)
        lrs = expected[is_told]
        horizon = found.known.horizon
        missing = what_is_not_shown(found.schedule, horizon, log.counts[is_told], lrs)
        beyond = [] if log.is_close(slice(None), expected).all() else [_BEYOND]
        notes = (*comparison.notes, *beyond, *[missing] * bool(missing))
        return dataclasses.replace(comparison, notes=notes, schedule=schedule)
    row = int(rows[0])
    count = int(counts[row])
    return dataclasses.replace(
        comparison,
        count=count,
        epoch=None if clock is None else int(clock.epoch(count, PYTHON)[0]),
        expected=float(log.expected(reading, log.counts[[row]])[0]),
        found=float(record.lrs[row]),
        diagnoses=() if explained is None else explained.findings,
        num_different=len(rows),
        schedule=None if explained is None else found.known.with_functions(explained.schedule),
        places=places(counts, rows),
    )


def _from_nothing(found: Aligned) -> Explanation | None:
    """The schedule that the log has, where the given one is of no help."""
    if not found.is_log or isinstance(found.schedule, ReduceLROnPlateau):
        return None
    numberings = [Numbering(note, log.counts) for note, log in found.logs.items()]
    read = identified(found.record, numberings, found.clock)
    if not isinstance(read, Identified):
        return None
    (name,) = (note for note, log in found.logs.items() if log.counts is read.counts)
    return Explanation(name, (another_schedule(read.schedule),), read.schedule)


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
