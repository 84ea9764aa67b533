"""Which column of a log is what: the names that trainers and loggers give."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from jaxsched._desk.logs.table import Table

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PLAIN = (["lr"], ["learning", "rate"])
_DECAY = re.compile("(weight|lr|learning_rate)_decay")
_TEXT = re.compile(r"[:=]\s*[-+.\d\['\"]|[{}|]")  # as "lr: 0.1", which is no name
_ROOMS = {"train", "trainer", "training", "progress", "charts", "metrics", "state"}
"""First words that say where a column comes from, and not what it is."""

NO_LEARNING_RATE = frozenset(
    "momentum mom wd beta betas min max initial init loss acc accuracy scale mult multiplier ratio "
    "factor gamma scheduler schedule policy warmup target steps samples tokens vs".split()
)
"""With such a word in its name, or weight_decay or lr_decay, a column is of something else."""
STEPS = (
    *("global_step", "global_steps", "num_updates", "n_updates", "global_update", "global_iter"),
    *("global_iteration", "optimizer_step", "optimizer_steps", "optim_step", "opt_step"),
    *("gradient_step", "gradient_steps", "current_step", "current_steps", "cur_step"),
    *("current_iter", "cur_iter", "current_iteration", "num_steps", "n_steps", "train_step"),
    *("n_iter", "num_iter", "num_iters", "num_iterations"),
    *("step", "steps", "update", "updates", "iteration", "iterations", "iter", "iters", "it"),
    *("itr", "count", "counts", "num_batches", "n_batches", "batches", "batch", "batch_idx"),
    *("time_batch", "time_iterations"),
)
"""What counts the rows, the first one first: what counts the whole run, and then the rest."""
EPOCHS = ("epoch", "epochs", "current_epoch", "cur_epoch", "n_epoch", "time_epoch")
METRICS = ("val_loss", "eval_loss", "valid_loss", "validation_loss", "test_loss", "metric", "loss")
_KINDS = ("tag", "key", "metric", "name")
"""The columns that say what a `value` is of, in a table that has a row for each number."""


class Columns(NamedTuple):
    """The columns that are read. "" is none."""

    lr: Any
    label: Any
    """What counts the rows."""
    in_epochs: bool
    """Whether that counts epochs."""
    epoch: Any
    """Of the epochs, beside a label that counts something else."""
    metric: Any
    notes: tuple[str, ...]


def words(name: Any) -> list[str]:
    """Of a name, in lower case. wandb writes the name of the run before it, and " - "."""
    return [word.lower() for word in _WORD.findall(str(name).rpartition(" - ")[2])]


def is_learning_rate(name: Any) -> bool:
    found = words(name)
    is_it = {"lr", "lrs", "learningrate"} & {*found} or "learning_rate" in "_".join(found)
    is_text = _TEXT.search(str(name).rpartition(" - ")[2])
    is_other = NO_LEARNING_RATE & {*found} or _DECAY.search("_".join(found))
    return bool(is_it and not is_text and not is_other)


def _spelled(name: Any) -> str:
    """A name as the tuples above have it."""
    return "_".join(words(name))


def ranked(names: Collection[Any], spellings: tuple[str, ...]) -> list[Any]:
    """The columns that have one of these spellings, in the order of the spellings."""
    found = {}
    for name in names:
        spelled, rest = _spelled(name), words(name)
        while len(rest) > 1 and rest[0] in _ROOMS and spellings is not METRICS:
            rest = rest[1:]
        if spelled in spellings or "_".join(rest) in spellings:
            ranks = [spellings.index(s) for s in (spelled, "_".join(rest)) if s in spellings]
            found[name] = (min(ranks), spelled not in spellings)
    return sorted(found, key=found.__getitem__)


def _is_wandbs(name: Any) -> bool:
    return str(name).strip() == "_step"


def is_label(name: Any) -> bool:
    """Whether a column may count the rows."""
    return bool(ranked([name], (*STEPS, *EPOCHS)))


def is_of_interest(name: Any) -> bool:
    """Whether a column may be one that is read."""
    others = (*STEPS, *EPOCHS, *METRICS, *_KINDS, "value", "mode")
    return is_learning_rate(name) or bool(ranked([name], others))


def is_header(cells: list[str], lr: Any) -> bool:
    """Whether a line of CSV holds the names of columns, one of them of the learning rate."""
    is_long = {"value", "step"} <= {cell.lower() for cell in cells}
    return lr in cells or is_long or any(map(is_learning_rate, cells))


def choose(table: Table, with_metric: bool, lr: Any = None, step: Any = None) -> Columns:
    """The columns to read: those that are named, or those that have the usual names."""
    names, notes = table.names, []
    cells: dict[Any, list[Any]] = {}

    def column(name: Any) -> list[Any]:
        if name not in cells:
            cells[name] = table.column(name)
        return cells[name]

    if lr is None:
        lr, said = _learning_rate(table, column)
        notes += said
    else:
        lr = _named("lr", lr, table)
    rows = [row for row, cell in enumerate(column(lr)) if not _is_empty(cell)]

    def in_rows(name: Any) -> list[Any]:
        found = column(name)
        return [found[row] for row in rows] if len(found) == len(column(lr)) else found

    steps = [n for n in ranked(names, STEPS) if not _is_wandbs(n) and _may_count(in_rows(n))]
    epochs = [name for name in ranked(names, EPOCHS) if not _has_none(in_rows(name))]
    label = next(iter(steps), "")
    if step is not None:
        label = _named("step", step, table)
    elif not label:
        label = next(iter(epochs), "")
        wandbs = next(filter(_is_wandbs, names), "")
        if wandbs and not _has_none(in_rows(wandbs)) and not (label and _rises(in_rows(label))):
            label = wandbs
    is_epoch = label in ranked(names, EPOCHS)
    in_epochs = is_epoch or (bool(label) and "epoch" in words(lr))
    metrics = ranked(names, METRICS) if with_metric else []
    metric = next(iter(metrics), "")
    if len(metrics) > 1:
        notes.append(f"{metric!r} is the metric.")
    if step is None and label:
        notes += _on_label(label, [name for name in steps if name != label], in_rows)
        if in_epochs and not is_epoch:
            notes.append(f"The steps of {lr!r} are epochs.")
    others = [name for name in names if name not in (lr, metric)]
    if not label and others:
        listed = ", ".join(map(repr, others[:5])) + ", ..." * (len(others) > 5)
        notes.append(
            f"The rows are numbered 0, 1, 2 ..., because no column is known to count them "
            f"(`step` names one of {listed})."
        )
    epoch = next((name for name in epochs if name != label and not in_epochs), "")
    return Columns(lr, label, in_epochs, epoch, metric, tuple(notes))


def widened(table: Table) -> Table:
    """A table that has a row for each number, with its `tag` and `value`, has a column for each."""
    kind = next((name for name in table.names if _spelled(name) in _KINDS), None)
    value = next((name for name in table.names if _spelled(name) == "value"), None)
    if kind is None or value is None or any(map(is_learning_rate, table.names)):
        return table
    tags, values = table.column(kind), table.column(value)
    names = [name for name in table.names if name not in (kind, value)]

    def column(name: Any) -> list[Any]:
        if name in names:
            return table.column(name)
        return [v if tag == name else None for tag, v in zip(tags, values, strict=True)]

    return table._replace(names=[*names, *dict.fromkeys(tags)], column=column)


def _named(argument: str, name: Any, table: Table) -> Any:
    found = [n for n in table.names if n == name or str(n).strip() == str(name).strip()]
    if not found:
        raise ValueError(
            f"`{argument}` must be the name of a column of {table.where}, got {name!r}; it has "
            + listing(table.names)
        )
    return found[0]


def listing(names: Collection[Any]) -> str:
    return ", ".join(map(repr, [*names][:50])) + ", ..." * (len(names) > 50)


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _has_none(cells: list[Any]) -> bool:
    return all(map(_is_empty, cells))


def _may_count(cells: list[Any]) -> bool:
    """Not if it is empty, or always the same, as the size of a batch is."""
    return not _has_none(cells) and (len(cells) < 3 or any(cell != cells[0] for cell in cells))


def _rises(cells: list[Any]) -> bool:
    numbers = [_number(cell) for cell in cells]
    return all(a < b for a, b in zip(numbers, numbers[1:], strict=False))


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _learning_rate(table: Table, column: Callable[[Any], list[Any]]) -> tuple[Any, list[str]]:
    names = [name for name in table.names if is_learning_rate(name)]
    if not names and {"wall_time", "step", "value"} == {*map(_spelled, table.names)}:
        names = [name for name in table.names if _spelled(name) == "value"]  # of TensorBoard
        return names[0], [f"The learning rates are in {names[0]!r}."]
    if not names:
        are_numbers = table.names and not any(math.isnan(_number(name)) for name in table.names)
        raise ValueError(
            f"{table.where} must have a column `lr` or `learning_rate`; it has "
            + (listing(table.names) or "none")
            + (": give it a first line with the names" if are_numbers else "")
            + ". `lr` names another one" * bool(table.names)
        )
    filled = [name for name in names if not _has_none(column(name))] or names
    plain = [name for name in filled if words(name) in _PLAIN]
    names = plain or [name for name in filled if "base" not in words(name)] or filled
    first, *others = names
    for other in others:
        if not _are_equal(column(first), column(other)):
            raise ValueError(
                f"{table.where} must have one learning rate; it has {listing(names)}. Give the one "
                f"that you mean, as lr={other!r}"
            )
    if others:
        return first, [f"The learning rates are in {listing(names)}, which are equal."]
    is_plain = words(first) in _PLAIN
    return first, [] if is_plain else [f"The learning rates are in {first!r}."]


def _are_equal(cells: list[Any], others: list[Any]) -> bool:
    """Whether two columns have the same numbers in the same rows."""
    if len(cells) != len(others):
        return False
    for cell, other in zip(cells, others, strict=True):
        if _is_empty(cell) or _is_empty(other):
            if not (_is_empty(cell) and _is_empty(other)):
                return False
        elif cell is not other and _number(cell) != _number(other):
            return False
    return True


def _on_label(label: Any, others: list[Any], in_rows: Callable[[Any], list[Any]]) -> list[str]:
    differ = [name for name in others if not _are_equal(in_rows(label), in_rows(name))]
    if differ:
        return [f"{label!r} counts the rows, and not {listing(differ)}, which differs."]
    is_plain = str(label).strip().lower() == "step"
    return [] if is_plain else [f"{label!r} counts the rows."]
