"""plot: the learning rates of a run as a picture."""

from __future__ import annotations

import importlib
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxsched._base.arguments import is_list
from jaxsched._base.hints import describe
from jaxsched._base.members import as_schedule
from jaxsched._base.schedule import Schedule
from jaxsched._desk.compare.aligned import Aligned, align
from jaxsched._desk.curve import (
    AnySchedule,
    concrete,
    curve,
    drawable,
    pieces,
    spans_decades,
    vertices,
)
from jaxsched._desk.logs.record import Recorded
from jaxsched._desk.placed import (
    default_counts,
    epoch_length,
    epoch_lengths,
    moves,
    placed,
)
from jaxsched._schedules.compose import SequentialLR
from jaxsched._schedules.decay import MultiStepLR
from jaxsched._schedules.plateau import ReduceLROnPlateau

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PIECES = 4000
_MOST_MARKS = 100
_MOST_POINTS = 2000


def plot(
    schedule: AnySchedule | Mapping[str, AnySchedule] | Sequence[AnySchedule],
    num_counts: int | None = None,
    *,
    momentum: AnySchedule | None = None,
    recorded: Recorded | None = None,
    steps_per_epoch: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the learning rates of a schedule, or of several, at counts 0 to num_counts - 1.

    ```text
    steps            where the learning rate stands still, as StepLR's; per_epoch
    lines            where it moves at each count, as a cosine
    thin vertical    milestones of MultiStepLR and SequentialLR, if they are at most 100
    upper axis       epochs, if `steps_per_epoch` is given or a schedule says it
    right axis       momentum, if it is given, as a dashed line
    points, crosses  rows of a log, if it is given; crosses where it differs from the schedule
    log scale        if a tenth of the run is at a hundredth of the peak or below
    ```

    Args:
        schedule: a schedule, or any callable `count -> value`; or a dict of label to schedule, or a
            list of schedules, all drawn together with a legend.
        num_counts: counts in the run, an integer >= 1. Of a long run the picture has fewer points,
            and each step that is wide enough to be seen. None (the default) is until the schedule
            is over and a bit more, one cycle of what repeats, or 100, as `jaxsched show` has it.
        momentum: a schedule of the momentum, such as `OneCycleLR(...).momentum`.
        recorded: a log, as in `compare`, drawn over the schedule, or the first one of several. Then
            by default the picture ends where the log does. Of a long log some rows are drawn. A
            ReduceLROnPlateau is drawn as the log's metrics have it.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1. Then the counts are
            updates. By default it is what `per_epoch` or `smooth_epochs` in the schedule says.
        ax: matplotlib's axes to draw on. By default they are those of a new `plt.subplots()`, which
            a notebook shows by itself. Nothing else is shown, and no display is needed:
            `ax.figure.savefig("lr.png")` writes a file.

    Returns:
        The axes, to change as you like.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError, ValueError: an argument is not as above, or a function in it fails. A
            ReduceLROnPlateau has no learning rates without the metrics of a log.

    torch has no such function.

    >>> import matplotlib.figure, jaxsched as js
    >>> schedule = js.per_epoch(js.MultiStepLR(0.1, [100, 150]), 391)
    >>> ax = js.plot(schedule, 200 * 391, ax=matplotlib.figure.Figure().subplots())
    >>> ax.get_xlabel(), ax.get_yscale()
    ('update', 'log')
    """
    schedules = _labelled(schedule)
    if momentum is not None:
        as_schedule("momentum", momentum)
    rows = None
    if recorded is not None:
        label, first = next(iter(schedules.items()))
        found = _align(first, recorded, steps_per_epoch)
        rows = Rows.of(found)
        if isinstance(first, ReduceLROnPlateau):
            schedules[label] = found.drawn
        if label is None:
            schedules = {"schedule": schedules[None]}
    schedules = {label: concrete(one) for label, one in schedules.items()}
    if num_counts is None and rows is not None:
        num_counts = int(rows.counts[-1]) + 1
    elif num_counts is None:
        num_counts = max(map(_default_counts, schedules.values()))
    curves = {label: drawable(curve(value, num_counts)) for label, value in schedules.items()}
    steps = [epoch_length(value, steps_per_epoch) for value in schedules.values()]
    axes: Any = ax
    if ax is None:
        axes = _matplotlib("pyplot").subplots(layout="constrained")[1]
    elif not hasattr(ax, "secondary_xaxis"):
        raise TypeError(f"`ax` must be axes of matplotlib, got {describe(ax)}")

    marks: set[int] = set()
    for label, lrs in curves.items():
        one = as_schedule("schedule", schedules[label])
        marks |= {
            member.at(milestone)
            for member in placed(one)
            if isinstance(member.schedule, (MultiStepLR, SequentialLR))
            for milestone in member.schedule.milestones
            if member.at(milestone) < min(member.stop, len(lrs))
        }
        _draw(axes, one, lrs, label=label)
    if rows is not None:
        _draw_rows(axes, *(x[rows.counts < num_counts] for x in rows))
    if len(marks) <= _MOST_MARKS:
        across = axes.get_xaxis_transform()
        axes.vlines(sorted(marks), 0, 1, color="0.8", linewidth=0.8, zorder=0, transform=across)
    is_in_updates = steps_per_epoch is not None or any(map(epoch_lengths, schedules.values()))
    axes.set(xlabel="update" if is_in_updates else "count", ylabel="learning rate")
    if any(map(spans_decades, curves.values())):
        axes.set_yscale("log")
    if (length := steps[0]) is not None and len({*steps}) == 1:
        convert: Any = (lambda update: update / length, lambda epoch: epoch * length)
        axes.secondary_xaxis("top", functions=convert).set_xlabel("epoch")
    if momentum is not None:
        right, values = axes.twinx(), drawable(curve(momentum, num_counts))
        color = f"C{len(schedules)}"
        _draw(right, as_schedule("momentum", momentum), values, color=color, linestyle="--")
        right.set_ylabel("momentum", color=color)
        right.tick_params(axis="y", colors=color)
        if len(schedules) == 1:
            axes.yaxis.label.set_color(axes.lines[-1].get_color())
            axes.tick_params(axis="y", colors=axes.lines[-1].get_color())
    if [*schedules] != [None]:
        axes.legend()
    return axes


def _labelled(schedule: Any) -> dict[Any, Any]:
    """The schedules by their labels; None is the label of one alone."""
    labelled = {None: schedule}
    if isinstance(schedule, Mapping):
        labelled = dict(schedule)
    elif is_list(schedule):
        texts = [textwrap.shorten(repr(one)[:1000], 60, placeholder=" ...") for one in schedule]
        labelled = {
            text if texts.count(text) == 1 else f"{i}: {text}": one
            for i, (text, one) in enumerate(zip(texts, schedule, strict=True))
        }
    if not labelled:
        kind = "dict" if isinstance(schedule, Mapping) else "list"
        raise ValueError(f"`schedule` must be one or more schedules, got an empty {kind}")
    return labelled


def _default_counts(schedule: Any) -> int:
    return default_counts(as_schedule("schedule", schedule))


def _draw(axes: Any, schedule: Schedule, lrs: np.ndarray, **options: Any) -> None:
    stands = not moves(schedule)
    style = "steps-post" if stands else "default"
    axes.plot(*vertices(pieces(lrs), stands, _MOST_PIECES), drawstyle=style, **options)


class Rows(NamedTuple):
    """Of a log: their counts, their learning rates, and whether each differs from the schedule."""

    counts: np.ndarray
    lrs: np.ndarray
    differs: np.ndarray

    @classmethod
    def of(cls, aligned: Aligned) -> Rows:
        counts = aligned.shown[aligned.note]
        return cls(
            counts, aligned.record.lrs, np.isin(np.arange(len(counts)), aligned.wrong[aligned.note])
        )


def _align(schedule: Any, recorded: Any, steps_per_epoch: int | None) -> Aligned:
    if callable(recorded) and not hasattr(recorded, "columns"):
        raise TypeError(
            "`recorded` must be a log; schedules are drawn together as a list, got "
            f"{describe(recorded)}"
        )
    is_plateau = isinstance(schedule, ReduceLROnPlateau)  # which is told once an epoch
    return align(schedule, recorded, steps_per_epoch if is_plateau else None)


def _draw_rows(axes: Any, counts: np.ndarray, lrs: np.ndarray, differs: np.ndarray) -> None:
    for which, marker, color, label in (
        (~differs, ".", "tab:orange", "log"),
        (differs, "x", "tab:red", "log, where it differs"),
    ):
        rows = np.flatnonzero(which)
        if len(rows):
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_POINTS).astype(int))]
            axes.plot(
                *(counts[rows], drawable(lrs[rows]), marker),
                color=color,
                markersize=5,
                zorder=1,
                label=label,
            )


def save(
    path: str,
    title: str,
    schedule: Any,
    num_counts: int,
    steps_per_epoch: int | None,
    rows: Rows | None = None,
) -> None:
    """Writes the picture to a file, whose ending says what it is."""
    figure = _matplotlib("figure").Figure(layout="constrained")
    ax = plot(schedule, num_counts, steps_per_epoch=steps_per_epoch, ax=figure.subplots())
    if rows is not None:
        _draw_rows(ax, *rows)
        ax.legend()
    ax.set_title(textwrap.fill(title, 70), fontsize="small")
    figure.savefig(path, format=os.path.splitext(path)[1][1:] or "png")


def _matplotlib(name: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{name}")
    except ImportError as error:
        message = "plot needs matplotlib: pip install matplotlib"
        raise ImportError(message, name="matplotlib") from error
