"""A recorded run against a schedule: equal, or where it differs, and what that looks like."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._arguments import has_arrays
from jaxsched._curve import Finding, curve
from jaxsched._custom import RecordedLR
from jaxsched._diagnose import Log, Reading, diagnose
from jaxsched._epochs import per_epoch
from jaxsched._mistakes import MISTAKES, changed, is_adapter
from jaxsched._ops import NUMPY, PYTHON
from jaxsched._plateau import ReduceLROnPlateau
from jaxsched._record import Record, read
from jaxsched._schedule import Schedule, member

_MOST_KNOWN = 10**6


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found. It is true if the log is equal to the schedule; `str()` explains it.

    The class is not meant to be instantiated by users.
    """

    equal: bool
    """Whether every row has the schedule's learning rate."""
    count: int | None
    """The count of the first row that differs, in the unit of the log's rows; or None."""
    expected: float | None
    """The schedule's learning rate there."""
    found: float | None
    """The log's learning rate there."""
    diagnoses: tuple[Finding, ...]
    """What together explains every row, in the order of the explanation; empty if nothing does."""
    num_rows: int
    num_different: int
    epoch: int | None
    """The epoch of `count`, if `steps_per_epoch` is known and the schedule is read in updates."""
    notes: tuple[str, ...]
    """How the log was read, where there was a choice."""

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        notes = "".join(f" {note}" for note in self.notes)
        rows = f"{self.num_rows} row" + "s" * (self.num_rows != 1)
        if self.equal:
            return f"Equal: {rows}.{notes}"
        assert self.expected is not None and self.found is not None
        expected, found = f"{self.expected:.9g}", f"{self.found:.9g}"
        if expected == found:
            expected, found = repr(self.expected), repr(self.found)
        size = abs(self.found - self.expected)
        relative = f"{size / abs(self.expected):.2g}" if self.expected else "inf"
        epoch = "" if self.epoch is None else f" (epoch {self.epoch})"
        lines = [
            f"Different from count {self.count}{epoch} on: expected {expected}, found {found}, "
            f"relative difference {relative}.",
            f"{self.num_different} of {rows} differ.{notes}",
            *map(str, self.diagnoses),
        ]
        if not self.diagnoses:
            lines.append("No explanation: nothing that compare tries gives all rows.")
        return "\n".join(lines)


def compare(schedule: Any, recorded: Any, *, steps_per_epoch: Any = None) -> Comparison:
    """Compares a recorded learning-rate log with a schedule, and says what a difference looks like.

    ```text
    Different from count 39100 (epoch 100) on: expected 0.01, found 0.1, relative difference 9.
    2 of 78200 rows differ.
    off-by-one: The log is one count late: each row has the learning rate of the count before. ...
    ```

    A row is equal if its learning rate is the schedule's to the precision of float32 (2**-23 of it)
    or to the digits with which the log is printed, if it shows three or more; what is below 1e-15
    of the largest learning rate counts as 0. So a log in double and one in float32 are both equal.

    Args:
        schedule: a schedule, any callable `count -> value`, or a ReduceLROnPlateau.
        recorded: the learning rates that a run used, one row for each count, in one of these forms:

            numbers: a sequence or an array. Rows may be lists of one number, as torch's
            `get_last_lr()` returns them.

            columns: a mapping or a DataFrame. `lr` has the learning rates (or `learning_rate`,
            `last_lr`, `train/lr`, `lr-SGD`, `lr/group0` and the like). `step` (or `global_step`,
            `update`, `iteration`, `count`) has the count of each row, or else `epoch`.

            the path of a file: CSV, with commas, semicolons or tabs, with a header of such names;
            JSON lines, or a list in JSON, with such keys; Hugging Face's `trainer_state.json`; a
            TensorBoard event file or its folder (with the package tensorboard).

            Rows without a learning rate are passed over.
        steps_per_epoch: optimizer updates in an epoch, as `per_epoch` takes them. With it the rows
            are updates, or epochs if the only column is `epoch`. A schedule that holds no adapter
            is taken to be in epochs. Without it rows and schedule have one unit.

    Without `step` and `epoch` row i is count i. Rows that are numbered 1, 2, 3 ... are the counts
    0, 1, 2 ... or, if only that is equal, the counts 1, 2, 3 ... If the numbers go back, as in the
    log of a resumed run, the later rows count.

    A ReduceLROnPlateau hears the metric of the log: `val_loss` (or `eval_loss`, `metric`, `loss` and
    the like), in the row or in a row after it; with `steps_per_epoch` the last one of each epoch.

    Returns:
        A `Comparison`: `equal`; `count`, `expected` and `found` of the first difference, or None;
        and `diagnoses`, each with a `code`, a `message` and an `advice`. The diagnoses, one or two,
        together explain all rows of the log. If nothing explains them, there are none. `str()` of
        it is for people.

        ```text
        read-after-step       one count (or epoch) early, as get_last_lr() after step()
        off-by-one            one count (or epoch) late
        another-base-lr       and another-max-lr, -eta-min, -swa-lr: which
        another-gamma         and another-factor: which
        epochs-for-updates    each update counts as an epoch
        updates-for-epochs    each count lasts an epoch too many
        steps-per-epoch       epochs of another length: which
        no-warmup             the warmup is missing
        another-warmup        it is longer or shorter: how long
        added-warmup          the schedule has none: how long
        smooth                moves where the schedule stands still
        stands-still          and the other way round
        restart               goes on from count 0, or another count: where
        optax-late            optax's staircase under jit, one count late at some boundaries
        plateau-early         optax's plateau, one bad epoch early
        float32-arithmetic    differs only in the last digits of float32
        ```

    Raises:
        TypeError, ValueError, OSError: `recorded` is none of these, has no learning rate, or
            several; or a row has no number, or one that is not finite; or there is no such file.

    torch has no such function.

    >>> import jaxsched as js
    >>> schedule = js.StepLR(0.1, step_size=2)
    >>> js.compare(schedule, [0.1, 0.1, 0.01, 0.01, 0.001]).equal
    True
    >>> print(js.compare(schedule, [0.1, 0.1, 0.05, 0.05, 0.025]))
    Different from count 2 on: expected 0.01, found 0.05, relative difference 4.
    3 of 5 rows differ.
    another-gamma: The log has gamma=0.5, not 0.1. Give both runs one gamma.
    """
    is_plateau = isinstance(schedule, ReduceLROnPlateau)
    if not is_plateau:
        member("schedule", schedule)
    clock = None if steps_per_epoch is None else per_epoch(lambda epoch: 1.0, steps_per_epoch)
    record = read(recorded, is_plateau)
    numberings, known, replay = _numberings(record, clock), 2**63 - 1, None
    if is_plateau:
        if not record.metric:
            raise ValueError(
                "`recorded` must have a column `val_loss`, `metric` or the like, which a "
                "ReduceLROnPlateau hears"
            )
        note, shown = next(iter(numberings.items()))
        numberings = {note: np.arange(len(shown))}
        replay = functools.partial(_replay, metrics=_told(record.metrics, shown, clock))
    else:
        schedule, known = _on_host(schedule, int(max(c[-1] for c in numberings.values())) + 2)
        if clock is not None and not any(map(is_adapter, schedule._parts())):
            schedule = per_epoch(schedule, steps_per_epoch)
        shown = None
    logs = {
        note: Log(counts, record.lrs, record.slack, schedule, known, replay)
        for note, counts in numberings.items()
    }
    reading = Reading(schedule)
    wrong = {note: np.flatnonzero(~log.agrees(reading)) for note, log in logs.items()}
    note = min(wrong, key=lambda note: -wrong[note][0] if len(wrong[note]) else -math.inf)
    explained, diagnoses = diagnose(reading, logs, MISTAKES) if len(wrong[note]) else (note, ())
    note = explained or note
    notes = [note] if note else []
    if (record.slack > 2.0**-23 * np.abs(record.lrs)).any():
        notes.append(f"They are compared to the {record.digits} that the log prints.")
    if record.repeated:
        notes.append(f"{record.repeated} rows are left out, which later ones write again.")
    rows, count, epoch, expected, found = wrong[note], None, None, None, None
    if len(rows):
        row = int(rows[0])
        count = int((numberings[note] if shown is None else shown)[row])
        epoch = None if clock is None else int(clock._epoch(count, PYTHON)[0])
        expected = float(logs[note].expected(reading, numberings[note][[row]])[0])
        found = float(record.lrs[row])
    return Comparison(
        not len(rows),
        count,
        expected,
        found,
        diagnoses,
        len(record.lrs),
        len(rows),
        epoch,
        tuple(notes),
    )


def _numberings(record: Record, clock: per_epoch | None) -> dict[str, np.ndarray]:
    """The counts of the rows, by what there is to say about them."""
    labels = record.labels
    if labels is None:
        return {"": np.arange(len(record.lrs))}
    numberings = {"": labels}
    if labels[0] == 1 and (np.diff(labels) <= 1).all():
        numberings = {
            "They are numbered from 1, which is count 0.": labels - 1,
            "The first one is count 1.": labels,
        }
    if record.in_epochs and clock is not None:
        numberings = {note: _updates(epochs, clock) for note, epochs in numberings.items()}
    if max(int(counts[-1]) for counts in numberings.values()) >= 2**53:
        raise ValueError("`recorded` must have counts below 2**53")
    return numberings


def _updates(epochs: np.ndarray, clock: per_epoch) -> np.ndarray:
    """The update of each row, if rows have epochs only: the first of its epoch, or all of them."""
    lengths = np.atleast_1d(np.asarray(clock.steps_per_epoch))
    listed = np.minimum(epochs, len(lengths) - 1)
    starts = np.concatenate([[0], np.cumsum(lengths)])[listed]
    starts = starts + (epochs - listed) * lengths[-1]
    first, rows = np.unique(epochs, return_index=True, return_counts=True)[1:]
    place = np.arange(len(epochs)) - np.repeat(first, rows)
    if place.any() and (rows[:-1] != lengths[listed[first]][:-1]).any():
        raise ValueError(
            "`recorded` must have a column `step`, or one row for each epoch, or as many as "
            f"`steps_per_epoch` says, got {rows[0]} of epoch {epochs[0]}"
        )
    return starts + place


def _told(metrics: list[Any], counts: np.ndarray, clock: per_epoch | None) -> list[Any]:
    """What a plateau hears after each row: the last metric of an epoch, after its last row."""
    if clock is None:
        return metrics
    epochs = clock._epoch(counts, NUMPY)[0]
    told: list[Any] = [None] * len(metrics)
    heard = None
    for row, metric in enumerate(metrics):
        heard = heard if metric is None else metric
        if row + 1 == len(metrics) or epochs[row + 1] != epochs[row]:
            told[row], heard = heard, None
    return told


def _replay(plateau: ReduceLROnPlateau, early: bool, metrics: list[Any]) -> RecordedLR:
    """The learning rates in each row and after the last one, in double precision.

    `early` as optax does it: with a cut when bad == patience.
    """
    best = math.inf if plateau.mode == "min" else -math.inf
    bad = cooldown = cuts = 0
    places = [0]
    for metric in metrics:
        if metric is not None:
            is_better = plateau._is_better(metric, best)
            best = metric if is_better else best
            bad = 0 if is_better or cooldown else bad + 1
            cut = bad == plateau.patience and not cooldown if early else bad > plateau.patience
            cooldown = max(cooldown - 1, 0)
            if cut:
                bad, cooldown, cuts = 0, plateau.cooldown, cuts + 1
        places.append(cuts)
    return RecordedLR(plateau._lrs[np.minimum(places, len(plateau._lrs) - 1)])


# -- schedules on the host -----------------------------------------------------------------------


def _on_host(schedule: Any, num_counts: int) -> tuple[Schedule, int]:
    """The schedule in Python's numbers, and at how many counts it is known.

    Functions become tables, since calling one for each row takes long.
    """
    if not isinstance(schedule, Schedule):
        return RecordedLR(curve(schedule, num_counts)), num_counts

    def in_numbers(part: Any) -> Any:
        if part._is_concrete:
            return part
        arrays = {name: v for name, v in part.__getstate__().items() if has_arrays(v)}
        return dataclasses.replace(part, **jax.tree.map(lambda x: np.asarray(x).tolist(), arrays))

    def in_table(part: Any) -> Any:
        if not part._is_traced:
            return part
        try:
            with jax.enable_x64(True):
                lrs = jax.jit(part)(jnp.arange(num_counts))
        except (TypeError, jax.errors.JAXTypeError):  # JAX cannot trace it
            lrs = part(np.arange(num_counts))
        return RecordedLR(np.asarray(lrs))

    schedule = changed(schedule, in_numbers)
    if num_counts <= _MOST_KNOWN and any(part._is_traced for part in schedule._parts()):
        try:
            return changed(schedule, in_table), num_counts
        except ValueError:  # smooth_epochs takes no table, and a table no negative number
            pass
    return schedule, 2**63 - 1
