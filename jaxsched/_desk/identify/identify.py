"""identify: the schedule that gives every row of a log."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import EpochLengths
from jaxsched._desk.identify.composed import composed, in_epochs, simple
from jaxsched._desk.identify.cost import cost
from jaxsched._desk.identify.points import Points
from jaxsched._desk.logs.numbering import Numbering, numbered
from jaxsched._desk.logs.record import Record, Recorded, read_log
from jaxsched._schedules.epochs import Clock

_FEWEST_ROWS = 4
_EXACT, _FLOAT32 = 1e-13, 2.0**-23
_CHEAP = 6.0  # what costs less is not looked for among compositions
# How much more another schedule may cost, if it is not to be named; or if it is not to be a reason
# to refuse; or where it is of another class and differs between the log's rows.
_NAMED, _ALIKE, _BETWEEN = 3.0, 1.0, 2.5
_MOST_COUNTS = 2**17
_KNOWN = 0.6  # part of a log's digits that a schedule may cost: more is a guess


class Identified(NamedTuple):
    """A schedule that gives every row of a log, and what there is to say of it."""

    schedule: Schedule
    notes: tuple[str, ...]
    """On how the log is read, and on what it leaves open."""
    counts: np.ndarray
    lrs: np.ndarray


class _Answer(NamedTuple):
    price: float
    schedule: Schedule
    others: tuple[tuple[float, Schedule, int], ...]
    """What gives every row as well, with its price, and the first count at which it differs."""


def identify(
    recorded: Recorded,
    *,
    steps_per_epoch: EpochLengths | None = None,
    lr: Hashable | None = None,
    step: Hashable | None = None,
) -> Schedule:
    """Reads a schedule out of a log of learning rates: the simplest one that gives every row.

    ```text
    steps         StepLR, MultiStepLR, ConstantLR: where the learning rate changes, and how much
    curves        LinearLR, ExponentialLR, PolynomialLR, CosineAnnealingLR, SWALR
    cycles        CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
    compositions  a warmup before any of these, or a hold (SequentialLR); two factors
                  (ChainedScheduler); a value for each epoch (per_epoch); one that holds (clamp)
    ```

    Its numbers are short, as people write them: 0.1 for a float32 that is 0.10000000149. A row is
    given by a schedule as in `compare`: to the precision of float32, or to the digits that the log
    prints. The schedule is right as far as the log goes: what the rows do not show, as a milestone
    after the last one, cannot be read out of them. Of schedules that are equal in all rows and also
    later, such as PolynomialLR with a power of 1 and LinearLR down to 0, one is chosen.

    Args:
        recorded: a log as in `compare`: numbers, one for each count; columns; a path.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1, or a sequence of such
            integers. Then the counts are updates, and what stands still in epochs is read in
            epochs, in `per_epoch`.
        lr, step: the names of the columns, where they are not plain, as in `compare`.

    Returns:
        A schedule, whose repr is the line to paste.

    Raises:
        ValueError: no schedule of these gives every row, and the message says up to where one does;
            or the log cannot tell: it has one learning rate, or fewer than 4 rows, or two
            schedules of about the same length give all rows and go on differently. The message
            has both.

    torch has no such function.

    >>> import jaxsched as js
    >>> js.identify([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])
    StepLR(0.1, step_size=3, gamma=0.1)
    >>> warmup, cosine = js.LinearLR(0.1, 0.01, total_iters=5), js.CosineAnnealingLR(0.1, 85)
    >>> schedule = js.SequentialLR([warmup, cosine], milestones=[5])
    >>> js.identify([schedule(count) for count in range(90)]) == schedule
    True
    >>> js.identify([0.1, 0.1, 0.1, 0.1])
    Traceback (most recent call last):
    ValueError: `recorded` cannot tell: it has one learning rate, 0.1, in all 4 rows
    """
    found = read(recorded, steps_per_epoch=steps_per_epoch, lr=lr, step=step)
    if isinstance(found, str):
        raise ValueError(found)
    return found.schedule


def read(
    recorded: Any, *, steps_per_epoch: Any = None, lr: Any = None, step: Any = None
) -> Identified | str:
    """What `identify` gives, with notes on how the log was read and on what it leaves open; or why
    it gives nothing."""
    clock = None if steps_per_epoch is None else Clock(steps_per_epoch)
    record, numberings, notes = numbered(read_log(recorded, lr=lr, step=step), clock)
    found = identified(record, numberings, clock)
    if found is None:
        begun, row = _begun(record, numberings[0], clock)
        if begun is None or row is not None:
            return _nothing(record, numberings[0], begun, row or 0)
        found = _told(record, numberings[0], begun)
    return found if isinstance(found, str) else found._replace(notes=(*notes, *found.notes))


def identified(
    record: Record, numberings: list[Numbering], clock: Clock | None
) -> Identified | str | None:
    """What gives every row, in the numbering in which it is simplest; or why the rows cannot tell;
    or None, if nothing does."""
    n = len(record.lrs)
    if n < _FEWEST_ROWS:
        return f"`recorded` cannot tell: it must have at least {_FEWEST_ROWS} rows, got {n}"
    if (record.lrs == record.lrs[0]).all():
        return (
            f"`recorded` cannot tell: it has one learning rate, {record.lrs[0]:g}, in all {n} rows"
        )
    answers = [_answer(record, numbering, clock) for numbering in numberings]
    found = [(each.price, place, each) for place, each in enumerate(answers) if each is not None]
    if not found:
        return None
    _, place, answer = min(found)
    return _told(record, numberings[place], answer)


def _told(record: Record, numbering: Numbering, answer: _Answer) -> Identified | str:
    schedule, end = answer.schedule, int(numbering.counts[-1])
    for price, other, count in answer.others:
        is_like = count > end or type(other) is type(schedule)
        if price < answer.price + (_ALIKE if is_like else _BETWEEN):
            place = "after the log" if count > end else "between rows"
            return (
                f"`recorded` cannot tell {schedule} from {other}: both give all rows, and differ "
                f"at count {count:,}, {place}"
            )
    said = filter(None, [numbering.note, *_open(answer, end, record)])
    return Identified(schedule, tuple(said), numbering.counts, record.lrs)


def _answer(record: Record, numbering: Numbering, clock: Clock | None) -> _Answer | None:
    for points in _points(record, numbering):
        first = np.flatnonzero(np.diff(points.counts, prepend=-1))
        answer = _cheapest(points.of(first), points, clock)
        if answer is not None:
            return answer
    return None


def _points(record: Record, numbering: Numbering) -> Iterator[Points]:
    """The rows, first as doubles if they are: they say far more of a curve that was cut."""
    lrs, peak = record.lrs, float(np.abs(record.lrs).max())
    with np.errstate(over="ignore"):
        is_double = (lrs != lrs.astype(np.float32)).any() and not record.slack.any()
    for relative in (_EXACT, _FLOAT32) if is_double else (_FLOAT32,):
        yield Points(numbering.counts, lrs, record.slack, relative, peak)


def _cheapest(points: Points, rows: Points, clock: Clock | None) -> _Answer | None:
    """Of the schedules that give all rows the one that costs least, if it is no guess."""
    readers: list[Callable[[Points], Iterator[Schedule]]] = [simple, composed, in_epochs]
    if clock is not None:
        readers.insert(0, functools.partial(in_epochs, clock=clock))
    given = None if clock is None else clock.lengths
    most = _KNOWN * _digits(points)
    found: list[tuple[float, Schedule]] = []
    for reader in readers:
        priced = [(cost(each, points.end, given), each) for each in dict.fromkeys(reader(points))]
        for price, schedule in sorted(priced, key=lambda pair: (pair[0], len(repr(pair[1])))):
            if price > most or (found and price >= found[0][0] + _NAMED):
                break
            if points.given_by(schedule) and (
                len(rows.lrs) == len(points.lrs) or rows.given_by(schedule)
            ):
                found.append((price, schedule))
        found.sort(key=lambda pair: pair[0])
        if found and found[0][0] <= _CHEAP:
            break
    if not found:
        return None
    (price, best), *others = found
    parted = [(each, other, _parting(best, other, points.counts)) for each, other in others[:6]]
    return _Answer(price, best, tuple((a, b, count) for a, b, count in parted if count is not None))


def _digits(points: Points) -> float:
    """How many digits the log has: those of its first row and of each that is another, and where
    it changes, if it stands still in between."""
    points = points.told
    rows = points.of(np.array([0, *points.changes[:4096]]))
    allowed = np.maximum(np.maximum(_FLOAT32 * np.abs(rows.lrs), rows.slack), 1e-300)
    digits = np.log10(np.maximum(np.abs(rows.lrs), points.peak * 1e-3) / allowed)
    stands = 2 * len(points.changes) < len(points.lrs)
    places = len(points.changes) * math.log10(len(points.lrs)) if stands else 0.0
    return float(np.minimum(digits, 7).sum()) + places


# -- what a log leaves open ----------------------------------------------------------------------


def _parting(one: Schedule, other: Schedule, rows: np.ndarray) -> int | None:
    """The first count at which two schedules differ that give the rows, up to twice the run."""
    end = int(rows[-1])
    first = end + 1 if len(rows) == end - rows[0] + 1 else int(rows[0])
    counts = np.arange(first, 2 * end + 3)
    if len(counts) > _MOST_COUNTS:
        counts = np.unique(np.linspace(first, 2 * end + 2, _MOST_COUNTS).astype(int))
    a, b = one(counts), other(counts)
    differ = np.abs(a - b) > 4 * _FLOAT32 * np.maximum(np.abs(a), np.abs(b))
    differ &= np.abs(a - b) > 1e-9 * abs(float(one(0)))
    return int(counts[np.argmax(differ)]) if differ.any() else None


def _open(answer: _Answer, end: int, record: Record) -> Iterator[str]:
    """What there is to say of an answer."""
    after = answer.schedule(np.arange(end, 2 * end + 2))
    if (after != after[0]).any():
        yield f"The rows end at count {end:,}: the schedule is right as far as they go."
    for _, other, count in answer.others[:1]:
        yield f"{other} gives all rows, too, and differs from it at count {count:,}."
    if record.digits:
        yield f"It gives them to the {record.digits} that the log prints."


def _begun(
    record: Record, numbering: Numbering, clock: Clock | None
) -> tuple[_Answer | None, int | None]:
    """What gives the first half of the rows, or an eighth, and so on; and the first other row, if
    there is one: a tail may be too small to be read and yet be given."""
    rows = [*_points(record, numbering)][-1]
    n = 2 * len(rows.lrs)
    while (n := n // 4) >= 2 * _FEWEST_ROWS:
        start = rows.of(slice(0, n))
        points = start.of(np.flatnonzero(np.diff(start.counts, prepend=-1)))
        answer = _cheapest(points, start, clock) if len(points.changes) > 1 else None
        if answer is not None:
            if rows.given_by(answer.schedule):
                others = [each for each in answer.others if rows.given_by(each[1])]
                return answer._replace(others=tuple(others)), None
            return answer, int(np.argmin(rows.agree(answer.schedule)))
    return None, None


def _nothing(record: Record, numbering: Numbering, begun: _Answer | None, row: int) -> str:
    """What was seen: up to where a schedule gives the rows, or where they change."""
    counts, lrs = numbering.counts, record.lrs
    if begun is not None:
        return (
            f"nothing gives all rows of `recorded`: {begun.schedule} gives those before count "
            f"{counts[row]:,}, where it is {begun.schedule(int(counts[row])):.9g} and the log has "
            f"{lrs[row]:.9g}"
        )
    changes = np.flatnonzero(np.diff(lrs)) + 1
    if len(lrs) == len(changes) + 1:
        seen = "the learning rate changes in every row"
    else:
        where = ", ".join(f"{n:,}" for n in counts[changes[:5]])
        seen = f"the learning rate changes at counts {where}{', ...' * (len(changes) > 5)}"
    return f"nothing gives all rows of `recorded`: {seen}, in no way that a schedule here does"
