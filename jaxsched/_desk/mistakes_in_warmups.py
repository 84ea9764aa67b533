"""Mistakes in a composition: no warmup, another one, milestones on another clock."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._base.schedule import Schedule
from jaxsched._desk.curve import MOST_TABULATED, Finding
from jaxsched._desk.diagnose import Log, Proposal, Reading
from jaxsched._desk.variants import replacing, schedules_in, variant_of, whole_epoch_lengths
from jaxsched._schedules.compose import ChainedScheduler, SequentialLR
from jaxsched._schedules.decay import ConstantLR, LinearLR, MultiStepLR
from jaxsched._schedules.epochs import per_epoch
from jaxsched._schedules.plateau import ReduceLROnPlateau


def _find_warmups(schedule: Any) -> list[tuple[Any, Any]]:
    """Each warmup, after the composition that it is a member of."""
    return [
        (whole, member)
        for whole in schedules_in(schedule)
        if isinstance(whole, (SequentialLR, ChainedScheduler)) and len(whole.schedulers) > 1
        for member in whole.schedulers[: 1 if isinstance(whole, SequentialLR) else None]
        if isinstance(member, ConstantLR)
        or (isinstance(member, LinearLR) and member.start_factor < member.end_factor)
    ]


def no_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    for whole, warmup in _find_warmups(reading.schedule):
        members: Any = [member for member in whole.schedulers if member is not warmup]
        if len(members) == 1:
            rests = [*members]
        elif isinstance(whole, ChainedScheduler):
            rests = [ChainedScheduler(members)]
        else:
            later = [milestone - whole.milestones[0] for milestone in whole.milestones[1:]]
            rests = [SequentialLR(members, later)]
        if len(members) == 1 and isinstance(whole, SequentialLR):  # which may decay where it did
            rests.append(_moved(members[0], whole.milestones[0]))
        for rest in rests:
            if variant := variant_of(reading, replacing(whole, rest)):
                old, name = warmup.total_iters, type(warmup).__name__
                finding = Finding(
                    "no-warmup",
                    f"The log has no warmup: the {old} counts of {name} are missing.",
                    "Give that run the warmup, or leave it out here.",
                )
                yield Proposal(variant, finding, cost=1)


def _moved(member: Any, by: int) -> Any:
    """A member whose milestones are so many of its counts later; itself if it has none."""
    if isinstance(member, MultiStepLR):
        milestones = [max(milestone + by, 0) for milestone in member.milestones]
        return dataclasses.replace(member, milestones=milestones)
    length = member.steps_per_epoch if isinstance(member, per_epoch) else 0
    if isinstance(length, int) and length and by % length == 0:
        moved = _moved(member.schedule, by // length)
        return member if moved is member.schedule else dataclasses.replace(member, schedule=moved)
    return member


def milestones_clock(reading: Reading, log: Log) -> Iterator[Proposal]:
    """Milestones that count from the start of the run, where the member's own clock was meant."""
    for whole in schedules_in(reading.schedule):
        if not isinstance(whole, SequentialLR):
            continue
        for start, member in zip(whole.milestones, whole.schedulers[1:], strict=True):
            for by, when in ((-start, "earlier"), (start, "later")):
                other = _moved(member, by)
                if variant := variant_of(reading, replacing(member, other)):
                    (decay,) = (p for p in schedules_in(other) if isinstance(p, MultiStepLR))
                    finding = Finding(
                        "milestones-clock",
                        f"The log reaches the milestones of {type(decay).__name__} {start} counts "
                        f"{when}: counted from its start at {start} they are {decay.milestones}.",
                        "A member of SequentialLR has its own clock, as in torch: write "
                        f"milestones={decay.milestones} here.",
                    )
                    yield Proposal(variant, finding, cost=1)


def _top(log: Log) -> int:
    """The row at which the learning rate first stops to rise."""
    falls = np.flatnonzero(np.diff(log.lrs) < 0)
    return int(np.argmax(log.lrs[: falls[0] + 1] if len(falls) else log.lrs))


def another_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top = _top(log)
    lengths = whole_epoch_lengths(reading.schedule)
    for whole, warmup in _find_warmups(reading.schedule):
        old = warmup.total_iters
        news = {int(log.counts[top]) // length for length in (1, *lengths)}
        num_counts = max(int(log.counts[top]), old * max(lengths, default=1)) + 2
        rise = log.expected(reading, np.arange(min(num_counts, log.horizon, MOST_TABULATED)))
        rise = rise[: int(np.nanargmax(rise)) + 1]
        edges = np.flatnonzero(np.diff(rise, prepend=-math.inf))
        rows = log.changes[log.changes <= top]
        for row in rows[[len(rows) // 2, -1]] if len(rows) else ():
            # Where the schedule has the value of this row, and how much later the log has it.
            place = float(np.interp(log.lrs[row], rise[edges], edges))
            near = round(old * float(log.counts[row]) / place) if place else 0
            news |= {near - 1, near, near + 1}
        for new in sorted(new for new in news - {old} if new > 0):
            more, by = ("longer" if new > old else "shorter"), abs(new - old)
            for other in _with_length(whole, warmup, new):
                if variant := variant_of(reading, replacing(whole, other)):
                    finding = Finding(
                        "another-warmup",
                        f"The log has a warmup of {new} counts, {by} {more} than the schedule's, "
                        f"which has {old}.",
                        f"Use total_iters={new} here, and the milestone that belongs to it, or "
                        f"{old} in that run.",
                    )
                    yield Proposal(variant, finding, cost=2)


def _with_length(whole: Any, warmup: Any, new: int) -> Iterator[Any]:
    """The composition with a warmup of this length, and what may move with it."""
    other = dataclasses.replace(warmup, total_iters=new)
    members = [other if member is warmup else member for member in whole.schedulers]
    if isinstance(whole, ChainedScheduler):
        yield ChainedScheduler(members)
        return
    by, old = new - warmup.total_iters, whole.milestones
    all_moved = tuple(milestone + by for milestone in old)
    choices = [(members, m) for m in dict.fromkeys([all_moved, (all_moved[0], *old[1:]), old])]
    # The same decays, at the same counts of the whole.
    choices += [([members[0], *(_moved(member, -by) for member in members[1:])], all_moved)]
    for chosen, milestones in choices:
        if all(a < b for a, b in itertools.pairwise((-1, *milestones))):
            yield SequentialLR(chosen, milestones)


def added_warmup(reading: Reading, log: Log) -> Iterator[Proposal]:
    top, start = _top(log), float(log.lrs[0])
    if isinstance(reading.schedule, ReduceLROnPlateau) or top < 2:
        return
    if _find_warmups(reading.schedule):
        return
    peak = float(log.expected(reading, np.array([0]))[0])
    if not 0 <= start < peak:
        return
    news = {int(log.counts[top])}
    for row in {top // 2, top - 1}:
        slope = (log.lrs[row] - start) / (log.counts[row] - log.counts[0])
        if slope > 0:  # a line through row 0 and this row, as far as the peak
            near = round(float((peak - start) / slope))
            news |= {near - 1, near, near + 1}
    for new in sorted(new for new in news if 0 < new <= log.counts[-1]):
        warmup = LinearLR(peak, start / peak, total_iters=new)
        for compose in (lambda *both, new=new: SequentialLR(both, [new]), _product):
            try:
                variant = reading._replace(schedule=compose(warmup, reading.schedule))
            except ValueError:  # no factor of one base_lr
                continue
            finding = Finding(
                "added-warmup",
                f"The log has a warmup of {new} counts, from {start:.6g} on.",
                f"Put one before the schedule: SequentialLR([LinearLR(...), schedule], [{new}]).",
            )
            yield Proposal(variant, finding, cost=3)


def _product(*schedules: Schedule) -> Schedule:
    return ChainedScheduler(schedules)
