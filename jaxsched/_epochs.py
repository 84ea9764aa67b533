"""Epochs into optimizer updates."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, final

from jaxsched._arguments import CountOrCounts, argument, integer, integers
from jaxsched._ops import Ops
from jaxsched._schedule import Member, Schedule, member, shorten


def _one_or_more(name: str, value: Any) -> Any:
    if not isinstance(value, Iterable) or isinstance(value, str) or getattr(value, "ndim", 1) == 0:
        return integer(at_least=1)(name, value)
    lengths = tuple(integers(at_least=1, ordered=True)(name, value))
    if not lengths:
        raise ValueError(f"`{name}` must hold the length of at least one epoch, got {value!r}")
    return lengths


class _InEpochs:
    """Which epoch an update is in, for both adapters."""

    steps_per_epoch: Any

    def _epoch(self, count: Any, ops: Ops) -> tuple[Any, Any, Any]:
        """The epoch of an update, the update's place in it, and how many updates it has."""
        lengths = self.steps_per_epoch
        if not isinstance(lengths, tuple):
            return ops.quotient(count, lengths), ops.remainder(count, lengths), lengths
        starts = self._starts
        listed = ops.passed(starts, count) - 1
        # Within the listed epochs there are no others yet, after them `listed` stands still.
        others = ops.quotient(ops.maximum(count, starts[-1]) - starts[-1], lengths[-1])
        step = count - ops.take(starts, listed) - others * lengths[-1]
        return listed + others, step, ops.take(lengths, listed)

    @functools.cached_property
    def _starts(self) -> tuple[int, ...]:
        """The count at which each listed epoch begins."""
        return tuple(itertools.accumulate(self.steps_per_epoch[:-1], initial=0))

    def _integers(self) -> Iterator[Any]:
        yield from super()._integers()  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(self.steps_per_epoch, tuple):
            yield self._starts[-1]


def _in_epochs(name: str, value: Any) -> Schedule:
    value = member(name, value)
    for part in value._parts():
        if isinstance(part, (per_epoch, smooth_epochs)):
            raise ValueError(
                f"`{name}` must be in epochs, got {shorten(part)}, which is in updates already: "
                "epochs would be taken for updates twice"
            )
    return value


@final
class per_epoch(_InEpochs, Schedule):
    """Runs a schedule written in epochs on optimizer updates, one value an epoch.

    It is torch's loop that calls `scheduler.step()` once at the end of each epoch.
    For `per_epoch(MultiStepLR(0.1, [30, 80]), steps_per_epoch=100)`:

        lr = 0.1      for updates    0 to 2999   (epochs 0 to 29)
        lr = 0.01     for updates 3000 to 7999   (epochs 30 to 79)
        lr = 0.001    from update 8000 on

    Formula: `schedule(count // steps_per_epoch)`, in integers. With a sequence, epoch e has
    `steps_per_epoch[e]` updates, and the last length repeats.

    Args:
        schedule: what to run; its counts are epochs. A jaxsched schedule, or any callable
            `count -> value` such as an optax schedule.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1 (`js.steps_per_epoch`
            counts them), or a sequence of such, one an epoch.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`).

    Raises:
        TypeError, ValueError: `steps_per_epoch` below 1, fractional or empty; `schedule` not
            callable, or a stateful one (that has `init` and `update`).

    torch has no such class: there the place of `scheduler.step()` in the loop decides.

    >>> import jaxsched as js
    >>> s = js.per_epoch(js.MultiStepLR(0.1, [30, 80]), steps_per_epoch=100)
    >>> s(2999), s(3000)
    (0.1, 0.010000000000000002)
    >>> s = js.per_epoch(js.StepLR(0.1, 1), steps_per_epoch=[3, 2])  # 3, 2, 2, 2 ... updates
    >>> s(2), s(3), s(4), s(5)
    (0.1, 0.010000000000000002, 0.010000000000000002, 0.0010000000000000002)
    """

    _is_factor, _is_smooth = True, False

    schedule: Member = argument(_in_epochs)
    steps_per_epoch: CountOrCounts = argument(_one_or_more)

    def _value(self, count, part, ops):
        epoch, _, _ = self._epoch(count, ops)
        return ops.value(self.schedule, epoch)

    def _course(self, dtype):
        course, length = self.schedule._course(dtype), self.steps_per_epoch
        if course is None or isinstance(length, tuple):
            return None
        starts, period = course
        if isinstance(starts, range):
            return range(0, starts.stop * length, starts.step * length), period * length
        return tuple(start * length for start in starts), period * length


def _can_be_smooth(name: str, value: Any) -> Schedule:
    value = _in_epochs(name, value)
    for part in value._parts():
        if not part._is_smooth:
            raise ValueError(
                f"`{name}` must be smooth between epochs, got {shorten(part)}, which stands still "
                "between counts: use per_epoch"
            )
    return value


@final
class smooth_epochs(_InEpochs, Schedule):
    """Runs a schedule written in epochs on optimizer updates, moving at each update.

    For `smooth_epochs(LinearLR(0.1, 0.5, 1.0, total_iters=1), steps_per_epoch=4)`:

        lr = 0.05, 0.0625, 0.075, 0.0875    for updates 0 to 3 (epoch 0)
        lr = 0.1                            from update 4 on

    Formula: `schedule(count / steps_per_epoch)` in double, whole epochs counted in integers.

    Args:
        schedule: what to run; its counts are epochs. A jaxsched schedule, or any callable
            `count -> value`, which is then given floats.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1 (`js.steps_per_epoch`
            counts them), or a sequence of such, one an epoch.

    Called with counts: int -> float; NumPy integers -> float64; JAX integers -> float32 of the same
    shape (float64 under `jax_enable_x64`).

    Raises:
        TypeError, ValueError: an argument is not as above; or the schedule is or holds StepLR,
            MultiStepLR, ConstantLR, MultiplicativeLR, LambdaLR with a horizon, RecordedLR or
            per_epoch, which have no values between counts.

    In torch it is `scheduler.step(epoch + i / iters)`, which few schedulers there take.

    >>> import jaxsched as js
    >>> schedule = js.smooth_epochs(js.LinearLR(0.1, 0.5, 1.0, total_iters=1), steps_per_epoch=4)
    >>> [round(schedule(count), 4) for count in range(6)]
    [0.05, 0.0625, 0.075, 0.0875, 0.1, 0.1]
    """

    _is_factor = True

    schedule: Member = argument(_can_be_smooth)
    steps_per_epoch: CountOrCounts = argument(_one_or_more)

    def _value(self, count, part, ops):
        epoch, step, length = self._epoch(count, ops)
        # The epoch and its part, since count / length may be just below an epoch's first update.
        return ops.value(self.schedule, epoch, ops.ratio(step + part, length))

    def _course(self, dtype):
        course, length = self.schedule._course(dtype), self.steps_per_epoch
        if course is None or isinstance(length, tuple):
            return None
        starts, period = course
        return range(period * length or starts[-1] * length + 1), period * length


def steps_per_epoch(
    num_examples: int, batch_size: int, *, drop_last: bool, accumulate: int = 1
) -> int:
    """Counts the optimizer updates in an epoch: the length of torch's `DataLoader`.

        num_examples  batch_size  drop_last  accumulate   updates
              50,000         128      False           1       391
              50,000         128       True           1       390
              50,000         128       True           3       130

    Formula: batches = num_examples / batch_size, rounded down if `drop_last`, else up;
    updates = batches / accumulate, which has to divide.

    Args:
        num_examples: examples in the training set (all hosts together), >= 1.
        batch_size: examples in a batch (all devices and hosts together), >= 1.
        drop_last: whether an incomplete last batch is left out, as in torch's `DataLoader`.
            Without a default, since one update an epoch too many moves every milestone.
        accumulate: batches whose gradients are accumulated for one update, >= 1.

    Returns:
        Optimizer updates in an epoch, a Python int >= 1.

    Raises:
        TypeError, ValueError: an argument is not as above; no complete batch; or `accumulate`
            does not divide the batches, where loops differ in what the last update does.

    Source: `len(torch.utils.data.DataLoader)`, torch 2.13.

    >>> import jaxsched as js
    >>> js.steps_per_epoch(50_000, 128, drop_last=False)
    391
    """
    positive = integer(at_least=1)
    num_examples = positive("num_examples", num_examples)
    batch_size = positive("batch_size", batch_size)
    accumulate = positive("accumulate", accumulate)
    if not isinstance(drop_last, bool):
        raise TypeError(f"`drop_last` must be True or False, got {drop_last!r}")
    batches = num_examples // batch_size if drop_last else -(-num_examples // batch_size)
    if batches == 0:
        raise ValueError(
            f"`batch_size` must be at most `num_examples` with drop_last=True, got {batch_size} "
            f"for {num_examples} examples: an epoch would hold no batch"
        )
    updates, left = divmod(batches, accumulate)
    if left:
        raise ValueError(
            f"`accumulate` must divide the {batches} batches of an epoch, got {accumulate}, which "
            f"leaves {left}. A loop that flushes them at the epoch's end does {updates + 1} "
            f"updates an epoch (give per_epoch that number). optax.MultiSteps carries them over "
            f"into the next epoch, so that {accumulate} epochs do {batches} updates: there give "
            "per_epoch the length of each epoch as a sequence"
        )
    return updates
