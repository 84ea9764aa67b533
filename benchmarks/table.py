"""Rows with a goal, and Markdown."""

from typing import NamedTuple


class Row(NamedTuple):
    what: str
    measured: str
    goal: str
    met: bool | None
    """None: not measured."""
    small: str = ""
    """The absolute figures, and whose."""
    limit: str = ""
    """What a version that does nothing costs: shown if the goal is missed."""


def seconds(t):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if t >= size:
            return f"{t / size:.3g} {unit}"
    return f"{t * 1e6:.3g} us"


def at_most(what, goal, found, show=str, digits=2, limit=""):
    """The highest ratio of `found`, {name: (ratio, ours, theirs)}, against a goal."""
    name, (ratio, ours, theirs) = max(found.items(), key=lambda item: item[1][0])
    measured, small = f"{ratio:.{digits}f}", f"{name}: {show(ours)} over {show(theirs)}"
    return Row(what, measured, f"at most {goal}", ratio <= goal, small, limit)


def missed(rows):
    return [row.what for row in rows if row.met is False]


def table(rows):
    lines = [["what", "measured", "goal", "met"]]
    for row in rows:
        met = {True: "yes", False: "**missed**", None: ""}[row.met]
        limit = f"limit: {row.limit}" if row.met is False and row.limit else ""
        lines.append(
            [row.what, with_small(row.measured, row.small), row.goal, with_small(met, limit)]
        )
    return markdown(lines)


def with_small(text, small):
    return f"{text}<br><sub>{small}</sub>" if small else text


def markdown(lines):
    head, *body = lines
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *body])
