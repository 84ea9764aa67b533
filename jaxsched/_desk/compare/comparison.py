"""What `compare` says of a log, as a value and as text."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxsched._base.schedule import Schedule
from jaxsched._desk.findings import Finding, marked


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` says of a log. It is true if they are equal, and prints as sentences.

    ```text
    equal          whether every row has the schedule's learning rate
    count          the count of the first row that differs, or None
    expected       the schedule's learning rate there, or None
    found          the log's learning rate there, or None
    diagnoses      the findings that together explain every row; none if nothing does
    num_rows       how many rows were compared
    num_different  how many of them differ
    epoch          the epoch of `count`, if `steps_per_epoch` is given
    notes          sentences on how the log was read, where there was a choice
    schedule       the schedule that gives the log: the given one, or what explains it, or None
    places         the counts of the rows that differ, as "counts 60 to 79 and from count 90 on"
    ```

    >>> import jaxsched as js
    >>> comparison = js.compare(js.StepLR(0.1, 2), [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])
    >>> comparison.equal, comparison.count, comparison.found
    (False, 2, 0.1)
    >>> [finding.code for finding in comparison.diagnoses]
    ['another-step-size']
    >>> comparison.schedule
    StepLR(0.1, step_size=3, gamma=0.1)
    """

    __module__ = "jaxsched"

    equal: bool
    count: int | None = None
    expected: float | None = None
    found: float | None = None
    diagnoses: tuple[Finding, ...] = ()
    num_rows: int = 0
    num_different: int = 0
    epoch: int | None = None
    notes: tuple[str, ...] = ()
    schedule: Any = None
    places: str = ""

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        notes = "".join(f" {note}" for note in self.notes)
        if self.equal or self.expected is None or self.found is None:
            rows = "the only row" if self.num_rows == 1 else f"all {self.num_rows} rows"
            return f"Equal in {rows}.{notes}"
        expected, found = f"{self.expected:.9g}", f"{self.found:.9g}"
        if expected == found:
            expected, found = repr(self.expected), repr(self.found)
        has_ratio = self.expected and abs(self.expected) < math.inf
        relative = f"{abs(self.found / self.expected - 1):.2g}" if has_ratio else "infinite"
        epoch = "" if self.epoch is None else f" (epoch {self.epoch})"
        lines = [
            f"Different at count {self.count}{epoch}: expected {expected}, found {found}, relative "
            f"difference {relative}.",
            f"{self.num_different} of {self.num_rows} rows differ.{notes}",
            *map(str, self.diagnoses),
        ]
        if not self.diagnoses:
            is_told = self.places and self.num_different < self.num_rows
            where = f" Different: {self.places}; equal elsewhere." * bool(is_told)
            lines.append(f"Nothing that compare tries explains all rows.{where}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(f"<div>{marked(line)}</div>" for line in str(self).splitlines())


# `typing.get_type_hints` looks in `jaxsched`, which has this name only from its first use on.
Comparison.__annotations__["diagnoses"] = tuple[Finding, ...]
Comparison.__annotations__["schedule"] = Schedule | None  # or a function, or a plateau
