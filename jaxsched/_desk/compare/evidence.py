"""What a log that is equal to its schedule shows, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._base.arguments import COUNT_MAX
from jaxsched._desk.curve import MOST_TABULATED
from jaxsched._schedules.plateau import ReduceLROnPlateau

_BLOCK = 2**16


def what_is_not_shown(schedule: Any, horizon: int, counts: np.ndarray, lrs: np.ndarray) -> str:
    """A sentence, if all rows have one learning rate and the schedule has others, or "".

    The schedule is known at `horizon` counts.
    """
    if (lrs != lrs[0]).any():
        return ""
    if isinstance(schedule, ReduceLROnPlateau):
        return "All rows have one learning rate: this does not show that the plateau cuts."
    change = _first_change(schedule, horizon)
    if change is None:
        if horizon == COUNT_MAX:
            return ""
        return "All rows have one learning rate: this shows nothing of what comes later."
    if change > counts[-1]:
        return (
            f"The rows end before the schedule first changes, at count {change:,}: this shows only "
            "the first learning rate."
        )
    return (
        "All rows have one learning rate, which the schedule has not everywhere: this does not "
        "show where it changes."
    )


def _first_change(schedule: Any, horizon: int) -> int | None:
    """The first count whose learning rate is not that of count 0, if there is one."""
    first = float(schedule(0))

    def is_other(counts: Any) -> Any:
        return np.asarray(schedule(counts)) != first

    for start in range(0, min(horizon, MOST_TABULATED), _BLOCK):
        counts = np.arange(start, min(start + _BLOCK, horizon))
        changed = is_other(counts)
        if changed.any():
            return int(counts[np.argmax(changed)])
    low, high = MOST_TABULATED, 2 * MOST_TABULATED
    while high < horizon and not is_other(high):
        low, high = high, 2 * high
    if high >= horizon:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_other(middle) else (middle, high)
    return high
