"""What a schedule costs to write: its classes, and the digits of what is not the default."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.numerals import digits
from jaxsched._schedules.compose import SequentialLR

_CLASSES = {
    "MultiStepLR": 0.5,
    "PolynomialLR": 0.5,
    "CosineAnnealingWarmRestarts": 1.0,
    "CyclicLR": 1.0,
    "OneCycleLR": 1.0,
    "SWALR": 3.0,
    "SequentialLR": 1.0,
    "ChainedScheduler": 1.5,
    "per_epoch": 0.5,
    "clamp": 1.0,
}
_ENDS = {"total_iters", "T_max", "total_steps", "last_count", "anneal_epochs"}
_TYPED = 9  # digits of a number that somebody may have typed: of longer ones at most one is read
_RISE = 2.0  # of steps that go up, which few people write


def cost(schedule: Schedule, end: int, given: Any = None) -> float:
    """Of a schedule for a log whose last count is `end`: a length that ends with it is cheap.

    `given` is a length of epochs that the user has named, which costs nothing.
    """
    costs = [float(each) for each in _costs(schedule, end, given, set())]
    return sum(costs) if sum(each > _TYPED for each in costs) <= 1 else math.inf


def _costs(schedule: Any, end: int, given: Any, seen: set[float]) -> Any:
    name = type(schedule).__name__
    yield _CLASSES.get(name, 0.0)
    if name in ("StepLR", "MultiStepLR") and schedule.gamma > 1:
        yield _RISE
    own = end
    if name == "per_epoch" and isinstance(schedule.steps_per_epoch, int):
        own = end // schedule.steps_per_epoch
    for field in dataclasses.fields(schedule):
        value = getattr(schedule, field.name)
        if isinstance(value, Schedule):
            yield from _costs(value, own, given, seen)
        elif field.name == "schedulers":
            starts = (0, *schedule.milestones) if isinstance(schedule, SequentialLR) else ()
            for i, member in enumerate(value):
                yield from _costs(member, end - (starts[i] if starts else 0), given, seen)
        elif field.name == "steps_per_epoch" and value is not None:
            yield 0 if np.array_equal(value, given or -1) else sum(map(_epoch, np.ravel(value)))
        elif field.name == "milestones":
            yield from map(digits, getattr(schedule, field.name))
        elif field.name in ("base_lr", "max_lr") and value in seen or value == field.default:
            pass
        elif field.name in _ENDS and value in (end, end + 1):
            yield 0.5
        elif field.name == "start_factor" and value == 1:
            pass  # it says only that the line falls
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            seen |= {value} if field.name in ("base_lr", "max_lr") else set()
            yield digits(value)
        else:
            yield 1


def _epoch(length: int) -> float:
    """Of the length of an epoch: most have some hundred updates. The shorter of two costs less."""
    return max(2.5, len(str(length)) - 0.5) + length * 1e-8
