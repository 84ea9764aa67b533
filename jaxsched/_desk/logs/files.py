"""The file of a log: CSV, JSON, lines of text, TensorBoard. What is damaged is named."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from jaxsched._desk.logs.events import read_events
from jaxsched._desk.logs.lines import CUT, NO_LINE_END, decoder, read_lines, without_colors
from jaxsched._desk.logs.table import Collector, Table

_MOST_BYTES = 2**28
_MOST_SAME = 1000
_JSON = re.compile(r"\{\s*($|[\"}])|\[\s*($|[\[{\]\"]|[-+.\dNaefnlrtsu]+\s*($|[,\]]))")


def read_file(
    path: str, is_wanted: Callable[[Any], bool], is_header: Callable[[list[str]], bool]
) -> Table:
    """The columns of a file. `is_header` tells a line of CSV with their names from other text."""
    where = f"the log {path!r}"
    if os.path.isdir(path) or "tfevents" in os.path.basename(path):
        return read_events(path, where, is_wanted)
    status = os.stat(path)  # an OSError if there is no such file
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        raise ValueError(f"{where} must be a file of at most {_MOST_BYTES >> 20} MiB")
    try:
        with open(path, encoding=_encoding(path), newline="") as file:
            return _text(where, file, is_wanted, is_header)
    except (csv.Error, ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read: {error}") from None


def _encoding(path: str) -> str:
    with open(path, "rb") as file:
        mark = file.read(2)
    # PowerShell writes UTF-16, as of `python train.py > log.txt`.
    return "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _text(
    where: str,
    file: TextIO,
    is_wanted: Callable[[Any], bool],
    is_header: Callable[[list[str]], bool],
) -> Table:
    first = next((line for line in file if line.strip()), "").strip()
    if not first:
        raise ValueError("it is empty")
    file.seek(0)
    first = without_colors(first)
    if _JSON.match(first):
        return _json(where, file, first, is_wanted)
    delimiter = max(",\t;", key=first.count)
    cells = next(csv.reader([first], delimiter=delimiter))
    if not is_header([cell.strip() for cell in cells]):
        if table := read_lines(where, file, Collector(is_wanted)):
            return table
        file.seek(0)
    return _csv(where, _Lines(file), delimiter, is_wanted)


class _Lines:
    """The lines of a file, and whether the last one has an end."""

    def __init__(self, file: Iterable[str]):
        self.file, self.has_end = file, True

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.has_end = line.endswith(("\n", "\r"))
            yield line


def _csv(where: str, lines: _Lines, delimiter: str, is_wanted: Callable[[Any], bool]) -> Table:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = (row for row in reader if row)
    names = [name.strip() for name in next(rows)]
    wanted = [(name, i) for i, name in enumerate(names) if is_wanted(name)]
    for name, _ in wanted:
        if names.count(name) > 1:
            raise ValueError(f"it has two columns {name!r}")
    columns: dict[str, list[str]] = {name: [] for name, _ in wanted}
    same: dict[str, str] = {}  # one text for equal numbers: a long log has few different ones
    notes: tuple[str, ...] = ()
    number = -1
    try:
        for number, row in enumerate(rows):
            if len(row) < len(names) and not lines.has_end:
                notes = (CUT,)
                break
            if len(row) != len(names):
                raise ValueError(
                    f"row {number} has {len(row)} cells where the header has {len(names)}"
                )
            if any("\n" in cell or "\r" in cell for cell in row):
                raise ValueError(f"row {number} goes over many lines: a quote is not closed")
            for name, i in wanted:
                cell = row[i]
                if len(same) < _MOST_SAME:
                    same.setdefault(cell, cell)
                columns[name].append(same.get(cell, cell))
    except csv.Error as error:
        raise ValueError(f"{error} in row {number + 1}") from None
    if not lines.has_end and not notes:
        notes = (NO_LINE_END,)
    return Table(where, names, columns.__getitem__, notes)


def _json(where: str, file: TextIO, first: str, is_wanted: Callable[[Any], bool]) -> Table:
    kept = {"log_history"}
    decode = decoder(
        lambda row: {k: v if k in kept or is_wanted(k) else None for k, v in row.items()}
    ).decode
    rows = Collector(is_wanted)
    lines = _Lines(file)
    try:
        decode(first)
        are_lines = sum(1 for line in file if line.strip()) > 1
    except ValueError:
        are_lines = False
    file.seek(0)
    notes: tuple[str, ...] = ()
    if are_lines:
        found = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = decode(line.strip())
            except json.JSONDecodeError as error:
                if not lines.has_end:
                    notes = (CUT,)
                    continue
                message = f"{error.msg}: line {number} column {error.colno}"
                raise ValueError(message) from None
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if isinstance(row, dict):
                rows.add(row)
            else:
                found.append(row)
        if found and rows.num_rows:
            raise ValueError('each line must be an object, as {"step": 0, "lr": 0.1}')
        if not found:
            return rows.table(where, notes)
        return Table(where, ["lr"], {"lr": found}.__getitem__, notes)
    content = decode(file.read())
    if isinstance(content, dict):  # trainer_state.json, or columns, or one row
        content = content.get("log_history", content)
    if isinstance(content, dict):
        if any(isinstance(value, list) for value in content.values()):
            columns = {k: v if isinstance(v, list) else [v] for k, v in content.items()}
            return Table(where, [*columns], columns.__getitem__)
        content = [content]
    if not isinstance(content, list):
        raise ValueError("`log_history` must be a list")
    if not any(isinstance(row, dict) for row in content):
        if content and all(isinstance(row, list) and len(row) == 3 for row in content):
            names = ["Wall time", "Step", "Value"]  # as TensorBoard downloads them
            columns = dict(zip(names, map(list, zip(*content, strict=True)), strict=True))
            return Table(where, names, columns.__getitem__)
        return Table(where, ["lr"], {"lr": content}.__getitem__)
    for row in content:
        if not isinstance(row, dict):
            raise ValueError('each line must be an object, as {"step": 0, "lr": 0.1}')
        rows.add(row)
    return rows.table(where)
