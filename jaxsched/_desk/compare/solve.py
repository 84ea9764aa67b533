"""One thing of a reading as the unknown: solved for, by the rows of the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.findings import Finding
from jaxsched._desk.numerals import digits, numbers, whole_numbers

_MOST_BRACKETS = 4
_LOST = 1e-6
_MOST_IN_TUPLE = 16
_MOST_ROWS = 40  # that narrow one bracket
_REALS = (
    0.0,
    *(2.0**k for k in range(-40, 41, 2)),
    *(k / 16 for k in range(1, 16)),
    *(1 + sign * 2.0**-k for k in range(5, 24, 2) for sign in (-1, 1)),
)
_FEW_REALS = (0.0, *(2.0**k for k in range(-40, 41, 8)), 0.25, 0.5, 0.75, 0.999, 1.001)


class Unknown(NamedTuple):
    """What may be other in the log, as a number or a choice.

    `make` gives the reading with another value, or None if a schedule refuses it.
    """

    make: Callable[[Any], Reading | None]
    old: Any
    tell: Callable[[Any], Finding]
    cost: float | Callable[[Any], float]
    """What an explanation costs by it, beside the digits of the value."""
    needs: int = 2
    """How many different values a log has to have, so that the value is no guess."""
    values: Callable[[Log], Iterable[Any]] | None = None
    """What is tried. None: `old` is a number, and another one is solved for."""
    is_last: bool = False
    """Whether what is said of a further unknown would not fit the schedule that was given."""


class Solution(NamedTuple):
    reading: Reading
    finding: Finding
    cost: float
    needs: int
    is_last: bool


def solved(unknown: Unknown, log: Log, row: int, quickly: bool = False) -> Iterator[Solution]:
    """Each value that gives every row. The row is one that differs.

    Quickly: not all values that lie close to each other are looked at.
    """
    if unknown.needs > len(log.changes) + 1:
        return
    if unknown.values is not None:
        for value in unknown.values(log):
            reading = unknown.make(value)
            if reading and not log.side(reading, row) and log.is_explained(reading):
                solution = _solution(unknown, value, value, value)
                yield solution._replace(finding=_with_gaps(unknown, log, value, solution.finding))
        return
    is_real = isinstance(unknown.old, float)
    for low, high in _brackets(unknown, log, row, quickly):
        for _ in range(_MOST_ROWS):
            value, *_ = [*(numbers if is_real else _wholes)(low, high), low]
            if is_real and abs(value - unknown.old) <= _LOST * (unknown.old or quickly * log.peak):
                break  # float32 arithmetic makes the smaller differences
            reading = unknown.make(value)
            wrong = log.first_wrong(reading) if reading else row
            if wrong is None:
                yield _solution(unknown, value, *_ends(unknown, log, value, low, high))
                break
            bounds = _narrowed(_sides(unknown, log, wrong), low, high, is_real)
            if bounds is None or bounds == (low, high):
                break
            low, high = bounds


def guesses(unknown: Unknown, log: Log, rows: Iterable[int]) -> list[Solution]:
    """The values that give some of the rows, so that another unknown may give the others."""
    if unknown.values is not None:
        values = [*unknown.values(log)]
    else:
        is_real = isinstance(unknown.old, float)
        values = []
        for row in rows:
            for low, high in _brackets(unknown, log, row):
                # A count that is the first or the last to give a row gives the row beside, too.
                values += (
                    numbers(low, high)[:1] if is_real else [*_wholes(low, high)[:1], low, high]
                )
    readings = {value: unknown.make(value) for value in values}
    return [_solution(unknown, x, x, x) for x, reading in readings.items() if reading]


def _wholes(low: int, high: int) -> list[int]:
    return [0] * (low <= 0) or whole_numbers(low, high)


def _solution(unknown: Unknown, value: Any, first: Any, last: Any) -> Solution:
    if first != last:  # the roundest of those that the rows allow
        value = next((x for x in _wholes(first, last) if unknown.make(x)), value)
    finding = unknown.tell(value)
    if first != last:
        message = f"{finding.message} The rows leave {first} to {last} open."
        finding = finding._replace(message=message)
    reading = unknown.make(value)
    assert reading is not None
    written = value if isinstance(value, tuple) else [value]
    before = unknown.old if isinstance(value, tuple) else [unknown.old]
    others = [x for x in written if x not in before and type(x) in (int, float)]
    cost = unknown.cost(value) if callable(unknown.cost) else unknown.cost
    cost += sum(map(digits, others))
    return Solution(reading, finding, cost, unknown.needs, unknown.is_last)


def _sides(unknown: Unknown, log: Log, row: int) -> Callable[[Any], float]:
    def side(value: Any) -> float:
        reading = unknown.make(value)
        return math.nan if reading is None else log.side(reading, row)

    return side


# -- bounds --------------------------------------------------------------------------------------


def _points(unknown: Unknown, log: Log, quickly: bool) -> list[Any]:
    """Values from small to large, dense where the value is likely."""
    old = unknown.old
    if isinstance(old, float) and quickly:
        return sorted({*_FEW_REALS, old / 1.5, old * 1.5, old, log.peak, log.peak / 10})
    if isinstance(old, float):
        own = [old * (1 + sign * 2.0**-k) for k in range(1, 22, 3) for sign in (-1, 1)]
        return sorted({*_REALS, *own, *(log.peak * 2.0**-k for k in range(0, 24, 2))})
    places = [int(log.counts[row]) for row in log.changes[:4]]
    by, width = (4, 4) if quickly else (1, 24)
    spread = [round(max(old, 1) * 2.0 ** (k / 4)) for k in range(-60, 61, by)]
    near = range(old - width, old + width + 1)
    most = max(4 * (int(log.counts[-1]) + 1), 4 * old, 64)
    return sorted({n for n in (*near, *spread, *places, 0, 1, 2, 3, most) if 0 <= n <= most})


def _brackets(
    unknown: Unknown, log: Log, row: int, quickly: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Bounds within which one row is as expected, those near the old value first."""
    side = _sides(unknown, log, row)
    tried = [(x, s) for x in _points(unknown, log, quickly) if (s := side(x)) == s]
    found = []
    start = 0
    while start < len(tried):
        stop = start
        while stop < len(tried) and tried[stop][1] == tried[start][1] == 0:
            stop += 1
        if stop > start:  # all of these give the row
            ends = tried[max(start - 1, 0)][0], tried[min(stop, len(tried) - 1)][0]
            found.append((tried[start][0], tried[stop - 1][0], *ends))
            start = stop
        elif start + 1 < len(tried) and tried[start][1] * tried[start + 1][1] < 0:
            found.append((None, None, tried[start][0], tried[start + 1][0]))
            start += 1
        else:
            start += 1
    found.sort(key=lambda b: abs(b[2] + b[3] - 2 * unknown.old))
    is_real = isinstance(unknown.old, float)
    for first, last, low, high in found[:_MOST_BRACKETS]:
        if first is None:
            bounds = _narrowed(side, low, high, is_real)
        else:
            bounds = _edge(side, low, first, is_real), _edge(side, high, last, is_real)
        if bounds is not None:
            yield bounds


def _narrowed(side: Callable[[Any], float], low: Any, high: Any, is_real: bool) -> Any:
    """The bounds within others that give a row, if it only rises or only falls between them."""
    first, last = side(low), side(high)
    if not first * last <= 0:
        return None
    left, right, inside = low, high, low if not first else high if not last else None
    while inside is None:
        middle = _middle(left, right, is_real)
        if middle is None or (at := side(middle)) != at:
            return None
        if not at:
            inside = middle
        elif at == first:
            left = middle
        else:
            right = middle
    return (
        _edge(side, left, inside, is_real) if first else low,
        _edge(side, right, inside, is_real) if last else high,
    )


def _edge(side: Callable[[Any], float], outer: Any, inner: Any, is_real: bool) -> Any:
    """The last value from `inner` towards `outer` that gives the row."""
    start = inner
    if side(outer) == 0:
        return outer
    for _ in range(64):
        middle = _middle(min(outer, inner), max(outer, inner), is_real)
        if middle is None or (is_real and abs(outer - inner) < 1e-3 * abs(inner - start)):
            break
        if side(middle) == 0:
            inner = middle
        else:
            outer = middle
    return inner


def _middle(low: Any, high: Any, is_real: bool) -> Any:
    if not is_real:
        return (low + high) // 2 if high - low > 1 else None
    # By ratio where the bounds are far from each other.
    middle = math.sqrt(low * high) if 0 < 4 * low < high else (low + high) / 2
    return middle if low < middle < high else None


def _with_gaps(unknown: Unknown, log: Log, value: Any, finding: Finding) -> Finding:
    """With what the gaps between the rows leave open of each new count in a tuple."""
    gap = int(np.diff(log.counts).max())
    if gap < 2 or not isinstance(value, tuple) or len(value) > _MOST_IN_TUPLE:
        return finding
    said = []
    for i, n in enumerate(value):
        if n not in unknown.old:
            place = unknown._replace(
                make=lambda n, i=i: unknown.make((*value[:i], n, *value[i + 1 :]))
            )
            first, last = _ends(place, log, n, max(n - gap, 0), n + gap)
            said += [f"{first} to {last}"] if first != last else []
    if not said:
        return finding
    return finding._replace(message=f"{finding.message} The rows leave {' and '.join(said)} open.")


def _ends(unknown: Unknown, log: Log, value: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """The smallest and the largest whole number around the value that give every row."""
    if isinstance(value, float):
        return value, value

    def is_other(n: int) -> float:
        reading = unknown.make(n)
        return float(reading is None or not log.is_explained(reading))

    beside = [n for n in (value - 1, value + 1) if low <= n <= high and not is_other(n)]
    first = _edge(is_other, low, value, False) if value - 1 in beside else value
    last = _edge(is_other, high, value, False) if value + 1 in beside else value
    return first, last


def wrong_rows(log: Log, reading: Reading) -> np.ndarray:
    return np.flatnonzero(~log.agrees(reading))
