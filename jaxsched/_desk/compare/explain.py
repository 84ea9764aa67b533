"""Why a log differs from its schedule: the simplest explanation that gives every row.

Each thing that may be other is an unknown: an argument, the structure, the clock. It is solved for
by the rows of the log, and what comes out is tried on all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._desk.compare import sentences
from jaxsched._desk.compare.clocks import clocks, restart
from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.compare.solve import Solution, Unknown, guesses, solved, wrong_rows
from jaxsched._desk.compare.structures import structures, tables
from jaxsched._desk.compare.unknowns import arguments
from jaxsched._desk.findings import Finding

_FEWEST_ROWS = 4
_MOST_GUESSES = 6


class Explanation(NamedTuple):
    name: str
    """Of the log that is explained: how its rows are numbered."""
    findings: tuple[Finding, ...]
    schedule: Any
    """That gives every row of the log, or None."""


def explain(reading: Reading, logs: dict[str, Log]) -> Explanation | None:
    """The simplest explanation of one of the logs.

    In this order: one thing is other; float32 arithmetic; one row is wrong; a restart; two things;
    and one or two in float32 arithmetic.
    """
    logs = {name: log for name, log in logs.items() if len(log.lrs) >= _FEWEST_ROWS}
    floats = {name: dataclasses.replace(log, in_float32=True) for name, log in logs.items()}
    are_float32 = {name: log for name, log in floats.items() if log.may_be_float32}
    with np.errstate(all="ignore"):
        for kind, search in (
            (floats, _nearly),
            (logs, _one),
            (floats, _none),
            (logs, _one_row),
            (logs, _restart),
            (logs, _two),
            (floats, _one),
            (floats, _restart),
            (are_float32, _two),
        ):
            found = [
                (cost, place, name, findings, last)
                for place, (name, log) in enumerate(kind.items())
                for cost, findings, last in search(reading, log)
            ]
            if found:
                _, _, name, findings, last = min(found, key=lambda each: each[:2])
                log = kind[name]
                schedule = None if last is None else last.written()
                if schedule is not None and not log.is_explained(Reading(schedule)):
                    schedule = None
                extra = (sentences.IN_FLOAT32,) * log.in_float32
                return Explanation(name, tuple(findings) + extra, schedule)
    return None


Found = Iterator[tuple[float, list[Finding], Reading | None]]


def _nearly(reading: Reading, log: Log) -> Found:
    if log.is_near(reading):
        yield from _none(reading, log)


def _none(reading: Reading, log: Log) -> Found:
    if log.is_explained(reading):
        yield 0, [], reading


def _one(reading: Reading, log: Log) -> Found:
    for solution in _solutions(reading, log):
        yield solution.cost, [solution.finding], solution.reading


def _one_row(reading: Reading, log: Log) -> Found:
    wrong = wrong_rows(log, reading)
    if len(wrong) == 1:
        row = int(wrong[0])
        count, found = int(log.counts[row]), float(log.lrs[row])
        yield 0, [sentences.one_row(count, log.value(reading, row), found)], None


def _restart(reading: Reading, log: Log) -> Found:
    for solution in _solved(restart(reading, log), reading, log):
        yield solution.cost, [solution.finding], solution.reading


def _two(reading: Reading, log: Log) -> Found:
    for first in _first_of_two(reading, log):
        for second in _seconds(first, log):
            findings = [first.finding, second.finding]
            # What is said of a warmup does not fit its absence, which is tried first.
            if findings[0].code != findings[1].code != "no-warmup":
                yield first.cost + second.cost, findings, second.reading


def _possible(reading: Reading, log: Log) -> Iterator[Unknown]:
    yield from arguments(reading)
    yield from tables(reading, log)
    yield from structures(reading, log)
    yield from clocks(reading)


def _solved(unknowns: Iterator[Unknown], reading: Reading, log: Log) -> Iterator[Solution]:
    row = log.first_wrong(reading)
    if row is not None:
        for unknown in unknowns:
            yield from itertools.islice(solved(unknown, log, row), 1)


def _solutions(reading: Reading, log: Log) -> Iterator[Solution]:
    return _solved(_possible(reading, log), reading, log)


# -- two things ----------------------------------------------------------------------------------


def _first_of_two(reading: Reading, log: Log) -> list[Solution]:
    """What makes the second a matter of one unknown, the simplest first."""
    row = log.first_wrong(reading)
    if row is None:
        return []
    changes, last = log.changes[:2].tolist(), len(log.lrs) - 1
    # The first wrong row, the ends, the top, and the first value that the log moves to.
    within = [sum(changes) // 2] if len(changes) > 1 else []
    rows = dict.fromkeys([row, 0, int(np.argmax(log.lrs)), *changes[:1], *within, last])

    def agreeing(reading: Reading) -> tuple[int, int]:
        agrees = log.agrees(reading, log.probes)
        return int(np.count_nonzero(agrees)), int(np.argmin([*agrees, False]))

    before = agreeing(reading)
    found: list[tuple[int, Solution]] = []
    for unknown in itertools.chain(arguments(reading), tables(reading, log)):
        for guess in guesses(unknown, log, rows):
            after = agreeing(guess.reading)
            if after[0] > before[0] or after[1] > before[1]:
                found.append((sum(after), guess))
    found.sort(key=lambda each: (-each[0], each[1].cost))
    firsts = [guess for _, guess in found[:_MOST_GUESSES]]
    for unknown in itertools.chain(structures(reading, log), clocks(reading)):
        firsts += guesses(unknown, log, rows) if unknown.values is not None else []
    return [first for first in firsts if first.needs <= len(log.changes) + 1]


def _seconds(first: Solution, log: Log) -> Iterator[Solution]:
    reading, spare = first.reading, len(log.changes) + 1 - first.needs
    row = log.first_wrong(reading)
    if first.is_last or row is None:
        return
    choices = itertools.chain(structures(reading, log), clocks(reading))
    for unknown in itertools.chain(
        arguments(reading),
        tables(reading, log),
        (unknown for unknown in choices if unknown.values is not None),
        restart(reading, log) if row > 1 else (),
    ):
        if unknown.needs <= spare:
            yield from itertools.islice(solved(unknown, log, row, quickly=True), 1)
