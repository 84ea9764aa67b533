"""TensorBoard's event files, record by record: a damaged one is named and not the end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from jaxsched._desk.logs.table import Collector, Table


def read_events(path: str, where: str, is_wanted: Callable[[Any], bool]) -> Table:
    """The scalars of an event file, or of all event files of a folder."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto import event_pb2
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ImportError(
            f"{where} is one of TensorBoard, which the package tensorboard reads: "
            "pip install tensorboard"
        ) from error

    def scalars(file: str) -> Iterator[tuple[int, str, Any]]:
        read = 0
        for record in RawEventFileLoader(file).Load():
            read += len(record) + 16  # its length, and two checksums
            event: Any = event_pb2.Event.FromString(record)  # pyright: ignore
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield event.step, value.tag, value.simple_value
                elif value.HasField("tensor"):
                    array = make_ndarray(value.tensor)
                    if array.size == 1 and array.dtype.kind in "fiu":
                        yield event.step, value.tag, array.item()
        if read != os.stat(file).st_size:  # TensorBoard's loader stops there without a word
            raise ValueError(f"{os.path.basename(file)} is damaged, or cut, at byte {read:,}")

    try:
        events, names = [], {}
        for file in _event_files(path):
            for step, tag, value in scalars(file):
                if names.setdefault(tag, is_wanted(tag)):
                    events.append((step, tag, value))
    except OSError:
        raise
    except Exception as error:  # whatever its parser meets in a damaged file
        raise ValueError(f"{where} cannot be read: {type(error).__name__}: {error}") from None
    if not names:
        raise ValueError(f"{where} must be of TensorBoard and have scalars; it has none")
    if all(_rises(events, tag) for tag in names):  # if not, the run was resumed
        events.sort(key=lambda event: event[0])
    rows = Collector(is_wanted)
    rows.names |= names
    row: dict[str, Any] = {}
    for step, tag, value in events:
        if row and (row["step"] != step or tag in row):
            rows.add(row)
            row = {}
        row |= {"step": step, tag: value}
    rows.add(row)
    return rows.table(where)


def _event_files(path: str) -> list[str]:
    files = [path]
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if "tfevents" in name)
        files = [os.path.join(path, name) for name in names]
    for file in files:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ValueError(f"{file!r} must be a file")
    return files


def _rises(events: list[tuple[int, str, Any]], tag: str) -> bool:
    steps = [step for step, other, _ in events if other == tag]
    return all(before <= after for before, after in zip(steps, steps[1:], strict=False))
