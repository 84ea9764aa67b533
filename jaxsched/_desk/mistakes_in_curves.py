"""Mistakes in the curve: smooth or in steps, optax's boundaries, optax's plateau."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import Finding
from jaxsched._desk.diagnose import Log, Proposal, Reading
from jaxsched._desk.variants import is_adapter, schedules_in, variant_of
from jaxsched._schedules.decay import ExponentialLR, MultiStepLR, StepLR
from jaxsched._schedules.epochs import per_epoch, smooth_epochs
from jaxsched._schedules.plateau import ReduceLROnPlateau

_MOST_DECAYS = 10**4


def smooth(reading: Reading, log: Log) -> Iterator[Proposal]:
    def decay(member: Any) -> Any:
        if isinstance(member, StepLR) and member.gamma:
            return ExponentialLR(member.base_lr, member.gamma ** (1 / member.step_size))
        return member

    def epochs(member: Any) -> Any:
        return smooth_epochs(*member._values()) if isinstance(member, per_epoch) else member

    def stand_still(member: Any) -> Any:
        return per_epoch(*member._values()) if isinstance(member, smooth_epochs) else member

    for change in (epochs, decay, lambda member: epochs(decay(member))):
        if variant := variant_of(reading, change):
            finding = Finding(
                "smooth",
                "The log moves at every count where the schedule stands still.",
                "Step once an epoch in that run, or decay with staircase=True. Or use a smooth "
                "schedule here: smooth_epochs, ExponentialLR.",
            )
            yield Proposal(variant, finding, cost=1, is_last=change is not epochs)
    if variant := variant_of(reading, stand_still):
        lengths = [p.steps_per_epoch for p in schedules_in(reading.schedule) if is_adapter(p)]
        yield Proposal(variant, _stands_still(lengths[0]), cost=1)
    length = int(np.diff(log.counts[log.changes[:2]]).sum())
    if length > 1 and isinstance(reading.schedule, Schedule):
        variant = reading.shifted(lambda counts: counts // length * length)
        yield Proposal(variant, _stands_still(length), cost=3)


def _stands_still(length: Any) -> Finding:
    return Finding(
        "stands-still",
        f"The log stands still for {length} counts where the schedule moves at every count.",
        "Use per_epoch here and a schedule in epochs, or step at every update in that run.",
    )


def late_in_optax(reading: Reading, log: Log) -> Iterator[Proposal]:
    last = int(log.counts[-1])

    def in_updates(member: Any) -> Any:
        if isinstance(member, per_epoch) and isinstance(step := member.schedule, StepLR):
            if isinstance(length := member.steps_per_epoch, int):
                return StepLR(step.base_lr, step.step_size * length, step.gamma)
        return member

    def with_late(member: Any) -> Any:
        if not isinstance(member, StepLR) or last // member.step_size > _MOST_DECAYS:
            return member
        counts = member.step_size * np.arange(1, last // member.step_size + 1)
        # XLA divides by a constant through its reciprocal, in float32.
        reciprocal = np.float32(1) / np.float32(member.step_size)
        is_late = np.floor(counts.astype(np.float32) * reciprocal) < counts // member.step_size
        late = MultiStepLR(member.base_lr, counts + is_late, member.gamma)
        return late if is_late.any() else member

    if variant := variant_of(variant_of(reading, in_updates) or reading, with_late):
        finding = Finding(
            "optax-late",
            "The log decays one count late at some boundaries, as optax's exponential_decay does "
            "under jit.",
            "Use jaxsched's schedule in that run. Its boundaries are exact.",
        )
        yield Proposal(variant, finding, cost=2)


def plateau_early(reading: Reading, log: Log) -> Iterator[Proposal]:
    plateau = reading.schedule
    if isinstance(plateau, ReduceLROnPlateau) and plateau.patience:
        early = dataclasses.replace(plateau, patience=plateau.patience - 1)
        finding = Finding(
            "plateau-early",
            "The log cuts one bad epoch early, as optax.contrib.reduce_on_plateau does.",
            "Use jaxsched's ReduceLROnPlateau in that run, or give optax's one more `patience`.",
        )
        yield Proposal(reading._replace(schedule=early), finding, cost=1)
