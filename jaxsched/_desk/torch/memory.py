"""What a scheduler of torch keeps beside its count: none of it may be missing in a copy.

A copy that starts again at count 0 is what the scheduler was there only if nothing but its count,
and what comes of it, has changed since. torch's own classes are known. Of any other class that is
proved by its code: outside of `__init__` it writes nothing but the count and the learning rate.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._desk.torch.states import OF_BASE, names_of

_OF_TORCH = ("torch.", "numpy.", "math", "jax.", "functools", "itertools", "warnings")
_COUNT = frozenset({"last_epoch", "_step_count", "_last_lr"})
_WRITERS = {"setattr", "delattr", "__setattr__", "__dict__", "vars", "exec", "eval", "globals"}
_WRITERS |= {"__init__", "__setstate__", "load_state_dict"}
_MUTATORS = {name for kind in (list, dict, set, bytearray) for name in dir(kind)}
_MUTATORS -= {name for kind in (tuple, frozenset, str, object) for name in dir(kind)}
_MUTATORS -= {"keys", "values", "items", "get"}
_MUTATORS |= {"appendleft", "popleft", "extendleft", "rotate", "subtract", "fill", "put"}


def may_keep(scheduler: Any) -> str | None:
    """What a scheduler may keep beside its count. None if it provably keeps nothing."""
    own = [cls for cls in type(scheduler).__mro__ if not _is_known(cls.__module__)]
    if not own:
        return None
    of_torch = OF_BASE.union(*(names_of(cls.__name__) for cls in type(scheduler).__mro__))
    held = {name: value for name, value in vars(scheduler).items() if name not in of_torch}
    functions = []
    for cls in own:
        if vars(cls).get("__slots__"):
            return "`__slots__`"
        for name, value in vars(cls).items():
            value = getattr(value, "fget", getattr(value, "__func__", value))
            if isinstance(value, types.FunctionType):
                functions += [value] if name != "__init__" else []
            elif not name.startswith("__"):
                held[name] = value
    found = _written(functions, held)
    return next(found, None)


def _is_known(module: str) -> bool:
    return module == "builtins" or f"{module}.".startswith(_OF_TORCH)


def _written(functions: list[types.FunctionType], held: dict[str, Any]) -> Iterator[str]:
    """What the functions write, or may; `held` is what they hold from outside."""
    held, seen, mutators = dict(held), set(), set()
    for function in functions:  # it grows
        if function in seen or _is_known(function.__module__ or ""):
            continue
        seen.add(function)
        for code in _codes(function.__code__):
            yield from _stored(code)
            mutators |= _MUTATORS & set(code.co_names)
            for name in code.co_names:
                if name in function.__globals__:
                    held[name] = function.__globals__[name]
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        held |= {name: cell.cell_contents for name, cell in cells}
        for name, value in held.items():
            kind = _kind(value, functions)
            if kind == "unknown" or (kind == "mutable" and mutators):
                yield f"`{name}`"


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _stored(code: types.CodeType) -> Iterator[str]:
    before = None
    for now in dis.get_instructions(code):
        name = now.argval
        if now.opname in ("STORE_ATTR", "DELETE_ATTR") and name not in _COUNT:
            yield f"`{name}`"
        elif now.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield f"`{name}`"
        elif now.opname in ("STORE_DEREF", "DELETE_DEREF") and name in code.co_freevars:
            yield f"`{name}`"
        elif now.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
            if before is None or (before.opname, before.argval) != ("LOAD_CONST", "lr"):
                yield "an item of what it holds"
        before = now
    yield from (f"`{name}`" for name in code.co_names if name in _WRITERS)


def _kind(value: Any, functions: list[types.FunctionType]) -> str:
    """Whether a value is constant, mutable or unknown. Functions of Python join `functions`."""
    if isinstance(value, types.FunctionType):
        functions.append(value)
        return "constant"
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, (tuple, list, set, frozenset)):
        parts = [*value]
    elif isinstance(value, dict):
        parts = [*value.values()]
    elif isinstance(value, np.ndarray) and value.dtype != object:
        return "mutable"
    else:
        plain = (int, float, complex, str, bytes, type(None), np.generic, range, type)
        plain += (types.ModuleType, types.BuiltinFunctionType)
        return "constant" if isinstance(value, plain) else "unknown"
    kinds = {_kind(part, functions) for part in parts}
    if isinstance(value, (list, set, dict)):
        kinds.add("mutable")
    return next((kind for kind in ("unknown", "mutable") if kind in kinds), "constant")


# -- the whole state of a copy beside that of its original -----------------------------------------


def difference(copy: Any, scheduler: Any, groups: list[Any], rtol: float) -> str | None:
    """The name of the first attribute that a copy does not have as the scheduler has it.

    `groups`: the param groups of both.
    """
    pair = copy.optimizer, scheduler.optimizer
    seen = {(id(pair[0]), id(pair[1])): pair}
    kept = _difference(groups[0], groups[1], "param_groups", rtol, seen)
    return kept or _difference(copy, scheduler, "", rtol, seen)


def _difference(a: Any, b: Any, path: str, rtol: float, seen: dict[Any, Any]) -> str | None:
    if a is b or (id(a), id(b)) in seen:
        return None
    seen[id(a), id(b)] = a, b  # held, so that no other object gets its id

    def first(pairs: Any) -> str | None:
        return next(filter(None, (_difference(x, y, at, rtol, seen) for at, x, y in pairs)), None)

    if hasattr(a, "tolist") and hasattr(b, "tolist"):  # of NumPy, of torch
        a, b = a.tolist(), b.tolist()
    if all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)):
        return None if np.isclose(a, b, rtol=rtol, atol=0, equal_nan=True) else path
    if type(a) is not type(b):
        return path
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return path
        return first((f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True)))
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return path
        return first((f"{path}[{key!r}]", a[key], b[key]) for key in a)
    if isinstance(a, types.FunctionType):
        cells = [[c.cell_contents for c in f.__closure__ or ()] for f in (a, b)]
        return path if a.__code__ is not b.__code__ else first([(path, *cells)])
    if isinstance(a, (bool, str, bytes, complex, set, frozenset, type)):
        return None if a == b else path
    if hasattr(a, "optimizer") and hasattr(a, "__dict__"):  # a scheduler; its lr is compared
        ours, theirs = ({k: v for k, v in vars(x).items() if k != "_last_lr"} for x in (a, b))
        if ours.keys() != theirs.keys():
            return f"{path}.{min(ours.keys() ^ theirs.keys())}".lstrip(".")
        return first((f"{path}.{key}".lstrip("."), ours[key], theirs[key]) for key in ours)
    try:  # what deepcopy copies of it
        reduced = [x.__reduce_ex__(4) for x in (a, b)]
    except Exception:  # of somebody's class
        return path
    if any(isinstance(x, str) for x in reduced):
        return None if reduced[0] == reduced[1] else path
    return first([(path, *(_listed(x) for x in reduced))])


def _listed(reduced: tuple[Any, ...]) -> list[Any]:
    return [[*x] if hasattr(x, "__next__") else x for x in reduced]
