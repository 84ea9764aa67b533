"""Schedules in epochs, run at optimizer updates."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, final

from jaxsched._base.arguments import CountOrCounts, integer, integers
from jaxsched._base.members import Member, as_schedule, shorten
from jaxsched._base.ops import Ops
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course
from jaxsched._base.value import argument


def _one_or_more(name: str, value: Any) -> Any:
    if isinstance(value, float) and not value.is_integer():
        raise TypeError(
            f"`{name}` must be an integer >= 1, got {value!r}: jaxsched.steps_per_epoch("
            "num_examples, batch_size, drop_last=...) rounds as torch's DataLoader does"
        )
    if not isinstance(value, Iterable) or isinstance(value, str) or getattr(value, "ndim", 1) == 0:
        return integer(at_least=1)(name, value)
    lengths = tuple(integers(at_least=1, ordered=True)(name, value))
    if not lengths:
        raise ValueError(f"`{name}` must hold the length of at least one epoch, got {value!r}")
    return lengths


class Clock:
    """Which epoch an update is in, and at which update an epoch begins."""

    def __init__(self, steps_per_epoch: Any):
        self.lengths = _one_or_more("steps_per_epoch", steps_per_epoch)
        lengths = self.lengths if isinstance(self.lengths, tuple) else ()
        self.starts: tuple[Any, ...] = tuple(itertools.accumulate(lengths[:-1], initial=0))
        """The update at which each epoch of the sequence begins."""

    def epoch(self, count: Any, ops: Ops) -> tuple[Any, Any, Any]:
        """The epoch of an update, the update's place in it, and how many updates it has."""
        lengths, starts = self.lengths, self.starts
        if not isinstance(lengths, tuple):
            return ops.quotient(count, lengths), ops.remainder(count, lengths), lengths
        listed = ops.passed(starts, count) - 1
        # In a listed epoch `others` is 0. After the listed epochs `listed` stays the same.
        others = ops.quotient(ops.maximum(count, starts[-1]) - starts[-1], lengths[-1])
        step = count - ops.take(starts, listed) - others * lengths[-1]
        return listed + others, step, ops.take(lengths, listed)

    def first_update(self, epoch: Any, ops: Ops) -> Any:
        """The update at which an epoch begins, on the host."""
        if not isinstance(self.lengths, tuple):
            return epoch * self.lengths
        listed = ops.minimum(epoch, len(self.lengths) - 1)
        return ops.take(self.starts, listed) + (epoch - listed) * self.lengths[-1]


class _InEpochs:
    """What both adapters have in common."""

    steps_per_epoch: Any

    @functools.cached_property
    def _clock(self) -> Clock:
        return Clock(self.steps_per_epoch)

    def _integers(self) -> Iterator[Any]:
        yield from super()._integers()  # pyright: ignore[reportAttributeAccessIssue]
        yield self._clock.starts[-1]

    def _length(self, down_to: float) -> int:
        return 0  # its member has its own


def _in_epochs(name: str, value: Any) -> Schedule:
    value = as_schedule(name, value)
    for schedule in value._walk():
        if isinstance(schedule, (per_epoch, smooth_epochs)):
            raise ValueError(
                f"`{name}` must be in epochs, got {shorten(schedule)}, which is in updates "
                "already: epochs would be taken for updates twice"
            )
    return value


@final
class per_epoch(_InEpochs, Schedule):
    """Runs a schedule whose counts are epochs at optimizer updates, with one value for each epoch.

    It gives what torch gives in a loop that calls `scheduler.step()` once, at the end of each
    epoch. For `per_epoch(MultiStepLR(0.1, [30, 80]), steps_per_epoch=100)`:

    ```text
    lr = 0.1      for updates    0 to 2999    (epochs 0 to 29)
    lr = 0.01     for updates 3000 to 7999    (epochs 30 to 79)
    lr = 0.001    from update 8000 on
    ```

    Formula: `schedule(count // steps_per_epoch)`, in integers. If `steps_per_epoch` is a sequence,
    epoch e has `steps_per_epoch[e]` updates, and all later epochs have the last length.

    Args:
        schedule: a schedule whose counts are epochs: a jaxsched schedule, or any callable
            `count -> value`, such as an optax schedule.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1, or a sequence of such
            integers, one for each epoch. `js.steps_per_epoch` computes it.

    Raises:
        TypeError, ValueError: `steps_per_epoch` is below 1, fractional or empty; or `schedule` is
            not callable, or is stateful (it has `init` and `update`), or holds an adapter: epochs
            would be taken for updates twice.

    torch has no such class. In torch the place of `scheduler.step()` in the loop decides.

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

    def _value(self, count, fraction, ops):
        epoch, _, _ = self._clock.epoch(count, ops)
        return self.schedule._at(epoch, 0, ops)

    def _course(self, dtype):
        course, length = self.schedule._course(dtype), self.steps_per_epoch
        if course is None or isinstance(length, tuple):
            return None
        starts, period = course
        if isinstance(starts, range):
            updates = range(0, starts.stop * length, starts.step * length)
        else:
            updates = [start * length for start in starts]
        return Course(updates, period * length)


def _can_be_smooth(name: str, value: Any) -> Schedule:
    value = _in_epochs(name, value)
    for schedule in value._walk():
        if not schedule._is_smooth:
            raise ValueError(
                f"`{name}` must be smooth between epochs, got {shorten(schedule)}, which stands "
                "still between counts: use per_epoch"
            )
    return value


@final
class smooth_epochs(_InEpochs, Schedule):
    """Runs a schedule whose counts are epochs at optimizer updates, and moves at each update.

    For `smooth_epochs(LinearLR(0.1, 0.5, 1.0, total_iters=1), steps_per_epoch=4)`:

    ```text
    lr = 0.05, 0.0625, 0.075, 0.0875    for updates 0 to 3 (epoch 0)
    lr = 0.1                            from update 4 on
    ```

    Formula: `schedule(count / steps_per_epoch)` in double precision. The number of whole epochs is
    computed in integers.

    Args:
        schedule: a schedule whose counts are epochs: a jaxsched schedule, or any callable
            `count -> value`, which then receives floats.
        steps_per_epoch: optimizer updates in an epoch, an integer >= 1, or a sequence of such
            integers, one for each epoch. `js.steps_per_epoch` computes it.

    Raises:
        TypeError, ValueError: `steps_per_epoch` is below 1, fractional or empty; or `schedule` is
            stateful; or it is or contains StepLR, MultiStepLR, ConstantLR, MultiplicativeLR,
            LambdaLR with a horizon or RecordedLR, which have no values between counts; or it holds
            an adapter.

    In torch this is `scheduler.step(epoch + i / iters)`, which few of torch's schedulers accept.

    >>> import jaxsched as js
    >>> schedule = js.smooth_epochs(js.LinearLR(0.1, 0.5, 1.0, total_iters=1), steps_per_epoch=4)
    >>> [round(schedule(count), 4) for count in range(6)]
    [0.05, 0.0625, 0.075, 0.0875, 0.1, 0.1]
    """

    _is_factor = True

    schedule: Member = argument(_can_be_smooth)
    steps_per_epoch: CountOrCounts = argument(_one_or_more)

    def _value(self, count, fraction, ops):
        epoch, step, length = self._clock.epoch(count, ops)
        # The epoch and the fraction of it that has passed are two numbers: count / length may round
        # to just below the epoch at its first update.
        return self.schedule._at(epoch, ops.ratio(step + fraction, length), ops)

    def _course(self, dtype):
        course, length = self.schedule._course(dtype), self.steps_per_epoch
        if course is None or isinstance(length, tuple):
            return None
        starts, period = course
        return Course(range(period * length or starts[-1] * length + 1), period * length)


def steps_per_epoch(
    num_examples: int, batch_size: int, *, drop_last: bool, accumulate: int = 1
) -> int:
    """Computes the number of optimizer updates in an epoch: the length of torch's `DataLoader`.

    ```text
    num_examples  batch_size  drop_last  accumulate   updates
          50,000         128      False           1       391
          50,000         128       True           1       390
          50,000         128       True           3       130
    ```

    Formula: `updates = batches / accumulate`, where batches is `num_examples / batch_size`, rounded
    down if `drop_last`, else up. `accumulate` has to divide the batches.

    Args:
        num_examples: examples in the training set (all hosts together), an integer >= 1.
        batch_size: examples in a batch (all devices and hosts together), an integer >= 1.
        drop_last: whether an incomplete last batch is left out, as in torch's `DataLoader`. There
            is no default, because one update too many in each epoch moves every milestone.
        accumulate: batches whose gradients are accumulated for one update, an integer >= 1.

    Returns:
        Optimizer updates in an epoch, a Python int >= 1.

    Raises:
        TypeError: a number is fractional, or `drop_last` is not True or False.
        ValueError: a number is below 1; or an epoch has no complete batch; or `accumulate` does not
            divide the batches. Training loops differ in what they do with the rest.

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
