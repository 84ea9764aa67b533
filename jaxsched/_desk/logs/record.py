"""A recorded log of learning rates: read from numbers, columns or a file, and checked."""

from __future__ import annotations

import functools
import math
import os
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxsched._base.arguments import Array, is_list
from jaxsched._base.hints import describe
from jaxsched._desk.logs.columns import Columns, choose, is_header, is_of_interest, ranked, widened
from jaxsched._desk.logs.files import read_file
from jaxsched._desk.logs.table import Collector, Table

_ENOUGH_DIGITS = 9  # with which a float32 is written in full


class DataFrame(Protocol):
    """Of pandas, polars and the like."""

    @property
    def columns(self) -> Any: ...
    def __getitem__(self, name: Any, /) -> Any: ...


Recorded = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | Array | DataFrame
"""What a log may be: a path, columns, rows, numbers."""


class Record(NamedTuple):
    """The rows of a log that have a learning rate, as they stand there."""

    lrs: np.ndarray
    slack: np.ndarray
    """How far a learning rate may be off because it is printed with few digits."""
    digits: str
    """How many digits these are, for people; "" if they are enough."""
    labels: np.ndarray | None
    """The steps or the epochs of the rows, if the log has them."""
    label: str
    """The name of their column, or ""."""
    in_epochs: bool
    """Whether the labels are epochs."""
    epochs: np.ndarray | None
    """The epochs beside labels that are steps, if each row has a whole one."""
    epoch_length: int | None
    """How many updates an epoch has, if the log says it."""
    metrics: list[float | None]
    """The metric that was seen after each row, if there was one."""
    metric: str
    """The name of its column, or ""."""
    notes: tuple[str, ...]
    """Sentences on how the log was read, where there was a choice."""


def read_log(recorded: Any, with_metric: bool = False, lr: Any = None, step: Any = None) -> Record:
    """Reads a log. The docstring of `compare` says what it may be."""
    if lr is None and step is None and (lrs := _plain(recorded)) is not None:
        return Record(lrs, np.zeros(len(lrs)), "", None, "", False, None, None, [], "", ())
    named = [name for name in (lr, step) if name is not None]
    is_wanted = functools.cache(lambda name: name in named or is_of_interest(name))
    table = widened(_table(recorded, is_wanted, lr))
    columns = choose(table, with_metric, lr, step)
    return _record(table, columns)


def _plain(recorded: Any) -> np.ndarray | None:
    """Finite floats, one for each count: these need no table, which is slow for a million."""
    if isinstance(recorded, list) and recorded and set(map(type, recorded)) == {float}:
        recorded = np.array(recorded)
    if not isinstance(recorded, np.ndarray) or recorded.ndim != 1 or recorded.dtype.kind != "f":
        return None
    lrs = recorded.astype(np.float64)
    return lrs if len(lrs) and np.isfinite(lrs).all() else None


def _table(recorded: Any, is_wanted: Any, lr: Any) -> Table:
    if isinstance(recorded, (str, os.PathLike)):
        path = os.fsdecode(recorded)
        return read_file(path, is_wanted, lambda cells: is_header(cells, lr))
    where = "`recorded`"
    if isinstance(recorded, Mapping):
        return Table(where, [*recorded], lambda name: _items(recorded[name], name))
    if hasattr(recorded, "columns"):  # a DataFrame, in which NaN stands for no value

        def column(name):
            return [None if x != x else x for x in _items(recorded[name], name)]

        return Table(where, [*recorded.columns], column)
    rows = _items(recorded, "recorded")
    if rows and all(isinstance(row, Mapping) for row in rows):
        collected = Collector(is_wanted)
        for row in rows:
            collected.add(row)
        return collected.table(where)
    return Table(where, ["lr"], {"lr": rows}.__getitem__)


def _items(values: Any, name: str) -> list[Any]:
    if hasattr(values, "__array__") and getattr(values, "ndim", 1):
        values = np.asarray(values)
        # A float32 as the double that it is, not in the few digits in which NumPy prints it.
        return (values.astype(np.float64) if values.dtype.kind == "f" else values).tolist()
    if not is_list(values) or hasattr(values, "__array__"):
        raise TypeError(
            f"`{name}` must be numbers, one for each count, or columns of them, or the path of a "
            f"log, got {describe(values)}"
        )
    return list(values)


def _record(table: Table, columns: Columns) -> Record:
    where, lr, label, metric = table.where, columns.lr, columns.label, columns.metric
    cells = table.column(lr)
    mode = next(iter(ranked(table.names, ("mode",))), "")
    names = (label, metric, columns.epoch, mode)
    others = [table.column(name) if name != "" else [None] * len(cells) for name in names]
    for name, values in zip(names, others, strict=True):
        if len(values) != len(cells):
            raise ValueError(
                f"{where} must have columns of one length, got {len(cells)} of {lr!r} and "
                f"{len(values)} of {name!r}"
            )
    lrs, labels, epochs, metrics = array("d"), array("q"), array("q"), []
    printed, other_modes = _Printed(), 0
    for row, (cell, at, seen, epoch, kind) in enumerate(zip(cells, *others, strict=True)):
        cell, seen = _content(cell), _content(seen)
        if cell is not None and kind is not None and kind != "train":  # mmcv's of a validation
            cell, other_modes = None, other_modes + 1
        if cell is not None:
            lrs.append(_number(cell, where, row, lr))
            printed.add(cell)
            labels.append(_whole(_content(at), where, row, label) if label != "" else row)
            metrics.append(None)
            if epoch is not None and (whole := _as_whole(epoch)) is not None:
                epochs.append(whole)
        if seen is not None and metrics:  # in a row of its own it belongs to the last one
            metrics[-1] = _number(seen, where, row, metric, finite=False)
    if not lrs:
        raise ValueError(f"{where} must have a row with a number in {lr!r}; it has none")
    notes = [*table.notes, *columns.notes]
    if other_modes:
        notes.append(f"{other_modes} rows are passed over, because their {mode!r} is not 'train'.")
    values = np.array(lrs)
    slack, digits = printed.precision(values)
    return Record(
        values,
        slack,
        digits,
        np.array(labels) if label != "" else None,
        str(label),
        columns.in_epochs,
        np.array(epochs) if len(epochs) == len(lrs) else None,
        table.epoch_length,
        metrics if metric != "" else [],
        str(metric),
        tuple(notes),
    )


def _content(cell: Any) -> Any:
    """What is in a cell; None if it is empty. A list of one number is that number."""
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) == 1:
        if len(cell) != 1:
            raise ValueError(
                f"`recorded` must have one number in each row, got {describe(cell)}: give the "
                "learning rates of one parameter group"
            )
        return _content(cell[0])
    return cell


def _number(cell: Any, where: str, row: int, name: Any, finite: bool = True) -> float:
    try:
        number = math.nan if isinstance(cell, (bool, bytes)) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number, finite = math.nan, True
    if finite and not math.isfinite(number):
        raise ValueError(
            f"{where} must have finite numbers in {name!r}, got {describe(cell)} in row {row}"
        )
    return number


def _whole(cell: Any, where: str, row: int, name: Any) -> int:
    number = -1.0 if cell is None else _number(cell, where, row, name)
    if number < 0 or number >= 2**53 or not number.is_integer():
        raise ValueError(
            f"{where} must have whole numbers >= 0 in {name!r}, got {describe(cell)} in row {row}"
            + "; log the `step`" * (number > 0)
        )
    return int(number)


def _as_whole(cell: Any) -> int | None:
    try:
        number = float(_content(cell))
    except (TypeError, ValueError):
        return None
    return int(number) if 0 <= number < 2**53 and number.is_integer() else None


class _Printed:
    """The digits with which a log prints its numbers. Numbers in memory are not printed."""

    def __init__(self) -> None:
        self.digits, self.decimals = array("q"), array("q")
        self.is_exact = False

    def add(self, cell: Any) -> None:
        if self.is_exact:
            return
        if not isinstance(cell, str):
            self.is_exact = True
            return
        mantissa, _, exponent = cell.lower().partition("e")
        whole, _, fraction = mantissa.partition(".")
        digits = len((whole + fraction).lstrip("+-0_"))
        self.digits.append(digits)
        self.decimals.append(len(fraction) - int(exponent if exponent and digits else 0))
        self.is_exact = digits > _ENOUGH_DIGITS

    def precision(self, lrs: np.ndarray) -> tuple[np.ndarray, str]:
        """Half a unit of the last digit in each row, and how many digits there are."""
        digits, decimals = np.array(self.digits), np.array(self.decimals)
        if self.is_exact or digits.max() < 3:  # 0.1 is a number, and no rounded one
            return np.zeros(len(lrs)), ""
        most_digits, most_decimals = digits.max(), decimals.max()
        # As "%.4f" and round(lr, 4) print, or as "%.4g": what more rows look like.
        like_f = np.count_nonzero(decimals == most_decimals)
        if like_f >= np.count_nonzero(digits == most_digits):
            return np.full(len(lrs), 0.5 * 10.0**-most_decimals), f"{most_decimals} decimals"
        with np.errstate(divide="ignore"):
            places = np.floor(np.log10(np.abs(lrs))) + 1 - most_digits
        return 0.5 * 10.0**places, f"{most_digits} digits"
