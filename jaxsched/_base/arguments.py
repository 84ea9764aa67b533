"""Arguments: how they are checked, and the base of the classes that consist of them."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeGuard,
    TypeVar,
    dataclass_transform,
    get_args,
    overload,
)

import jax
import numpy as np

from jaxsched._base import hints

Check = Callable[[str, Any], Any]
"""Takes an argument's name and value, and returns what to store."""


# -- types, for checkers -------------------------------------------------------------------------

_In = TypeVar("_In", contravariant=True)
_Out = TypeVar("_Out", covariant=True)


class Field(Generic[_In, _Out]):
    """The type of a field that takes one thing and keeps another: `Field[in, out]`.

    To a type checker it is a descriptor; at run time the field's check is what it says.
    """

    @overload
    def __get__(self, instance: None, owner: Any) -> Field[_In, _Out]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> _Out: ...
    def __get__(self, instance: Any, owner: Any) -> Any: ...
    def __set__(self, instance: Any, value: _In) -> None: ...


Array = jax.Array | np.ndarray[Any, Any]
Number = float | np.floating[Any] | np.integer[Any]
Function = Callable[[Any], Any]
"""`count -> value`: a schedule, an optax schedule, a function."""

Real = Field[Number | Array, float]
KnownReal = Field[Number, float]
Count = Field[Number | Array, int]
KnownCount = Field[Number, int]
OptionalCount = Field[Number | Array | None, int | None]
Counts = Field[Sequence[Number | Array] | Array, tuple[int, ...]]
CountOrCounts = Field[Sequence[Number | Array] | Number | Array, int | tuple[int, ...]]
Strategy = Literal["cos", "linear"]
Values = Field[Sequence[Number] | Array, np.ndarray[Any, Any]]


def argument(check: Check, *, default: Any = dataclasses.MISSING, static: bool = False) -> Any:
    """A field of a schedule. It is checked at construction, and a pytree child unless `static`."""
    metadata = {"check": _known(check) if static else check, "static": static}
    return dataclasses.field(default=default, metadata=metadata)


def _known(check: Check) -> Check:
    def known(name: str, value: Any) -> Any:
        if is_array(value):
            raise TypeError(
                f"`{name}` must be a Python number, got {hints.describe(value)}: it is part of "
                "the compiled program"
            )
        return check(name, value)

    return known


def is_array(value: object) -> TypeGuard[jax.Array | np.ndarray]:
    """Whether `value` is an array or a tracer. No check looks into these."""
    return isinstance(value, (jax.Array, np.ndarray))


def is_list(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether `value` is iterable, and no text and no mapping, whose values would be lost."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


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
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            hint = hints.of_number(name, value)
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
        if isinstance(value, jax.Array):
            return value
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not is_list(value):
            hint = hints.of_list(value, scales=not ordered)
            raise TypeError(f"`{name}` must be {expected}, got {hints.describe(value)}{hint}")
        values = tuple(_integer(name, v, at_least, expected) for v in value)
        return values if ordered or has_arrays(values) else tuple(sorted(values))

    return check


def _integer(name: str, value: Any, at_least: int, expected: str) -> Any:
    if is_array(value):
        return value
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
    if not callable(value) or hasattr(value, "init") or hasattr(value, "update"):
        hint = hints.of_function(value)
        got = hints.describe(value)
        raise TypeError(f"`{name}` must be a callable count -> value, got {got}{hint}")
    return value


def _is_same(a: Any, b: Any) -> bool:
    """Equality. For arrays it is identity, because the values in a tracer are not known."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return a is b if is_array(a) or is_array(b) else a == b


def _hashable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))
    return (value.shape, value.dtype) if is_array(value) else value


class _Explained(ABCMeta):
    """Says what to write instead, where a class is called as torch's is."""

    if not TYPE_CHECKING:

        @property
        def __signature__(cls):  # for help() and editors, which would find that of `__call__`
            import inspect

            first, *others = inspect.signature(cls.__init__).parameters.values()
            return inspect.Signature(others)

        def __call__(cls, *args, **kwargs):
            try:
                return super().__call__(*args, **kwargs)
            except TypeError as error:
                # One from within has a frame more, and its own message.
                is_of_call = error.__traceback__.tb_next is None
                message = hints.of_call(cls.__name__, args, kwargs) if is_of_call else None
                if message is None:
                    raise
                raise TypeError(message) from None


@dataclass_transform(frozen_default=True, field_specifiers=(argument,))
class Frozen(metaclass=_Explained):
    """Base of what consists of checked arguments: a subclass becomes a frozen dataclass.

    For each class `dataclasses` can generate these methods, too. That would take half of the time
    of `import jaxsched`, so only `__init__` is generated and the others are here.
    """

    _checks: ClassVar[dict[str, Check]]
    _hints: ClassVar[dict[str, str]] = hints.ATTRIBUTES

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(repr=False, eq=False)(cls)
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        cls._checks = {f.name: f.metadata["check"] for f in fields}

    if not TYPE_CHECKING:

        def __getattr__(self, name):  # only for what is not there
            hint = f"; {self._hints[name]}" if name in self._hints else ""
            message = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(message, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name not in self._checks:  # `__init__` sets each once
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        vars(self)[name] = self._checks[name](name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        # Only the arguments. Cached values are computed again.
        return {name: getattr(self, name) for name in self._checks}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or _is_same(self._values(), other._values())

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(_hashable(self._values()))

    def _values(self) -> tuple[Any, ...]:
        return tuple(self.__getstate__().values())

    def __repr__(self) -> str:
        first, *others = self.__getstate__().items()
        arguments = [repr(first[1]), *(f"{name}={value!r}" for name, value in others)]
        return f"{type(self).__name__}({', '.join(arguments)})"
