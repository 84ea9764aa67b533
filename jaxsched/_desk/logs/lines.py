"""A log of text lines: what stands in a line, as `name: number` or as JSON after a prefix."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from jaxsched._desk.logs.columns import is_label
from jaxsched._desk.logs.table import Collector, Table

_NAMED_RATE = re.compile(
    r"(?<![\w/])((?:[a-z]\w*[/_ -])?(?:lr|learning[ _-]?rate)\w*)['\"]?\s*[:=]\s*"
    r"(\[[^\]]*\]|(?:[^\s,;|)\]}]|,(?=\d))*)",
    re.IGNORECASE,
)
_COUNTER = re.compile(
    r"(?<![\w/])(?<!per )(global[ _]step|num_updates|iteration|iter|step|update|epoch)"
    r"['\"]?\s*[:=#]?\s*\[?\s*(\d++(?:,\d++)*+)(?![\w.])",
    re.IGNORECASE,
)
_EPOCH_AND_ITER = re.compile(  # Epoch [1][50/7330], Epoch(train)  [1][ 50/391], Train: 0 [ 50/1251
    r"(?:epoch|train)(?:\(train\))?\s*:?\s*\[?\s*(\d+)\]?:?\s*\[\s*(\d+)\s*/\s*(\d+)", re.IGNORECASE
)
_COLOR = re.compile(r"\x1b\[[\d;]*m")
_LENGTH = "updates in an epoch"
NO_LINE_END = "The last line has no line end: if it is cut, so is its last number."
CUT = "The last line is cut, and left out."
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf(inity)?)", re.IGNORECASE)


def decoder(hook: Any = None) -> json.JSONDecoder:
    """Numbers stay text, which says with how many digits they are printed."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"an object has {twice!r} twice")
        return hook(row) if hook else row

    return json.JSONDecoder(
        parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=once
    )


def read_lines(where: str, lines: Iterable[str], rows: Collector) -> Table | None:
    """The lines that have a learning rate and say where. None if no line has one."""
    decode, number, nowhere, lengths, line = decoder().decode, 0, 0, set(), "\n"
    notes: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            row = _fields(without_colors(line), decode)
        except ValueError as error:
            if line.endswith(("\n", "\r")):
                raise ValueError(f"line {number} {error}") from None
            row = None
            notes.append(CUT)
        if row is None:
            continue
        lengths.add(row.pop(_LENGTH, None))
        if any(is_label(name) for name in row):
            rows.add(row)
        else:
            nowhere += 1
    if not rows.num_rows + nowhere:
        return None
    notes.insert(0, f"{rows.num_rows} of {number} lines of text have a learning rate and a step.")
    if nowhere:
        if not rows.num_rows:
            raise ValueError(f"{nowhere} lines have a learning rate, and no step or epoch")
        notes.append(f"{nowhere} have a learning rate and no step, and are passed over.")
    if not line.endswith(("\n", "\r")) and CUT not in notes:
        notes.append(NO_LINE_END)
    (length,) = lengths if len(lengths) == 1 else (None,)
    table = rows.table(where, tuple(notes))
    return table if length is None else table._replace(epoch_length=int(length))


def without_colors(line: str) -> str:
    """As it is read in a terminal, of which it is a copy."""
    return _COLOR.sub("", line) if "\x1b" in line else line


def _fields(line: str, decode: Any) -> dict[str, Any] | None:
    found = _NAMED_RATE.findall(line)
    if not found:
        return None
    start = line.find("{")
    if start >= 0 and line[start + 1 :].lstrip().startswith('"'):  # fairseq's, after a prefix
        try:
            row = decode(line[start : line.rindex("}") + 1])
        except ValueError as error:
            raise ValueError(f"holds no JSON after its prefix: {error}") from None
        return row if isinstance(row, dict) else None
    fields: dict[str, Any] = {}

    def put(name: str, cell: str) -> None:
        if fields.setdefault(name, cell) != cell:
            raise ValueError(f"has two of {name!r}: {fields[name]} and {cell}")

    for name, text in found:
        cells = text.strip("[]").split(",") if text.startswith("[") else [text]
        cells = [*dict.fromkeys(cell.strip() for cell in cells)]  # equal groups are one
        for i, cell in enumerate(cells):
            if _NUMBER.fullmatch(cell):
                put(name if len(cells) == 1 else f"{name}/{i}", cell)
            elif cell[:1] in set("+-.0123456789") or not cell:
                raise ValueError(f"must have a number in {name!r}, got {cell!r}")
    if not fields:  # as in "lr: cosine"
        return None
    if place := _EPOCH_AND_ITER.search(line):
        put("epoch", place[1])
        put("iter", place[2])
        put(_LENGTH, place[3])
    for name, cell in _COUNTER.findall(line):
        if "," in cell:
            raise ValueError(f"must have a number without commas in {name!r}, got {cell!r}")
        if not (place and name.lower() == "epoch"):
            put(name.lower(), cell)
    return fields
