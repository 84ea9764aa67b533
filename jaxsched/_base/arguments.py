"""Arguments: their types, and the checks that say what a wrong one should have been."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeGuard,
    TypeVar,
    get_args,
    overload,
)

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base import hints

Check = Callable[[str, Any], Any]
"""Takes an argument's name and value, and returns what to store."""

INT32_MAX = 2**31 - 1
COUNT_MAX = 2**63 - 1
"""The largest count. A larger one counts as this one."""
FLOAT64_MAX = float(np.finfo(np.float64).max)


# -- types ---------------------------------------------------------------------------------------

Array = jax.Array | np.ndarray[Any, Any]
Number = float | np.floating[Any] | np.integer[Any]
Function = Callable[[Any], Any]
"""`count -> value`: a schedule, an optax schedule, a function."""
Strategy = Literal["cos", "linear"]

if TYPE_CHECKING:
    In = TypeVar("In", contravariant=True)
    Out = TypeVar("Out", covariant=True)

    class Field(Generic[In, Out]):
        """The type of a field that takes one thing and keeps another, to a checker."""

        @overload
        def __get__(self, instance: None, owner: Any) -> Field[In, Out]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Out: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: In) -> None: ...

    Real = Field[Number | Array, float]
    StaticReal = Field[Number, float]
    Count = Field[Number | Array, int]
    StaticCount = Field[Number, int]
    OptionalCount = Field[Number | Array | None, int | None]
    OptionalStaticCount = Field[Number | None, int | None]
    Counts = Field[Sequence[Number | Array] | Array, tuple[int, ...]]
    CountOrCounts = Field[Sequence[Number | Array] | Number | Array, int | tuple[int, ...]]
    Values = Field[Sequence[Number] | Array, np.ndarray[Any, Any]]
else:  # what is kept, for command lines and configuration systems
    Real = StaticReal = float
    Count = StaticCount = int
    OptionalCount = OptionalStaticCount = int | None
    Counts = tuple[int, ...]
    CountOrCounts = int | tuple[int, ...]
    Values = np.ndarray


# -- checks --------------------------------------------------------------------------------------


def static_check(check: Check) -> Check:
    """The check of what is part of the compiled program, and no array."""

    def checked(name: str, value: Any) -> Any:
        if is_array(value):
            raise TypeError(
                f"`{name}` must be a Python number, got {hints.describe(value)}: it is part of "
                "the compiled program"
            )
        return check(name, value)

    return checked


def is_array(value: object) -> TypeGuard[jax.Array | np.ndarray]:
    """Whether `value` is an array or a tracer. No check looks into these, but at their dtype."""
    return isinstance(value, (jax.Array, np.ndarray))


def of_dtype(name: str, array: Any, expected: str, *kinds: Any) -> Any:
    """The array itself, if its dtype is of one of these kinds."""
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise TypeError(f"`{name}` must be {expected}, got an array of dtype {array.dtype}")
    return array


def is_list(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether `value` is iterable, and no text, no set, which has no order, and no mapping, whose
    values would be lost."""
    no_list = (str, bytes, Mapping, set, frozenset)
    is_iterable = isinstance(value, Iterable) and getattr(value, "ndim", 1) != 0
    return is_iterable and not isinstance(value, no_list)


def has_arrays(tree: Any) -> bool:
    return any(map(is_array, jax.tree.leaves(tree)))


def real(
    *, at_least: float = -math.inf, above: float = -math.inf, at_most: float = math.inf
) -> Check:
    bounds = {f">= {at_least:g}": at_least, f"> {above:g}": above, f"<= {at_most:g}": at_most}
    expected = " and ".join(text for text, bound in bounds.items() if math.isfinite(bound))
    expected = f"a finite number {expected}".strip()

    def check(name: str, value: Any) -> Any:
        if is_array(value):
            return of_dtype(name, value, expected, jnp.integer, jnp.floating)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            hint = hints.hint_for_number(name, value)
            raise TypeError(f"`{name}` must be {expected}, got {hints.describe(value)}{hint}")
        try:
            number = float(value)
        except OverflowError:  # of an int
            number = math.inf
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
    """A tuple of integers. It is sorted if their order has no meaning (not `ordered`)."""
    expected = f"a sequence of integers >= {at_least}"

    def check(name: str, value: Any) -> Any:
        if isinstance(value, jax.Array) and value.ndim:
            return of_dtype(name, value, expected, jnp.integer)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not ordered and isinstance(value, (set, frozenset)):
            value = [*value]
        if not is_list(value):
            hint = hints.hint_for_list(value, scales=not ordered)
            raise TypeError(f"`{name}` must be {expected}, got {hints.describe(value)}{hint}")
        values = tuple(_integer(name, v, at_least, expected) for v in value)
        return values if ordered or has_arrays(values) else tuple(sorted(values))

    return check


def _integer(name: str, value: Any, at_least: int, expected: str) -> Any:
    if is_array(value):
        return of_dtype(name, value, expected, jnp.integer)
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer and not (isinstance(value, (float, np.floating)) and value.is_integer()):
        raise TypeError(f"`{name}` must be {expected}, got {hints.describe(value)}")
    if value < at_least:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}")
    if value >= 2**62:  # so that the sum of two is an int64
        raise ValueError(f"`{name}` must be {expected}, got {value!r}: not below 2**62")
    return int(value)


def one_of(literal: Any) -> Check:
    """One of the strings of a `Literal`."""
    choices = get_args(literal)

    def check(name: str, value: Any) -> Any:
        if value not in choices:
            got = hints.describe(value)
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {got}")
        return value

    return check


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def function(name: str, value: Any) -> Callable[..., Any]:
    # float and np.float32 make a number of a count.
    is_class = isinstance(value, type) and not issubclass(value, (numbers.Number, np.generic))
    if not callable(value) or is_class or hasattr(value, "init") or hasattr(value, "update"):
        hint = hints.hint_for_function(value)
        got = hints.describe(value)
        raise TypeError(f"`{name}` must be a callable count -> value, got {got}{hint}")
    return value
