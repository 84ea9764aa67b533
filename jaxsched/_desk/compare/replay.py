"""A plateau on the metrics of a log: the learning rates that it would have used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxsched._base.ops import NUMPY, PYTHON
from jaxsched._schedules.custom import RecordedLR
from jaxsched._schedules.epochs import Clock
from jaxsched._schedules.plateau import ReduceLROnPlateau


def told(metrics: list[Any], counts: np.ndarray, clock: Clock | None) -> list[Any]:
    """What a plateau is told after each row: the last metric of an epoch, after its last row."""
    if clock is None:
        return metrics
    epochs = clock.epoch(counts, NUMPY)[0]
    told: list[Any] = [None] * len(metrics)
    last = None
    for row, metric in enumerate(metrics):
        last = last if metric is None else metric
        if row + 1 == len(metrics) or epochs[row + 1] != epochs[row]:
            told[row], last = last, None
    return told


def replay(plateau: ReduceLROnPlateau, metrics: list[Any]) -> RecordedLR:
    """The learning rates in each row and after the last one, in double precision."""
    best = math.inf if plateau.mode == "min" else -math.inf
    bad = cooldown = cuts = 0
    places = [0]
    for metric in metrics:
        if metric is not None:
            is_better = plateau._is_better(metric, best)
            best = metric if is_better else best
            bad, cooldown, cut = plateau._counters(is_better, bad, cooldown, PYTHON)
            cuts += cut
        places.append(cuts)
    lrs = np.array(plateau._after_cuts(cuts))  # not all: of a factor near 1 there are many
    return RecordedLR(lrs[np.minimum(places, len(lrs) - 1)])
