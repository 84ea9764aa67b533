"""What a notebook shows of a schedule: its curve and its value table, as HTML without a script."""

from __future__ import annotations

import html
import math

import numpy as np

from jaxsched._base.members import shorten
from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import (
    Pieces,
    concrete,
    drawable,
    pieces_of,
    spans_decades,
    vertices,
)
from jaxsched._desk.placed import default_counts, moves
from jaxsched._desk.show import table, unit

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 480, 130, 54, 8, 20  # pixels of the picture
_MOST_VALUES = 50_000
"""Of a schedule that moves more often there are samples and no table: it would take too long."""
_MOST_CALLS = 100  # of a user's function
_MOST_PIECES, _SAMPLES = 240, 1000


def picture(schedule: Schedule) -> str | None:
    """The HTML, or None for what has no curve or takes too long: then a notebook shows the text."""
    try:
        schedule = concrete(schedule)
        num_counts, members = default_counts(schedule), [*schedule._walk()]
        if any((member.__getstate__().get("horizon") or 0) > _MOST_VALUES for member in members):
            return None
        most = _MOST_CALLS if any(member._is_traced for member in members) else _MOST_VALUES
        curve, text = pieces_of(schedule, num_counts, most), ""
        if curve is None:
            places = np.unique(np.linspace(0, num_counts - 1, min(most, _SAMPLES)).astype(int))
            curve = Pieces(places, schedule(places), num_counts)
        else:
            text = html.escape(table(schedule, curve, None))
        return (
            f"<div><code>{html.escape(shorten(schedule))}</code>"
            f"{_svg(curve, moves(schedule), unit(schedule, None))}"
            f'<pre style="margin:0;overflow-x:auto">{text}</pre></div>'
        )
    except Exception:  # of the user's function, or for arrays that are no numbers yet
        return None


def _svg(curve: Pieces, is_moving: bool, word: str) -> str:
    counts, lrs = vertices(curve, not is_moving, _MOST_PIECES)
    lrs, last = drawable(lrs), curve.num_counts - 1
    places = np.linspace(0, last, _SAMPLES).astype(int)
    sampled = curve.values[np.searchsorted(curve.starts, places, side="right") - 1]
    is_log = spans_decades(drawable(sampled))
    low, high = np.nanmin(lrs, initial=0), np.nanmax(lrs, initial=0)
    if is_log:
        low = lrs[lrs > 0].min()
        lrs = np.log(np.maximum(lrs, low))
    bottom, top = (math.log(low), math.log(high)) if is_log else (low, high)
    right, floor = _WIDTH - 8, _HEIGHT - _BOTTOM
    x = _LEFT + counts * ((right - _LEFT) / max(counts[-1], 1))
    y = floor - (lrs - bottom) * ((floor - _TOP) / ((top - bottom) or 1))
    scale = ", log scale" if is_log else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'style="display:block;max-width:{_WIDTH}px;width:100%" '
        f'aria-label="learning rate {low:.4g} to {high:.4g}{scale}, {word}s 0 to {last}">'
        f'<path d="M{_LEFT} {_TOP}V{floor}H{right}" fill="none" stroke="currentColor" '
        'stroke-opacity=".4"/>'
        f'<path d="{_path(x, y, is_moving)}" fill="none" stroke="#3b8bd9" stroke-width="2" '
        'stroke-linejoin="round"/>'
        '<g fill="currentColor" font-size="11" font-family="sans-serif">'
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">{word} 0{scale}</text>'
        f'<text x="{right}" y="{_HEIGHT - 5}" text-anchor="end">{last:,}</text></g></svg>'
    )


def _path(x: np.ndarray, y: np.ndarray, is_moving: bool) -> str:
    """The line through the points, or steps; with a gap where there is no number."""
    parts, before = [], ""
    for at, height in zip(x.round(1).tolist(), y.round(1).tolist(), strict=True):
        point = "" if math.isnan(height) else f"{at:g} {height:g}"
        if point and point != before:
            step = "L" if is_moving else f"H{at:g}L"
            parts.append(f"{step if before else 'M'}{point}")
        before = point
    return "".join(parts)
