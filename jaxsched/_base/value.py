"""The base of the classes that consist of checked arguments: immutable values."""

from __future__ import annotations

import dataclasses
import functools
import json
from abc import ABC
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from jaxsched._base import hints
from jaxsched._base.arguments import Check, is_array, static_check


def argument(check: Check, *, default: Any = dataclasses.MISSING, static: bool = False) -> Any:
    """A field of a value. It is checked at construction, and a pytree child unless `static`."""
    metadata = {"check": static_check(check) if static else check, "static": static}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, field_specifiers=(argument,))
class Frozen(ABC):
    """Base of what consists of checked arguments: a subclass with some becomes a frozen dataclass.

    For each class `dataclasses` can generate these methods, too. That would take half of the time
    of `import jaxsched`, so only `__init__` is generated and the others are here.
    """

    _checks: ClassVar[dict[str, Check]] = {}
    _hints: ClassVar[dict[str, str]] = hints.ATTRIBUTES

    def __init_subclass__(cls) -> None:
        # Not a base without arguments: what looks at the fields of its class would take it for {}.
        if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()):
            dataclasses.dataclass(repr=False, eq=False)(cls)
            fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
            cls._checks = {f.name: f.metadata["check"] for f in fields}
            cls.__init__ = _explained(cls.__init__)
            cls.__post_init__ = _checking_again(getattr(cls, "__post_init__", None))
        if not cls.__name__.startswith("_"):
            # So that pickles and configuration files name a place that stays.
            cls.__module__ = cls.__module__.partition(".")[0]

    if not TYPE_CHECKING:

        def __getattr__(self, name):  # only for what is not there
            if hasattr(type(self), name):  # a property in which a user's function failed: its error
                return object.__getattribute__(self, name)
            hint = f"; {self._hints[name]}" if name in self._hints else ""
            message = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(message, name=name, obj=self)

        def _no_number(self, *_):
            raise TypeError(hints.hint_for_operator(self._values()[0]))

        __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = _no_number
        __add__ = __radd__ = __sub__ = __rsub__ = __neg__ = _no_number

        def __getitem__(self, _):
            raise TypeError(hints.NO_LIST)

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

    def _walk(self) -> Iterator[Self]:
        """This value, its members, their members, and so on."""
        yield self
        for value in self._values():
            for member in value if isinstance(value, tuple) else (value,):
                if isinstance(member, Frozen):
                    yield from member._walk()  # pyright: ignore[reportReturnType]

    def _rebuilt(self, change: Callable[[Any], Any]) -> Any:
        """The same with `change` done to each member, and at last to itself.

        What does not change is not built again, and is the same object.
        """

        def rebuilt(value: Any) -> Any:
            if isinstance(value, Frozen):
                return value._rebuilt(change)
            if isinstance(value, tuple) and any(isinstance(member, Frozen) for member in value):
                new = tuple(map(rebuilt, value))
                return value if all(a is b for a, b in zip(new, value, strict=True)) else new
            return value

        fields = self.__getstate__()
        new = {name: rebuilt(value) for name, value in fields.items()}
        new = {name: value for name, value in new.items() if value is not fields[name]}
        return change(dataclasses.replace(self, **new) if new else self)  # pyright: ignore[reportArgumentType]


def _explained(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that says what to write instead, where it is called as torch's is."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            # One from within has more frames than this one, and its own message.
            is_of_call = error.__traceback__ is not None and error.__traceback__.tb_next is None
            name = type(self).__name__
            message = hints.hint_for_call(name, args, kwargs) if is_of_call else None
            if message is None:
                raise
            raise TypeError(message) from None

    return __init__


def _checking_again(post_init: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """The `__post_init__` for pydantic and msgspec, which set fields without calling `__init__`."""

    def __post_init__(self: Any) -> None:
        for name, value in self.__getstate__().items():
            vars(self)[name] = self._checks[name](name, value)
        if post_init is not None:
            post_init(self)

    __post_init__.__wrapped__ = post_init  # pyright: ignore[reportFunctionMemberAccess]
    return __post_init__


class Static(tuple):
    """Values that compare and hash as those of a Frozen do, for keys and for pytrees."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and _is_same((*self,), (*other,))

    def __hash__(self) -> int:
        return hash(_hashable((*self,)))

    def to_json(self) -> bytes:
        """For jax.export, which writes the structure of a function's arguments."""
        try:
            return json.dumps(self).encode()
        except TypeError:
            raise TypeError(
                "jax.export cannot write a schedule with a function in it as an argument: let the "
                "exported function hold it"
            ) from None

    @classmethod
    def from_json(cls, data: bytes | bytearray) -> Static:
        return cls(json.loads(data))


def _is_same(a: Any, b: Any) -> bool:
    """Equality. For arrays it is identity, because the values in a tracer are not known."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return a is b or (not is_array(a) and not is_array(b) and bool(a == b))


def _hashable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))
    if is_array(value):
        return value.shape, value.dtype
    try:
        hash(value)
    except TypeError:  # a function that is an object without a hash, as most dataclasses are
        return type(value)
    return value
