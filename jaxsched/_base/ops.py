"""The arithmetic of the formulas, for Python's numbers, NumPy's arrays and JAX's.

A formula is written once. It uses `+`, `-`, `*` and comparisons, which work the same for all three,
and the methods of `Ops` for everything that does not.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base import elementary
from jaxsched._base.arguments import has_arrays, is_array
from jaxsched._base.hints import of_trace

FLOAT64_MAX = float(np.finfo(np.float64).max)
_TABLE_BITS = 12
MOST_PLACES = 2**_TABLE_BITS
"""The largest number of places in a table."""


class Table(NamedTuple):
    """The values of a schedule, computed on the host, in the dtype of the result.

    A place is `step` counts with one value, or with two if `changes` is given.
    """

    values: np.ndarray
    """The value at the first count of each place."""
    step: int
    """The number of counts in each place."""
    period: int
    """The number of counts after which the schedule repeats. 0: it stays at the last place."""
    changes: np.ndarray | None = None
    """For irregular steps: in each place, the count from which on the value is that in `later`."""
    later: np.ndarray | None = None


class Ops(ABC):
    """The operations of the formulas. Arguments broadcast, and the result has the common shape.

                    counts, indices, sizes               real numbers
        PythonOps   int                                  float
        NumPyOps    int64 array                          float64 array
        JaxOps      int32 or uint32 array, or uint64     float64 array
                    where 32 bits do not hold them

    Counts, indices and sizes are >= 0. A formula never subtracts more from one than it is. In all
    three classes sizes and real numbers may be Python's.
    """

    @abstractmethod
    def value(self, schedule: Any, count: Any, part: Any = 0) -> Any:
        """A schedule's value in the type of the result, for a composition of schedules.

        `part` is the part of the way to the next count, from 0 to 1. It is the int 0 except in
        smooth_epochs.
        """

    def is_table(self, schedule: Any) -> bool:
        """Whether its `value` is a look-up. It is for a short schedule on a device."""
        return False

    @property
    def in_double(self) -> Ops:
        """The same operations without rounding, for a composition that computes more from them."""
        return self

    @abstractmethod
    def minimum(self, a: Any, b: Any) -> Any: ...

    @abstractmethod
    def maximum(self, a: Any, b: Any) -> Any: ...

    def quotient(self, count: Any, n: Any) -> Any:
        """count // n, for n >= 1."""
        return count // n

    def remainder(self, count: Any, n: Any) -> Any:
        """count % n, for n >= 1."""
        return count % n

    def ratio(self, a: Any, b: Any) -> Any:
        """a / b in double, for counts or real numbers. JAX's `/` of 32-bit counts is in float32."""
        return a / b

    @abstractmethod
    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b. Two Python integers may become real numbers."""

    @abstractmethod
    def passed(self, boundaries: Sequence[Any], count: Any) -> Any:
        """The number of boundaries <= count, an index. Arrays may be in any order."""

    @abstractmethod
    def latest(self, starts: Sequence[int], count: Any) -> Any:
        """The last of the starts that is <= count. The starts are Python's integers. The first is
        0, and each is more than twice the one before."""

    @abstractmethod
    def take(self, values: Any, index: Any) -> Any:
        """values[index], for a tuple or array of numbers that are all integers or all real."""

    @abstractmethod
    def choose(
        self, boundaries: Sequence[Any], formulas: Sequence[Callable], count: Any, part: Any
    ) -> Any:
        """formulas[passed(boundaries, count)](count, part). Where possible, only it is computed."""

    @abstractmethod
    def power(self, x: Any, exponent: Any) -> Any:
        """x ** exponent for x from 0 to 1 and exponent >= 0. 0 ** 0 is 1."""

    @abstractmethod
    def half_wave(self, x: Any) -> Any:
        """sin(pi / 2 * x) ** 2 for x from 0 to 1: (1 - cos(pi * x)) / 2 without cancellation."""

    @abstractmethod
    def product(self, number: Any, *factors: Any) -> Any:
        """The product of real numbers. Each factor is made finite, so that 0 times it is 0."""

    @abstractmethod
    def decay(self, base_lr: Any, gamma: Any, times: Any) -> Any:
        """base_lr * gamma ** times, where times is a count or a real number >= 0.

        The power is the product of two halves, because it may leave the range of its type where the
        result does not. Each half is made finite, so that 0 times it is 0.
        """

    @abstractmethod
    def call(self, fn: Callable[[Any], Any], count: Any, origin: str) -> Any:
        """A user's own function, in double precision if it uses JAX: an int or int64, or real.

        `origin` is the argument that it came as, for messages.
        """


class PythonOps(Ops):
    """A Python int in, a Python float out, in about a microsecond."""

    def minimum(self, a, b):
        return min(a, b)

    def maximum(self, a, b):
        return max(a, b)

    def power(self, x, exponent):
        return x**exponent

    def passed(self, boundaries, count):
        return bisect.bisect_right(boundaries, count)

    def latest(self, starts, count):
        return starts[self.passed(starts, count) - 1]

    def take(self, values, index):
        value = values[index]
        return value if isinstance(values, tuple) else value.item()

    def value(self, schedule, count, part=0):
        return schedule._value(count, part, self)

    def where(self, condition, a, b):
        return a if condition else b

    def choose(self, boundaries, formulas, count, part):
        return formulas[self.passed(boundaries, count)](count, part)

    def half_wave(self, x):
        return math.sin(math.pi / 2 * x) ** 2

    def product(self, number, *factors):
        for factor in factors:
            number = number * min(factor, FLOAT64_MAX)
        return number

    def decay(self, base_lr, gamma, times):
        half = times // 2
        try:
            return base_lr * gamma**half * gamma ** (times - half)
        except OverflowError:
            return base_lr * math.inf if base_lr else 0.0

    def call(self, fn, count, origin):
        with jax.enable_x64(True):
            try:  # most are plain Python and do not need the contexts below, which take 2 us
                return float(fn(count))
            except (TypeError, ValueError):
                pass  # a tracer or strict promotion; any other error is raised again below
            with jax.ensure_compile_time_eval(), jax.numpy_dtype_promotion("standard"):
                return float(fn(count))


class NumPyOps(Ops):
    """A NumPy array of int64 in, float64 out: a whole curve, without JAX."""

    def minimum(self, a, b):
        return np.minimum(a, b)

    def maximum(self, a, b):
        return np.maximum(a, b)

    def where(self, condition, a, b):
        return np.where(condition, a, b)

    def power(self, x, exponent):
        return np.float_power(x, exponent)

    def value(self, schedule, count, part=0):
        return schedule._value(count, part, self)

    def passed(self, boundaries, count):
        return np.searchsorted(np.array(boundaries, np.int64), count, side="right")

    def latest(self, starts, count):
        return self.take(starts, self.passed(starts, count) - 1)

    def take(self, values, index):
        return np.asarray(values)[index]

    def choose(self, boundaries, formulas, count, part):
        value, index = np.empty(count.shape), self.passed(boundaries, count)
        for i, formula in enumerate(formulas):
            chosen = index == i
            value[chosen] = formula(count[chosen], part[chosen] if is_array(part) else part)
        return value

    def half_wave(self, x):
        return np.sin(math.pi / 2 * x) ** 2

    def product(self, number, *factors):
        for factor in factors:
            number = number * np.minimum(factor, FLOAT64_MAX)
        return number

    def decay(self, base_lr, gamma, times):
        half = times // 2
        first = np.minimum(np.float_power(gamma, half), FLOAT64_MAX)
        return base_lr * first * np.minimum(np.float_power(gamma, times - half), FLOAT64_MAX)

    def call(self, fn, count, origin):
        values = [PYTHON.call(fn, c, origin) for c in count.ravel().tolist()]
        return np.array(values, np.float64).reshape(count.shape)


PYTHON, NUMPY = PythonOps(), NumPyOps()


class JaxOps(Ops):
    """Integers from 0 on in, `dtype` out; inside `jax.enable_x64(True)` and standard promotion."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)

    def is_table(self, schedule):
        return schedule._table(self.dtype) is not None

    @property
    def in_double(self):
        return JaxOps(np.float64)

    def minimum(self, a, b):
        return jnp.minimum(a, b)

    def maximum(self, a, b):
        return jnp.maximum(a, b)

    def where(self, condition, a, b):
        if isinstance(a, int) and isinstance(b, int):  # would be int64
            a, b = float(a), float(b)
        return jnp.where(condition, a, b)

    def quotient(self, count, n):
        # lax.div rounds towards 0. For counts that is down. `//` adds six instructions for negative
        # numbers.
        return jax.lax.div(count, jnp.broadcast_to(jnp.asarray(n, count.dtype), count.shape))

    def remainder(self, count, n):
        return jax.lax.rem(count, jnp.broadcast_to(jnp.asarray(n, count.dtype), count.shape))

    def ratio(self, a, b):
        return elementary.double(a) / elementary.double(b)

    def value(self, schedule, count, part=0):
        table = schedule._table(self.dtype) if isinstance(part, int) else None
        value = schedule._value(count, part, self) if table is None else self._look_up(table, count)
        return jnp.asarray(value).astype(self.dtype)

    def _look_up(self, table, count):
        if table.period:
            count = self.remainder(count, table.period)
        place = count if table.step == 1 else self.quotient(count, table.step)
        if not table.period:
            place = self.minimum(place, len(table.values) - 1)
        value = self.take(table.values, place)
        if table.changes is None:
            return value
        is_later = count >= self.take(table.changes.astype(count.dtype), place)
        return jnp.where(is_later, self.take(table.later, place), value)

    def passed(self, boundaries, count):
        # A binary search without branches. jnp.searchsorted is a `while` loop until it is compiled,
        # even unrolled, or it compares all with all and sums them in one more GPU kernel.
        largest = np.iinfo(count.dtype).max
        if has_arrays(boundaries):
            ascending = jnp.sort(jnp.asarray(boundaries).astype(count.dtype))
        else:
            ascending = np.array(sorted(b for b in boundaries if b <= largest), count.dtype)
        number = len(ascending)
        size = 1 << number.bit_length()
        padding = np.full(size - 1 - number, largest, count.dtype)
        ascending = jnp.concatenate([ascending, padding])
        index = jnp.zeros(count.shape, count.dtype)
        while size := size // 2:
            is_passed = elementary.take(ascending, index + (size - 1)) <= count
            index = jnp.where(is_passed, index + size, index)
        return jnp.minimum(index, number)

    def latest(self, starts, count):
        # At most one start has as many bits as the count.
        bits, largest = count.dtype.itemsize * 8, np.iinfo(count.dtype).max
        last = [bisect.bisect_right(starts, n) - 1 for n in (0, *(1 << b for b in range(bits)))]
        following = [starts[min(i + 1, len(starts) - 1)] for i in last]
        lower = tuple(starts[i] for i in last)
        upper = tuple(f if f <= largest else s for f, s in zip(following, lower, strict=True))
        length = bits - jax.lax.clz(count)
        upper = self.take(upper, length)
        return jnp.where(count >= upper, upper, self.take(lower, length))

    def take(self, values, index):
        if isinstance(values, tuple) and has_arrays(values):
            values = jnp.stack([jnp.asarray(v, index.dtype) for v in values])
        elif isinstance(values, tuple) and isinstance(values[0], int):  # others are never reached
            largest = np.iinfo(index.dtype).max
            values = np.array([min(v, largest) for v in values], index.dtype)
        return elementary.take(jnp.asarray(values), index)

    def choose(self, boundaries, formulas, count, part):
        value = formulas[0](count, part)
        for boundary, formula in zip(boundaries, formulas[1:], strict=True):
            value = jnp.where(count >= boundary, formula(count, part), value)
        return value

    def half_wave(self, x):
        return elementary.half_wave(x)

    def power(self, x, exponent):
        if isinstance(exponent, float) and exponent in (1, 2, 3, 4):
            return jax.lax.integer_pow(x, int(exponent))
        power = elementary.exp2(exponent * elementary.log2(x), self.dtype)
        return jnp.where(x > 0, power, jnp.where(exponent == 0, 1.0, 0.0))

    def product(self, number, *factors):
        small = self._is_small(number, *factors)
        number = number * jnp.where(small, 2.0**64, 1.0)
        for factor in factors:
            # Not jnp.minimum: its derivative needs float64 where jit has left enable_x64.
            number = number * jnp.where(factor > FLOAT64_MAX, FLOAT64_MAX, factor)
        return _unscaled(number, small)

    def decay(self, base_lr, gamma, times):
        if is_array(gamma):
            log = elementary.log2(gamma)
        else:
            log = math.log2(gamma) if gamma else elementary.LOG2_OF_ZERO
        places = math.inf
        if not has_arrays((base_lr, gamma)) and jnp.issubdtype(times.dtype, jnp.integer):
            places = decay_places(base_lr, gamma, self.dtype)
        if places <= MOST_PLACES**2:
            return self._geometric(lambda n: NUMPY.decay(base_lr, gamma, n), places, times)
        half = elementary.double(times * (log / 2))
        small = self._is_small(base_lr, jnp.exp2(2 * half.astype(jnp.float32)))
        root = elementary.exp2(half, self.dtype, 32 * jnp.asarray(small).astype(np.int32))
        return _unscaled(base_lr * root * root, small)

    def _is_small(self, *factors):
        """Whether the product of these is so small that a TPU loses the second float32 of the pair,
        which is then below the normal numbers. If so, the product is computed times 2 ** 64, and
        `_unscaled` undoes that."""
        if self.dtype != np.float32:
            return False
        rough = math.prod(jnp.asarray(factor).astype(np.float32) for factor in factors)
        return abs(rough) < 2.0**-90

    def _geometric(self, function, places, times):
        """function(times), for a geometric sequence that is constant from `places` - 1 on. It is
        looked up in one table, or is the product of two look-ups."""
        bits = max((places - 1).bit_length() - _TABLE_BITS, 0)
        times = self.minimum(times, places - 1)
        with np.errstate(over="ignore", under="ignore"):
            value = self.take(function(np.arange(0, places, 1 << bits)), times >> bits)
            if bits:
                fine = function(np.arange(1 << bits)) / function(0)
                value = value * self.take(fine, times & ((1 << bits) - 1))
        return value

    def call(self, fn, count, origin):
        count = count.astype(jnp.int64) if jnp.issubdtype(count.dtype, jnp.integer) else count
        try:
            return jnp.asarray(fn(count)).astype(jnp.float64)
        except jax.errors.JAXTypeError as error:
            raise TypeError(of_trace(origin, fn)) from error


def _unscaled(value, small):
    rounded = value.astype(jnp.float32) * 2.0**-64
    return jnp.where(small, rounded.astype(jnp.float64), value)


def as_result(value: Any) -> Any:
    """Float32 as it is, float64 weakly typed, so that float32 parameters stay float32."""
    return value if value.dtype == np.float32 else _weak(value)


@jnp.vectorize
def _weak(value):
    return jax.lax.full_like(0.0, value)  # weakly typed as its first argument


def decay_places(base_lr: Any, gamma: Any, dtype: Any) -> int:
    """The number of values of base_lr * gamma ** k in `dtype`, until it stays at 0 or inf."""
    if base_lr == 0 or gamma == 1:
        return 1
    if gamma == 0:
        return 2
    info = np.finfo(dtype)
    end = math.log2(info.max) if gamma > 1 else math.log2(info.smallest_subnormal) - 1
    return max(math.ceil((end - math.log2(base_lr)) / math.log2(gamma)), 0) + 2
