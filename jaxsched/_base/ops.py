"""The arithmetic of the formulas, for Python's numbers, NumPy's arrays and JAX's.

A formula is written once. It uses `+`, `-`, `*` and comparisons, which work the same for all three,
and the methods of `Ops` for everything that does not.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxsched._base.arguments import FLOAT64_MAX, is_array


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

    dtype: np.dtype[Any] | None = None
    """The dtype to which results are rounded. None: they are double."""

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
    def latest(self, values: Sequence[Any], starts: Sequence[int], count: Any) -> Any:
        """values[i], where starts[i] is the last start <= count.

        Both are Python's numbers. The first start is 0, and each is more than twice the one before.
        """

    @abstractmethod
    def take(self, values: Any, index: Any) -> Any:
        """values[index], for a tuple or array of numbers that are all integers or all real."""

    @abstractmethod
    def choose(
        self, starts: Sequence[Any], formula: Callable[..., Any], count: Any, fraction: Any
    ) -> Any:
        """formula(i, count - starts[i], fraction), where starts[i] is the last start <= count.

        The first start is 0. Where possible, only this one formula is computed.
        """

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
    def call(self, fn: Callable[[Any], Any], count: Any, name: str) -> Any:
        """A user's own function, in double precision if it uses JAX: an int or int64, or real.

        `name` is the argument that it came as, for messages.
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

    def latest(self, values, starts, count):
        return values[bisect.bisect_right(starts, count) - 1]

    def take(self, values, index):
        value = values[index]
        return value if isinstance(values, tuple) else value.item()

    def where(self, condition, a, b):
        return a if condition else b

    def choose(self, starts, formula, count, fraction):
        i = bisect.bisect_right(starts, count) - 1
        return formula(i, count - starts[i], fraction)

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

    def call(self, fn, count, name):
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

    def passed(self, boundaries, count):
        return np.searchsorted(np.array(boundaries, np.int64), count, side="right")

    def latest(self, values, starts, count):
        return self.take(values, self.passed(starts, count) - 1)

    def take(self, values, index):
        return np.asarray(values)[index]

    def choose(self, starts, formula, count, fraction):
        value, index = np.empty(count.shape), self.passed(starts, count) - 1
        for i, start in enumerate(starts):
            chosen = index == i
            own = fraction[chosen] if is_array(fraction) else fraction
            value[chosen] = formula(i, count[chosen] - start, own)
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

    def call(self, fn, count, name):
        values = [PYTHON.call(fn, c, name) for c in count.ravel().tolist()]
        return np.array(values, np.float64).reshape(count.shape)


PYTHON, NUMPY = PythonOps(), NumPyOps()
