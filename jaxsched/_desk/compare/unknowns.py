"""The arguments of a schedule as unknowns: each, those of one value together, at any depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxsched._base.value import Frozen
from jaxsched._desk.compare import sentences
from jaxsched._desk.compare.reading import Log, Reading
from jaxsched._desk.compare.solve import Unknown
from jaxsched._desk.numerals import digits, whole_numbers
from jaxsched._desk.placed import Placed, is_warmup, placed
from jaxsched._schedules.compose import SequentialLR
from jaxsched._schedules.decay import MultiStepLR
from jaxsched._schedules.epochs import per_epoch
from jaxsched._schedules.plateau import ReduceLROnPlateau

Path = tuple[tuple[str, int | None], ...]
Changes = dict[tuple[Path, str], Any]

_LEARNING_RATES = ("base_lr", "max_lr", "eta_min", "swa_lr")
_WITHOUT_EFFECT = ("base_momentum", "max_momentum", "horizon", "scale_mode")
_STRINGS = ("cos", "linear", "triangular", "triangular2", "exp_range", "min", "max", "rel", "abs")
_MOST_CHANGES = 256
_MOST_COUNTED = 64
_MOST_METRICS = 10**6


class Slot(NamedTuple):
    """An argument, or a place in one that is a tuple, and what stands there."""

    path: Path
    member: Any
    name: str
    place: int | None
    value: Any

    def filled(self, value: Any) -> Changes:
        if self.place is not None:
            values = list(getattr(self.member, self.name))
            values[self.place] = value
            value = tuple(values)
        return {(self.path, self.name): value}


def members_in(schedule: Frozen, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The schedule, its members, their members, and so on, each with the way to it."""
    yield path, schedule
    for name, value in schedule.__getstate__().items():
        if isinstance(value, Frozen):
            yield from members_in(value, (*path, (name, None)))
        elif isinstance(value, tuple):
            for i, member in enumerate(value):
                if isinstance(member, Frozen):
                    yield from members_in(member, (*path, (name, i)))


def changed(schedule: Any, changes: dict[Any, Any]) -> Any:
    """With other arguments, as {(path, name): value}, or other members, as {path: member}.

    As `dataclasses.replace`, in a fifth of the time: what stays is not checked again.
    """
    if () in changes:
        return changes[()]
    new: dict[str, Any] = {}
    below: dict[tuple[str, int | None], dict[Any, Any]] = {}
    for key, value in changes.items():
        path, *name = key if _is_argument(key) else (key,)
        if path:
            below.setdefault(path[0], {})[(path[1:], *name) if name else path[1:]] = value
        else:
            new[name[0]] = schedule._checks[name[0]](name[0], value)
    for (name, i), inner in below.items():
        value = new[name] if name in new else getattr(schedule, name)
        if i is None:
            new[name] = changed(value, inner)
        else:
            new[name] = (*value[:i], changed(value[i], inner), *value[i + 1 :])
    copy = object.__new__(type(schedule))
    vars(copy).update(schedule.__getstate__() | new)
    if (completed := type(copy).__post_init__.__wrapped__) is not None:
        completed(copy)
    return copy


def _is_argument(key: Any) -> bool:
    return len(key) == 2 and isinstance(key[1], str)


def with_changes(reading: Reading, changes: dict[Any, Any]) -> Reading | None:
    """The reading of the changed schedule, or None if a schedule refuses it."""
    try:
        return reading._replace(schedule=changed(reading.schedule, changes))
    except (TypeError, ValueError):
        return None


# -- arguments -----------------------------------------------------------------------------------


def arguments(reading: Reading) -> Iterator[Unknown]:
    """Each argument of the schedule as the unknown, those that have one value together first."""
    schedule = reading.schedule
    slots = [*_slots(schedule)]
    is_plateau = isinstance(schedule, ReduceLROnPlateau)
    for group in _groups(slots):
        first = group[0]
        if is_plateau and first.name in ("patience", "cooldown", "threshold", "eps"):
            yield _of_plateau(reading, first)
            continue
        choices = [not first.value] if isinstance(first.value, bool) else None
        if isinstance(first.value, str):
            choices = [x for x in _STRINGS if x != first.value]
        yield Unknown(
            lambda value, group=group: with_changes(
                reading, {k: v for slot in group for k, v in slot.filled(value).items()}
            ),
            first.value,
            lambda value, group=group: sentences.argument(
                schedule, [(s.member, s.name, s.place) for s in group], group[0].value, value
            ),
            cost=1 if choices is None else 2,
            needs=1 if isinstance(first.value, float) else 2,
            values=None if choices is None else lambda log, choices=choices: choices,
        )
    if not is_plateau:
        yield from _warmups(reading)
        for (path, member), place in zip(members_in(schedule), placed(schedule), strict=True):
            if isinstance(member, MultiStepLR):
                yield _milestones(reading, path, place)


def _slots(schedule: Frozen) -> Iterator[Slot]:
    member: Any
    for path, member in members_in(schedule):
        owner: Any = member
        for name, value in member.__getstate__().items():
            if name in _WITHOUT_EFFECT:
                continue
            if name == "step_size_down" and value is None:
                value = owner.step_size_up
            if isinstance(value, (int, float, str)):
                yield Slot(path, member, name, None, value)
            elif isinstance(value, tuple) and not isinstance(member, MultiStepLR):
                for i, x in enumerate(value):
                    if isinstance(x, int):
                        yield Slot(path, member, name, i, x)


def _groups(slots: list[Slot]) -> list[list[Slot]]:
    """Those of one value, of one name and value, and each alone; those of most slots first."""

    def alike(key: Any) -> list[list[Slot]]:
        found: dict[Any, list[Slot]] = {}
        for slot in slots:
            if (of := key(slot)) is not None:
                found.setdefault(of, []).append(slot)
        return [*found.values()]

    def is_whole(slot: Slot) -> bool:
        return type(slot.value) is int

    groups = [
        *alike(lambda s: s.value if s.name in _LEARNING_RATES and s.value else None),
        *alike(lambda s: (s.name, s.value)),
        *alike(lambda s: s.value if is_whole(s) else None),
        *[[slot] for slot in slots],
    ]
    own = {tuple((s.path, s.name, s.place) for s in group): group for group in groups}
    # Two places of one tuple are no argument of one value.
    return [g for g in own.values() if len({(s.path, s.name) for s in g}) == len(g)]


def _of_plateau(reading: Reading, slot: Slot) -> Unknown:
    """What decides when a plateau cuts is tried: the nearest counts, or short decimals."""

    def values(log: Log) -> Iterable[Any]:
        most = max(_MOST_METRICS // len(log.lrs), _MOST_COUNTED)
        if slot.name in ("patience", "cooldown"):
            found: list[Any] = sorted(
                range(min(most, slot.value + _MOST_COUNTED)), key=lambda n: abs(n - slot.value)
            )
        else:
            short = {
                0.0,
                *(float(f"{k}e{place}") for k in range(1, 10) for place in range(-11, 1)),
            }
            found = sorted(short, key=lambda x: (digits(x), abs(x - slot.value)))[:most]
        return [x for x in found if x != slot.value]

    return Unknown(
        lambda value: with_changes(reading, slot.filled(value)),
        slot.value,
        lambda value: sentences.argument(
            reading.schedule, [(slot.member, slot.name, None)], slot.value, value
        ),
        cost=1,
        needs=2,
        values=values,
    )


# -- warmups -------------------------------------------------------------------------------------


def _warmups(reading: Reading) -> Iterator[Unknown]:
    """The length of a warmup, and what may move with it: milestones, or the rest back."""
    whole: Any
    for path, whole in members_in(reading.schedule):
        if not isinstance(whole, SequentialLR) or not is_warmup(whole.schedulers[0]):
            continue
        warmup, old = whole.schedulers[0], whole.milestones
        for number, is_back in ((len(old), False), (1, False), (len(old), True), (0, False)):

            def make(
                new: int, path=path, whole: Any = whole, number=number, is_back=is_back
            ) -> Any:
                warmup, old = whole.schedulers[0], whole.milestones
                by = new - warmup.total_iters
                try:
                    members = [dataclasses.replace(warmup, total_iters=new), *whole.schedulers[1:]]
                    if is_back:  # the same decays, at the same counts of the whole
                        members[1:] = [moved(member, -by) for member in members[1:]]
                    milestones = [m + by * (i < number) for i, m in enumerate(old)]
                    return with_changes(reading, {path: SequentialLR(members, milestones)})
                except ValueError:
                    return None

            yield Unknown(
                make,
                warmup.total_iters,
                lambda new, old=warmup.total_iters: sentences.another_warmup(old, new),
                cost=0.5 + is_back,
                needs=2,
            )


def moved(member: Any, by: int) -> Any:
    """A member whose milestones are so many of its counts later; itself if it has none."""
    if isinstance(member, MultiStepLR):
        milestones = [max(milestone + by, 0) for milestone in member.milestones]
        return dataclasses.replace(member, milestones=milestones)
    length = member.steps_per_epoch if isinstance(member, per_epoch) else 0
    if isinstance(length, int) and length and by % length == 0:
        inner = moved(member.schedule, by // length)
        return member if inner is member.schedule else dataclasses.replace(member, schedule=inner)
    return member


# -- milestones ----------------------------------------------------------------------------------


def _milestones(reading: Reading, path: Path, place: Placed) -> Unknown:
    member: Any = place.schedule
    old = member.milestones

    def make(milestones: tuple[int, ...]) -> Reading | None:
        return with_changes(reading, {(path, "milestones"): milestones})

    return Unknown(
        make,
        old,
        lambda new: sentences.argument(reading.schedule, [(member, "milestones", None)], old, new),
        cost=0.5,
        needs=1,
        values=lambda log: [x for x in _found_milestones(log, make, member, place) if x != old],
    )


def _found_milestones(log: Log, make: Any, member: Any, place: Placed) -> Iterator[tuple[int, ...]]:
    """The milestones at which the log decays, on the member's own clock and in its unit."""
    none, one = make(()), make((0,))
    if none is None or one is None:
        return
    with np.errstate(all="ignore"):
        without = log.expected(none, log.counts)
        is_member = np.isfinite(without) & (log.expected(one, log.counts) != without)
        times = np.log(log.lrs / without) / np.log(member.gamma)
    rows = np.flatnonzero(is_member & np.isfinite(times))
    if not len(rows):
        return
    decays = np.round(times[rows]).astype(int)
    jumps = np.flatnonzero(np.diff(decays)) + 1
    if len(jumps) > _MOST_CHANGES or (np.diff(decays) < 0).any() or decays[0] < 0:
        return
    counts = make(member.milestones).at(log.counts)

    def last(count: int) -> int:
        """The member's last own count that is at this count of the whole, or before it."""
        low, high = -1, count + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if place.at(middle) <= count else (low, middle)
        return low

    first = last(int(counts[rows[0]]))
    found = [m for m in member.milestones if m <= first][: decays[0]]
    found += [0] * (int(decays[0]) - len(found))
    for jump in jumps.tolist():
        low, high = (last(int(counts[row])) for row in (rows[jump - 1], rows[jump]))
        own = [m for m in member.milestones if low < m <= high]
        number = int(decays[jump] - decays[jump - 1])
        own = own[:number] + whole_numbers(low + 1, high, 1) * (number - len(own))
        if len(own) != number:
            return
        found += own
    end = last(int(counts[rows[-1]]))
    yield (*found, *[m for m in member.milestones if m > end])
