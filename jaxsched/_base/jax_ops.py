"""The arithmetic of the formulas for JAX: float64 inside, 32-bit integers, one rounding."""

from __future__ import annotations

import bisect
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base import elementary
from jaxsched._base.arguments import FLOAT64_MAX, has_arrays, is_array, of_dtype
from jaxsched._base.functions import verify
from jaxsched._base.hints import hint_for_trace
from jaxsched._base.ops import NUMPY, Ops
from jaxsched._base.table import MOST_PLACES, TABLE_BITS, decay_places
from jaxsched._base.value import Frozen


class JaxOps(Ops):
    """Integers from 0 on in, `dtype` out; inside `jax.enable_x64(True)` and standard promotion."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)

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
        return jax.lax.div(*jnp.broadcast_arrays(count, jnp.asarray(n, count.dtype)))

    def remainder(self, count, n):
        return jax.lax.rem(*jnp.broadcast_arrays(count, jnp.asarray(n, count.dtype)))

    def ratio(self, a, b):
        return elementary.double(a) / elementary.double(b)

    def passed(self, boundaries, count):
        # A binary search without branches. jnp.searchsorted is a `while` loop until it is compiled,
        # even unrolled, or it compares all with all and sums them in one more GPU kernel.
        largest = np.iinfo(count.dtype).max
        if has_arrays(boundaries):
            ascending = jnp.sort(jnp.asarray(boundaries).astype(count.dtype))
            firsts, shift, rounds = np.zeros(1, int), 0, len(ascending).bit_length()
        else:
            ascending = np.array(sorted(b for b in boundaries if b <= largest), count.dtype)
            firsts, shift, rounds = _begin_search(ascending)
        number, index = len(ascending), jnp.full(count.shape, firsts[0], count.dtype)
        if len(firsts) > 1:
            place = self.minimum(count >> shift, len(firsts) - 1)
            index = elementary.take(jnp.asarray(firsts.astype(count.dtype)), place)
        ascending = jnp.concatenate([ascending, np.full(2**rounds - 1, largest, count.dtype)])
        for size in (2**r for r in reversed(range(rounds))):
            is_passed = elementary.take(ascending, index + (size - 1)) <= count
            index = jnp.where(is_passed, index + size, index)
        return jnp.minimum(index, number)

    def latest(self, values, starts, count):
        # At most one start has as many bits as the count.
        bits, largest = count.dtype.itemsize * 8, np.iinfo(count.dtype).max
        last = [bisect.bisect_right(starts, n) - 1 for n in (0, *(1 << b for b in range(bits)))]
        following = [min(i + 1, bisect.bisect_right(starts, largest) - 1) for i in last]
        places = last + following
        place = bits - jax.lax.clz(count)
        later = place + len(last)
        place = jnp.where(count >= self.take(tuple(starts[i] for i in places), later), later, place)
        return self.take(tuple(values[i] for i in places), place)

    def take(self, values, index):
        if isinstance(values, tuple) and has_arrays(values):
            values = jnp.stack([jnp.asarray(v, index.dtype) for v in values])
        elif isinstance(values, tuple) and isinstance(values[0], int):  # others are never reached
            largest = np.iinfo(index.dtype).max
            values = np.array([min(v, largest) for v in values], index.dtype)
        return elementary.take(jnp.asarray(values), index)

    def choose(self, starts, formula, count, fraction):
        value = formula(0, count, fraction)
        for i, start in enumerate(starts[1:], 1):
            later = formula(i, jnp.maximum(count, start) - start, fraction)
            value = jnp.where(count >= start, later, value)
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
        bits = max((places - 1).bit_length() - TABLE_BITS, 0)
        times = self.minimum(times, places - 1)
        with np.errstate(over="ignore", under="ignore"):
            value = self.take(function(np.arange(0, places, 1 << bits)), times >> bits)
            if bits:
                fine = function(np.arange(1 << bits)) / function(0)
                value = value * self.take(fine, times & ((1 << bits) - 1))
        return value

    def call(self, fn, count, name):
        count = count.astype(jnp.int64) if jnp.issubdtype(count.dtype, jnp.integer) else count
        try:
            verify(name, fn, is_real=jnp.issubdtype(count.dtype, jnp.floating))
            return jnp.asarray(fn(count)).astype(jnp.float64)
        except jax.errors.JAXTypeError as error:
            raise TypeError(hint_for_trace(name, fn, error)) from error


def _begin_search(ascending):
    """Where a search among these begins: for each place of 2 ** shift counts the number of them at
    its first count, and the rounds that are left for the rest. One place if that is as fast."""
    firsts, shift, rounds = np.zeros(1, int), 0, len(ascending).bit_length()
    steps, last = rounds, int(ascending[-1]) if rounds else 0
    for bits in range(1, TABLE_BITS + 1):
        width = max(last.bit_length() - bits, 0)
        starts = np.arange((last >> width) + 1) << width
        passed = np.searchsorted(ascending, starts, side="right")
        ends = np.searchsorted(ascending, starts + ((1 << width) - 1), side="right")
        left = int((ends - passed).max()).bit_length()
        if left + 1 < steps + (len(firsts) > 1):  # of equals the one with more places
            firsts, shift, rounds, steps = passed, width, left, left + 1
    return firsts, shift, rounds


def _unscaled(value, small):
    rounded = value.astype(jnp.float32) * 2.0**-64
    return jnp.where(small, rounded.astype(jnp.float64), value)


def widened(schedule: Any, arrays: Any, kind: Any) -> Any:
    """The schedule with these arrays: counts and sizes in the type `kind`, real numbers in float64.

    Python's numbers stay as they are, since they combine with every type. So do recorded values,
    which are only looked up: the derivative of a look-up needs float64 where jit has left
    enable_x64.
    """
    new = object.__new__(type(schedule))
    vars(new).update(schedule.__getstate__())
    for field in dataclasses.fields(schedule):
        if field.metadata["static"]:
            continue

        def widen(value: Any, array: Any, name: str = field.name, of: Any = field.type) -> Any:
            if isinstance(value, Frozen):
                return widened(value, array, kind)
            if array is None:
                return value
            if of is np.ndarray:
                return jnp.asarray(array)
            if of is float:  # or an array of integers: a difference of two may be below 0
                return jnp.asarray(array).astype(jnp.float64)
            # Whoever maps a function over a pytree may have cast a size, past every check.
            return jnp.asarray(of_dtype(name, array, "an integer", jnp.integer)).astype(kind)

        vars(new)[field.name] = jax.tree.map(
            widen,
            getattr(schedule, field.name),
            getattr(arrays, field.name),
            is_leaf=lambda x: x is None or isinstance(x, Frozen),
        )
    return new


@jnp.vectorize
def as_result(value: Any) -> Any:
    """The same weakly typed, as a Python number is: parameters and states keep their dtypes."""
    return jax.lax.full_like(0.0, value)  # weakly typed and of the default dtype as 0.0 is
