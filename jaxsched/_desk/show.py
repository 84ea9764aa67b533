"""show: a schedule as text, the value table of a docstring and a sparkline."""

from __future__ import annotations

import itertools
import textwrap
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import (
    Pieces,
    drawable,
    pieces,
    spans_decades,
)
from jaxsched._desk.placed import epoch_length, epoch_lengths, holds

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_MOST_ROWS = 12
WIDTH = 80
"""The columns of a terminal."""


def unit(schedule: Any, steps_per_epoch: int | None) -> str:
    """Of the counts: epochs, as torch's docstrings say, if nothing says that they are updates."""
    is_in_updates = steps_per_epoch is not None or epoch_lengths(schedule)
    return "update" if is_in_updates else "epoch"


def table(schedule: Schedule, lrs: np.ndarray | Pieces, steps_per_epoch: int | None) -> str:
    """Which learning rate is used when: a row for each piece, as in a docstring of torch.

    ```text
    0.1           for   0 <= epoch < 100
    0.01          for 100 <= epoch < 150
    0.01 ... 0    for 150 <= epoch < 250
    0             for 250 <= epoch
    ```
    """
    word = unit(schedule, steps_per_epoch)
    starts, values, num_counts = lrs if isinstance(lrs, Pieces) else pieces(lrs)
    course = schedule._course(np.float64)
    period = course.period if course and course.period <= num_counts else 0
    if period:
        values, starts = values[starts < period], starts[starts < period]
    num_counts = period or num_counts
    steps = epoch_length(schedule, steps_per_epoch) if word == "update" else None
    starts = np.append(starts, num_counts)
    rows = _rows(starts, values, are_steps=False)
    if len(rows) > _MOST_ROWS:
        rows = _rows(starts, values, are_steps=True)
    left_out = len(rows) - _MOST_ROWS
    if left_out > 0:
        rows = [*rows[: _MOST_ROWS - 2], *rows[-2:]]

    def lines(gap: str, most: int, digits: int, steps: int | None) -> list[str]:
        columns = []
        for first, last in rows:
            start, stop = int(starts[first]), int(starts[last])
            is_end = stop == num_counts and last - first == 1 and holds(schedule, stop)
            end = None if is_end else stop
            shown = [f"{lr:.6g}" for lr in values[[*range(first, last)[:most], last - 1]]]
            text = (
                ", ".join(shown[:-1])
                if last - first <= most
                else " ... ".join(shown[:: len(shown) - 1])
            )
            each = (stop - start) // (last - first)
            note = f"{gap}each for {each} {word}s" if 1 < each < stop - start else ""
            epochs = _range(start, "epoch", end, steps, digits)
            columns.append((text, *_range(start, word, end), *epochs, note))
        a, b, c, d, e = (max(map(len, column)) for column in [*zip(*columns, strict=True)][:5])
        return [
            f"{text:<{a}}{gap}for {start:>{b}}{end:<{c}}"
            + (f"{gap}{f'({first:>{d}}{last})':<{d + e + 2}}" if steps else "")
            + note
            for text, start, end, first, last, note in columns
        ]

    # Of a wide table the gaps are narrower, or there are fewer values and digits, or no epochs.
    wide, narrow = " " * 4, " " * 2
    layouts = [
        (wide, 4, 6, steps),
        (narrow, 4, 6, steps),
        (narrow, 1, 4, steps),
        (narrow, 1, 4, None),
    ]
    tables = (lines(*layout) for layout in layouts)
    fitting = next((t for t in tables if max(map(len, map(str.rstrip, t))) <= WIDTH), None)
    drawn = fitting or lines(*layouts[-1])
    if left_out > 0:
        drawn.insert(-2, f"... {left_out:,} rows more")
    if period:
        drawn.append(f"and again every {period} {word}s" if period > 1 else "and so on")
    return "\n".join(line.rstrip() for line in drawn)


def _range(
    start: int, word: str, end: int | None, steps: int | None = 1, digits: int = 6
) -> tuple[str, str]:
    first, last = (
        ""
        if n is None or not steps
        else f"{n / steps:.{digits}g}"
        if n % steps
        else f"{n // steps}"
        for n in (start, end)
    )
    return first, f" <= {word}" + (f" < {last}" if last else "")


def _rows(starts: np.ndarray, values: np.ndarray, are_steps: bool) -> list[tuple[int, int]]:
    """Pieces that stand still, or move in one direction, as the first run and the one after the
    last. Runs of one count move; with `are_steps` others of one length do, too."""
    widths, rises = np.diff(starts), np.diff(values) > 0
    joins = (widths[1:] == widths[:-1]) & (are_steps | (widths[1:] == 1))
    turns = np.flatnonzero(~joins[1:] | ~joins[:-1] | (rises[1:] != rises[:-1])) + 1
    firsts = [0, 1] if len(joins) and not joins[0] else [0]
    for turn in turns.tolist():
        # A jump back is two turns. What follows on it is one piece.
        if not joins[turn] or turn > firsts[-1]:
            firsts.append(turn + 1)
    return [*itertools.pairwise([*firsts, len(widths)])]


def fit(line: str) -> str:
    """A line in at most 80 columns: the call of a schedule, or a sparkline."""
    if len(line) <= WIDTH:
        return line
    if "    " in line:
        return "\n".join(line.rsplit("    ", 1))
    return textwrap.fill(
        line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def sparkline(lrs: np.ndarray, word: str, encoding: str) -> str:
    """The curve in one line of at most 60 characters, and what it is."""
    drawn = drawable(lrs)
    is_log = spans_decades(drawn)
    edges = np.linspace(0, len(drawn), min(len(drawn), 60) + 1).astype(int)
    heights = np.array([drawn[a:b].mean() for a, b in itertools.pairwise(edges)])
    low, high = 0.0, np.nanmax(heights, initial=0)
    if is_log:
        low, high = np.log(heights[heights > 0].min()), np.log(high)
        heights = np.log(np.maximum(heights, np.exp(low)))
    levels = np.nan_to_num((heights - low) / ((high - low) or 1), nan=1).clip(0, 1)
    try:
        characters = _BLOCKS.encode(encoding).decode(encoding)
    except (UnicodeError, LookupError):
        characters = _ASCII
    line = "".join(characters[round(7 * level)] for level in levels.tolist())
    scale = " on a log scale" if is_log else ""
    values = f"lr {np.nanmin(lrs):.6g} to {np.nanmax(lrs):.6g}{scale}"
    return f"{line}    {values}, {word}s 0 to {len(lrs) - 1}"
