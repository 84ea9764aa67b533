"""A log as a table: the names of its columns, and what stands in those that are of interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Table(NamedTuple):
    where: str
    """What it is, for messages."""
    names: list[Any]
    """Of all its columns."""
    column: Callable[[Any], list[Any]]
    """The cells of a column. None is an empty cell, a text says how many digits are printed."""
    notes: tuple[str, ...] = ()
    """Sentences on how the file was read, where there was a choice."""
    epoch_length: int | None = None
    """How many updates an epoch has, if its lines say it."""


class Collector:
    """Rows that come one by one. It keeps only what is wanted of them: logs are long and wide."""

    def __init__(self, is_wanted: Callable[[Any], bool]):
        self.is_wanted = is_wanted
        self.names: dict[Any, bool] = {}
        """Of all columns, and whether they are wanted."""
        self.columns: dict[Any, list[Any]] = {}
        self.num_rows = 0

    def add(self, row: Mapping[Any, Any]) -> None:
        for name, cell in row.items():
            if name not in self.names:
                self.names[name] = self.is_wanted(name)
            if self.names[name]:
                cells = self.columns.setdefault(name, [])
                cells.extend([None] * (self.num_rows - len(cells)))
                cells.append(cell)
        self.num_rows += 1

    def column(self, name: Any) -> list[Any]:
        cells = self.columns[name]
        return cells + [None] * (self.num_rows - len(cells))

    def table(self, where: str, notes: tuple[str, ...] = ()) -> Table:
        return Table(where, [*self.names], self.column, notes)
