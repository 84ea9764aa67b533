"""What a schedule is: an immutable value, called with a count, exact to the last bit.

Each family module writes a class as its arguments and one formula,

    def _value(self, count, ops): ...

where `count` is an integer >= 0, or an array of them, and `ops` holds what Python, NumPy and
JAX spell differently. The rest, once for all of them, is here: argument checks, `repr`,
equality, pickling, the pytree, the kinds of count, and the precision.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
import numbers
import operator
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeGuard, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

_INT64_MAX = 2**63 - 1
_COUNT_MAX = _INT64_MAX - 1  # the largest one pads tables of boundaries
FLOAT64_MAX = float(np.finfo(np.float64).max)

# -- argument checks: each takes the argument's name and value, and returns what to store ------

Check = Callable[[str, Any], Any]


def argument(check: Check, *, default: Any = dataclasses.MISSING, static: bool = False) -> Any:
    """A schedule's field: checked at construction; a pytree child unless `static`."""
    metadata = {"check": check, "static": static}
    return dataclasses.field(default=default, metadata=metadata)


def is_array(value: object) -> TypeGuard[jax.Array | np.ndarray]:
    """Whether `value` is an array or a tracer, which no check can look into."""
    return isinstance(value, (jax.Array, np.ndarray))


def real(
    *, at_least: float = -math.inf, above: float = -math.inf, at_most: float = math.inf
) -> Check:
    bounds = {f">= {at_least:g}": at_least, f"> {above:g}": above, f"<= {at_most:g}": at_most}
    expected = " and ".join(text for text, bound in bounds.items() if math.isfinite(bound))
    expected = f"a finite number {expected}".strip()

    def check(name: str, value: Any) -> Any:
        if is_array(value):
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"`{name}` must be {expected}, got {value!r}")
        number = float(value)
        if not (math.isfinite(number) and at_least <= number <= at_most and number > above):
            raise ValueError(f"`{name}` must be {expected}, got {value!r}")
        return number

    return check


def integer(*, at_least: int, hint: str = "") -> Check:
    def check(name: str, value: Any) -> Any:
        try:
            return _integer(name, value, at_least, f"an integer >= {at_least}")
        except ValueError as error:
            raise ValueError(f"{error}; {hint}") if hint else error from None

    return check


def integers(*, at_least: int, ordered: bool) -> Check:
    """A tuple of integers, sorted where their order means nothing (not `ordered`)."""
    expected = f"a sequence of integers >= {at_least}"

    def check(name: str, value: Any) -> Any:
        if isinstance(value, jax.Array):
            return value
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"`{name}` must be {expected}, got {value!r}")
        values = tuple(_integer(name, v, at_least, expected) for v in value)
        return values if ordered or has_arrays(values) else tuple(sorted(values))

    return check


def _integer(name: str, value: Any, at_least: int, expected: str) -> Any:
    if is_array(value):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{name}` must be {expected}, got {value!r}")
    if value < at_least:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}")
    if value >= 2**62:  # so that the sum of two is an int64
        raise ValueError(f"`{name}` must be {expected}, got {value!r}: not below 2**62")
    return int(value)


def one_of(*choices: str) -> Check:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}")
        return value

    return check


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def function(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value) or hasattr(value, "init") or hasattr(value, "update"):
        raise TypeError(f"`{name}` must be a callable count -> value, got {value!r}")
    return value


def schedule(name: str, value: Any) -> Schedule:
    """A schedule; any other callable `count -> value` is made one."""
    return value if isinstance(value, Schedule) else _Function(function(name, value))


def shorten(part: Schedule) -> str:
    """Its repr for a message: a recording's is as long as the recording."""
    return textwrap.shorten(repr(part), 200, placeholder=" ...")


def schedules(name: str, value: Any) -> tuple[Schedule, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"`{name}` must be a sequence of schedules, got {value!r}")
    members = tuple(schedule(f"{name}[{i}]", member) for i, member in enumerate(value))
    if not members:
        raise ValueError(f"`{name}` must be a sequence of schedules, got {value!r}: none")
    return members


# -- what Python, NumPy and JAX spell differently ----------------------------------------------
#
# A count is an integer, in `smooth_epochs` a real number: whatever follows takes both.


class PythonOps:
    """For a Python int: plain Python numbers, about a microsecond a call."""

    quotient, remainder = operator.floordiv, operator.mod
    """count // n and count % n, for n >= 1."""
    real = float
    """A count or a size as a floating-point number."""
    maximum, minimum = max, min
    power = pow
    sin = math.sin
    passed = bisect.bisect_right
    """passed(boundaries, count): how many of the sorted boundaries are <= count."""

    @staticmethod
    def where(condition, a, b):
        return a if condition else b

    @staticmethod
    def like(number, count):
        """A number in the count's own type."""
        return number

    @staticmethod
    def real_sizes(schedule):
        """A schedule to be called with fractional counts."""
        return schedule

    take = operator.getitem

    @staticmethod
    def choose(index, formulas, count):
        """formulas[index](count), of which only that one is evaluated where possible."""
        return formulas[index](count)

    @staticmethod
    def decay(base_lr, gamma, times, most=None):
        """base_lr * gamma**times; `most` is an upper bound of `times`, if there is one."""
        half = times // 2  # gamma**times may leave the range where the product does not
        try:
            return base_lr * gamma**half * gamma ** (times - half)
        except OverflowError:
            return base_lr * math.inf if base_lr else 0.0

    @staticmethod
    def call(fn, count):
        """A user's own function, in double precision if it uses JAX."""
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return float(fn(count))


class NumPyOps:
    """For a NumPy array of int64."""

    quotient, remainder = np.floor_divide, np.remainder
    maximum, minimum, where = np.maximum, np.minimum, np.where
    power = np.float_power
    sin = np.sin
    real = np.float64
    like, real_sizes = PythonOps.like, PythonOps.real_sizes

    @staticmethod
    def passed(boundaries, count):
        return np.searchsorted(np.array(boundaries, np.int64), count, side="right")

    @staticmethod
    def take(values, index):
        return np.asarray(values)[index]

    @staticmethod
    def choose(index, formulas, count):
        value = np.empty(count.shape)
        for i, formula in enumerate(formulas):
            chosen = index == i
            value[chosen] = formula(count[chosen])
        return value

    @staticmethod
    def decay(base_lr, gamma, times, most=None):
        half = times // 2  # as above; finite powers, so that 0 times one is 0
        first = np.minimum(np.float_power(gamma, half), FLOAT64_MAX)
        return base_lr * first * np.minimum(np.float_power(gamma, times - half), FLOAT64_MAX)

    @staticmethod
    def call(fn, count):
        values = [PythonOps.call(fn, c) for c in count.ravel().tolist()]
        return np.array(values, np.float64).reshape(count.shape)


class JaxOps:
    """For a JAX array or tracer of int64, inside `jax.enable_x64(True)`."""

    maximum = staticmethod(jnp.maximum)
    minimum = staticmethod(jnp.minimum)
    where = staticmethod(jnp.where)
    power = staticmethod(jnp.power)
    sin = staticmethod(jnp.sin)
    real = staticmethod(jnp.float64)

    @staticmethod
    def quotient(count, n):
        if jnp.issubdtype(count.dtype, jnp.floating):
            return jnp.floor_divide(count, n)
        # lax.div rounds towards 0, which is down, since no count is below 0. `//` would add six
        # instructions for the case that cannot be.
        return jax.lax.div(count, jnp.broadcast_to(jnp.int64(n), count.shape))

    @staticmethod
    def remainder(count, n):
        return jax.lax.rem(count, jnp.broadcast_to(jnp.asarray(n, count.dtype), count.shape))

    @staticmethod
    def passed(boundaries, count):
        xp = jnp if has_arrays(boundaries) else np
        ascending = xp.sort(xp.asarray(boundaries, xp.int64))
        index = jnp.zeros(count.shape, jnp.int64)
        if len(boundaries) <= 8:  # half of the time of the search with 2, as much with 8
            for i, boundary in enumerate(ascending):
                index = jnp.where(boundary.astype(count.dtype) <= count, i + 1, index)
            return index
        # A branchless binary search. jnp.searchsorted is a `while` loop on a scalar by default
        # and takes 35 ms instead of 9 with method="scan_unrolled" (a million counts, 512
        # boundaries, 2 CPU cores).
        size = 1 << len(boundaries).bit_length()
        padding = (0, size - 1 - len(boundaries))
        ascending = xp.pad(ascending, padding, constant_values=_INT64_MAX)
        ascending = jnp.asarray(ascending).astype(count.dtype)
        while size := size // 2:
            index = jnp.where(_take(ascending, index + (size - 1)) <= count, index + size, index)
        return index

    @staticmethod
    def like(number, count):
        return number.astype(count.dtype)

    @staticmethod
    def real_sizes(schedule):
        return jax.tree.map(lambda x: x.astype(jnp.float64) if is_array(x) else x, schedule)

    @staticmethod
    def take(values, index):
        return _take(jnp.asarray(values), index)

    @staticmethod
    def choose(index, formulas, count):
        value = formulas[0](count)
        for i, formula in enumerate(formulas[1:], start=1):
            value = jnp.where(index >= i, formula(count), value)
        return value

    @staticmethod
    def decay(base_lr, gamma, times, most=None):
        if most is not None and not has_arrays((base_lr, gamma)):
            table = [PythonOps.decay(base_lr, gamma, i) for i in range(most + 1)]
            return _take(jnp.asarray(table), times)
        if is_array(gamma):
            positive = gamma > 0
            log = jnp.where(positive, jnp.log(jnp.where(positive, gamma, 1)), _LOG_ZERO)
        else:
            log = math.log(gamma) if gamma else _LOG_ZERO
        # float64 `pow` takes 8 times as long as exp. The root, since gamma**times may leave the
        # range where the product does not; finite, so that 0 times it is 0.
        root = jnp.minimum(jnp.exp(times.astype(jnp.float64) * (log / 2)), FLOAT64_MAX)
        return base_lr * root * root

    @staticmethod
    def call(fn, count):
        return jnp.asarray(fn(count)).astype(jnp.float64)


_LOG_ZERO = -1e4
"""Stands for log(0): its exp is 0, and 0 times it is 0."""


def _take(table, index):
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def has_arrays(tree: Any) -> bool:
    return any(map(is_array, jax.tree.leaves(tree)))


# -- the schedule ------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True, field_specifiers=(argument,))
class Frozen:
    """Base of what consists of checked arguments: a subclass becomes a frozen dataclass.

    Half of the time of `import jaxsched` would go into what dataclasses generate for each class
    beside `__init__`. It is here, once for all of them.
    """

    _checks: ClassVar[dict[str, Check]]

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(repr=False, eq=False)(cls)
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        cls._checks = {f.name: f.metadata["check"] for f in fields}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name not in self._checks:  # `__init__` sets each once
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        vars(self)[name] = self._checks[name](name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        # Arguments only: what is cached is made again.
        return {name: getattr(self, name) for name in self._checks}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(tuple(self.__getstate__().values()))

    def __repr__(self) -> str:
        first, *others = self.__getstate__().items()
        arguments = [repr(first[1]), *(f"{name}={value!r}" for name, value in others)]
        return f"{type(self).__name__}({', '.join(arguments)})"


class Schedule(Frozen, ABC):
    """Base of all schedules. A subclass is final, and becomes a frozen dataclass and a pytree."""

    _is_factor = False
    """Whether the value is base_lr times what the other arguments say."""
    _is_smooth = True
    """Whether a count between two integers has a value between theirs."""

    def __init_subclass__(cls) -> None:
        if cls.__bases__ != (Schedule,):
            raise TypeError(f"{cls.__bases__[0].__name__} is final and cannot be subclassed")
        super().__init_subclass__()
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        children = [f.name for f in fields if not f.metadata["static"]]
        static = [f.name for f in fields if f.metadata["static"]]

        def flatten(self):
            return [getattr(self, n) for n in children], tuple(getattr(self, n) for n in static)

        def flatten_with_keys(self):
            values, aux = flatten(self)
            return list(zip(map(jax.tree_util.GetAttrKey, children), values, strict=True)), aux

        def unflatten(aux, values):
            # Unchecked: JAX puts None, object() and tracers where the numbers were.
            self = object.__new__(cls)
            vars(self).update(zip(children, values, strict=True))
            vars(self).update(zip(static, aux, strict=True))
            return self

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    @abstractmethod
    def _value(self, count: Any, ops: Any) -> Any:
        """The formula: in double precision, at an integer count >= 0."""

    def __call__(self, count: Any) -> Any:
        # The usual case before the tests of all the others, which take a microsecond.
        if type(count) is int and 0 <= count <= _COUNT_MAX and self._is_concrete:
            return self._value(count, PythonOps)
        return self._at(count)

    def _at(self, count: Any) -> Any:
        is_number = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
        if not (is_number or (is_array(count) and jnp.issubdtype(count.dtype, jnp.integer))):
            raise TypeError(f"`count` must be an integer or an array of them, got {count!r}")
        if is_number:
            count = min(max(int(count), 0), _COUNT_MAX)
        if self._is_concrete and is_number:
            return self._value(count, PythonOps)
        if self._is_concrete and isinstance(count, np.ndarray):
            with np.errstate(over="ignore", under="ignore"):
                value = self._value(_widen(count, np), NumPyOps)
            return np.array(np.broadcast_to(value, count.shape))
        # Asked before the context changes it: float64 if the user enabled it, else float32.
        dtype = jnp.result_type(float)
        with jax.enable_x64(True):
            count = _widen(jnp.asarray(count), jnp)
            value = jnp.asarray(jax.tree.map(_double, self)._value(count, JaxOps))
            shape = jnp.broadcast_shapes(value.shape, count.shape)
            return jnp.broadcast_to(value, shape).astype(dtype)

    @functools.cached_property
    def _is_concrete(self) -> bool:
        """Whether it holds numbers only, so that it can be called on the host."""

        def is_member(x: Any) -> bool:
            return isinstance(x, Schedule) and x is not self

        leaves = jax.tree.leaves(self, is_leaf=is_member)
        return all(x._is_concrete if is_member(x) else type(x) in (int, float) for x in leaves)

    def _parts(self) -> Iterator[Schedule]:
        """This schedule and all that it is made of."""
        yield self
        for value in self.__getstate__().values():
            for member in value if isinstance(value, tuple) else (value,):
                if isinstance(member, Schedule):
                    yield from member._parts()


class _Function(Schedule):
    """A user's own callable `count -> value` as a schedule."""

    fn: Callable[[Any], Any] = argument(function, static=True)

    def _value(self, count, ops):
        return ops.call(self.fn, count)

    def __repr__(self) -> str:
        return repr(self.fn)


def _widen(count, xp):
    """An array of counts as int64 from 0 on."""
    if count.dtype.itemsize == 8:
        count = xp.minimum(count, xp.asarray(_COUNT_MAX, count.dtype))
    return xp.maximum(count.astype(xp.int64), 0)


def _double(leaf):
    """An array among the arguments in 64 bits; Python's numbers have them."""
    if not is_array(leaf):
        return leaf
    kind = jnp.int64 if jnp.issubdtype(leaf.dtype, jnp.integer) else jnp.float64
    return jnp.asarray(leaf).astype(kind)
