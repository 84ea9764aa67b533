"""A recorded log of learning rates: read from numbers, columns or a file, and checked."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxsched._base.arguments import Array, is_list
from jaxsched._base.hints import describe

_MOST_BYTES = 2**28
_ENOUGH_DIGITS = 9  # with which a float32 is written in full
_LR = re.compile(
    r"(.*[/ .-])?(lr|learning[_ ]?rate|last_lr)([/ ._-].*)?", re.IGNORECASE | re.DOTALL
)
_STEPS = ("step", "global_step", "steps", "update", "updates", "iteration", "iter", "count")
_EPOCHS = ("epoch", "epochs", "current_epoch")
_METRICS = ("val_loss", "eval_loss", "valid_loss", "validation_loss", "test_loss", "metric", "loss")

Columns = dict[str, list[Any]]


class DataFrame(Protocol):
    """Of pandas, polars and the like."""

    @property
    def columns(self) -> Any: ...
    def __getitem__(self, name: Any, /) -> Any: ...


Recorded = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | Array | DataFrame
"""What a log may be: a path, columns, rows, numbers."""


class Record(NamedTuple):
    """The rows of a log that have a learning rate. Their labels never fall."""

    lrs: np.ndarray
    slack: np.ndarray
    """How far a learning rate may be off because it is printed with few digits."""
    digits: str
    """How many digits these are, for people; "" if they are enough."""
    labels: np.ndarray | None
    """The steps or the epochs of the rows, if the log has them."""
    in_epochs: bool
    """Whether the labels are epochs."""
    metrics: list[float | None]
    """The metric that was seen after each row, if there was one."""
    metric: str
    """The name of its column, or ""."""
    repeated: int
    """How many rows are left out because the run went back and wrote them again."""


def read_log(recorded: Any, with_metric: bool = False) -> Record:
    """Reads a log. The docstring of `compare` says what it may be."""
    if isinstance(recorded, (str, os.PathLike)):
        where, columns = _file(os.fsdecode(recorded))
        return _record(where, [*columns], columns.__getitem__, with_metric)
    where = "`recorded`"
    if isinstance(recorded, Mapping):
        return _record(where, [*recorded], lambda name: _items(recorded[name], name), with_metric)
    if hasattr(recorded, "columns"):  # a DataFrame, in which NaN stands for no value

        def column(name):
            return [None if x != x else x for x in _items(recorded[name], name)]

        return _record(where, [*recorded.columns], column, with_metric)
    rows = _items(recorded, "recorded")
    is_table = bool(rows) and all(isinstance(row, Mapping) for row in rows)
    columns = _transposed(rows) if is_table else {"lr": rows}
    return _record(where, [*columns], columns.__getitem__, with_metric)


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


# -- files ---------------------------------------------------------------------------------------


def _file(path: str) -> tuple[str, Columns]:
    where = f"the log {path!r}"
    if os.path.isdir(path) or "tfevents" in os.path.basename(path):
        return where, _tensorboard(path, where)
    size = os.stat(path).st_size  # an OSError if there is no such file
    if not os.path.isfile(path) or size > _MOST_BYTES:
        raise ValueError(f"{where} must be a file of at most {_MOST_BYTES >> 20} MiB")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read().strip("\r\n ")
        if not text:
            raise ValueError("it is empty")
        return where, _json(text) if text[0] in "[{" else _csv(text)
    except (csv.Error, ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read: {error}") from None


def _csv(text: str) -> Columns:
    delimiter = max(",\t;", key=text.splitlines()[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    names, *rows = [row for row in rows if row]
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(f"row {i} has {len(row)} cells where the header has {len(names)}")
    twice = [name for name in names if names.count(name) > 1]
    if _LR.fullmatch("".join(twice[:1])):
        raise ValueError(f"it has two columns {twice[0]!r}")
    return {name.strip(): [row[i] for row in rows] for i, name in enumerate(names)}


def _json(text: str) -> Columns:
    # Numbers stay text, which says with how many digits they are printed.
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    try:
        rows = decode(text)
    except json.JSONDecodeError:  # JSON lines
        rows = [decode(line) for line in text.splitlines() if line.strip()]
    if isinstance(rows, dict):  # trainer_state.json, or columns, or one line
        rows = rows.get("log_history", rows)
    if isinstance(rows, dict):
        is_column = any(isinstance(value, list) for value in rows.values())
        rows = rows if is_column else [rows]
    if isinstance(rows, dict):
        return {name: value if isinstance(value, list) else [value] for name, value in rows.items()}
    if not isinstance(rows, list):
        raise ValueError("`log_history` must be a list")
    if not any(isinstance(row, dict) for row in rows):
        return {"lr": rows}
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError('each line must be an object, as {"step": 0, "lr": 0.1}')
    return _transposed(rows)


def _transposed(rows: list[Any]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _tensorboard(path: str, where: str) -> Columns:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ImportError(
            f"{where} is one of TensorBoard, which the package tensorboard reads: "
            "pip install tensorboard"
        ) from error
    os.stat(path)  # an OSError if there is no such file
    columns: dict[str, dict[int, Any]] = {}
    try:
        events = EventAccumulator(path, size_guidance={"scalars": 0, "tensors": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            columns[tag] = {event.step: event.value for event in events.Scalars(tag)}
        for tag in events.Tags()["tensors"]:
            arrays = {e.step: make_ndarray(e.tensor_proto) for e in events.Tensors(tag)}
            columns[tag] = {step: array.item() for step, array in arrays.items() if array.size == 1}
    except Exception as error:  # whatever its parser meets in a damaged file
        raise ValueError(f"{where} cannot be read: {type(error).__name__}: {error}") from None
    if not columns:
        raise ValueError(f"{where} must be of TensorBoard and have scalars; it has none")
    steps = sorted({step for column in columns.values() for step in column})
    rows = {tag: [column.get(step) for step in steps] for tag, column in columns.items()}
    return rows | {"step": steps}


# -- columns -------------------------------------------------------------------------------------


def _lr_name(where: str, names: list[Any]) -> Any:
    found = [name for name in names if _LR.fullmatch(str(name).strip())]
    plain = [name for name in found if str(name).strip().lower() in ("lr", "learning_rate")]
    listed = ", ".join(map(repr, (found or names)[:50]))
    if not found:
        raise ValueError(f"{where} must have a column `lr` or `learning_rate`; it has {listed}")
    if len(plain or found) > 1:
        raise ValueError(
            f"{where} must have one learning rate; it has {listed}. Give the one that you mean, as "
            '{"lr": numbers, "step": numbers}'
        )
    return (plain or found)[0]


def _pick(names: list[Any], spellings: tuple[str, ...]) -> Any:
    """The first of these spellings that a column has, or "". "val/loss" is val_loss."""
    spelled = {str(name).strip().lower().lstrip("_"): name for name in reversed(names)}
    spelled |= {name.replace("/", "_"): column for name, column in spelled.items()}
    spelled |= {name.rpartition("/")[2]: c for name, c in spelled.items() if name[:7] == "trainer"}
    return next((spelled[name] for name in spellings if name in spelled), "")


def _record(
    where: str, names: list[Any], column: Callable[[Any], list[Any]], with_metric: bool
) -> Record:
    name = _lr_name(where, names)
    step, metric = _pick(names, _STEPS), _pick(names, _METRICS) if with_metric else ""
    label = step or _pick(names, _EPOCHS)
    cells = column(name)
    others = [column(other) if other else [None] * len(cells) for other in (label, metric)]
    for other, values in zip((label, metric), others, strict=True):
        if len(values) != len(cells):
            raise ValueError(
                f"{where} must have columns of one length, got {len(cells)} of {name!r} and "
                f"{len(values)} of {other!r}"
            )
    lrs, texts, labels, metrics = [], [], [], []
    for row, (cell, at, seen) in enumerate(zip(cells, *others, strict=True)):
        cell, seen = _content(cell), _content(seen)
        if cell is not None:
            lrs.append(_number(cell, where, row, name))
            texts.append(cell if isinstance(cell, str) else repr(lrs[-1]))
            labels.append(_whole(_content(at), where, row, label) if label else row)
            metrics.append(None)
        if seen is not None and metrics:  # in a row of its own it belongs to the last one
            metrics[-1] = _number(seen, where, row, metric, finite=False)
    if not lrs:
        raise ValueError(f"{where} must have a row with a number in {name!r}; it has none")
    labels = np.array(labels, np.int64)
    if 2 * np.count_nonzero(np.diff(labels) < 0) > len(labels):
        raise ValueError(f"{where} must have a {label!r} that rises from row to row")
    kept = labels <= np.minimum.accumulate(labels[::-1])[::-1]
    values = np.array(lrs)
    slack, digits = _precision(texts, values)
    return Record(
        values[kept],
        slack[kept],
        digits,
        labels[kept] if label else None,
        bool(label) and not step,
        [metrics[i] for i in np.flatnonzero(kept)] if metric else [],
        str(metric),
        len(kept) - int(np.count_nonzero(kept)),
    )


def _content(cell: Any) -> Any:
    """What is in a cell; None if it is empty. A list of one number is that number."""
    if isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) == 1:
        if len(cell) != 1:
            raise ValueError(
                f"`recorded` must have one number in each row, got {describe(cell)}: give the "
                "learning rates of one parameter group"
            )
        cell = cell[0]
    return (cell.strip() or None) if isinstance(cell, str) else cell


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


def _precision(texts: list[str], lrs: np.ndarray) -> tuple[np.ndarray, str]:
    """Half a unit of the last digit in each row, and how many digits there are."""
    digits, decimals = {}, {}
    for text in dict.fromkeys(texts):
        mantissa, _, exponent = text.lower().partition("e")
        whole, _, fraction = mantissa.partition(".")
        digits[text] = len((whole + fraction).lstrip("+-0_"))
        decimals[text] = len(fraction) - int(exponent if exponent and digits[text] else 0)
        if digits[text] > _ENOUGH_DIGITS:
            return np.zeros(len(lrs)), ""
    most_digits, most_decimals = max(digits.values()), max(decimals.values())
    if most_digits < 3:  # 0.1 is a number, and no rounded one
        return np.zeros(len(lrs)), ""
    # As "%.4f" and round(lr, 4) print, or as "%.4g": what more rows look like.
    like_f = sum(decimals[text] == most_decimals for text in texts)
    if like_f >= sum(digits[text] == most_digits for text in texts):
        return np.full(len(lrs), 0.5 * 10.0**-most_decimals), f"{most_decimals} decimals"
    with np.errstate(divide="ignore"):
        places = np.floor(np.log10(np.abs(lrs))) + 1 - most_digits
    return 0.5 * 10.0**places, f"{most_digits} digits"
