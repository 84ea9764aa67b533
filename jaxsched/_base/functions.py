"""A user's functions: traced only where JAX computes what Python computes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.hints import describe, hint_for_horizon

# Here JAX's numbers and Python's part, if they do: bool + bool at a schedule's own thresholds,
# integer powers from 63 on, other powers later. Larger ones may take Python very long.
COUNTS = np.unique([*range(129), *(2**k + d for k in range(7, 23) for d in (-1, 0, 1))])

_verified: dict[int, weakref.ref[Any]] = {}


class FunctionDiffers(ValueError):
    """JAX traces a function to other numbers than Python's."""


def verify(name: str, fn: Callable[[Any], Any], is_real: bool) -> None:
    """Refuses a function whose traced values are not its Python values, inside of double precision.

    A function that answers an int with a JAX array, as optax's schedules do, is JAX's own: its
    traced values are what it means. `is_real`: it is given real numbers, by smooth_epochs.
    """
    key = id(fn) if not is_real else -id(fn)
    if key in _verified and _verified[key]() is fn:
        return
    difference = find_difference(fn, COUNTS + 0.5 if is_real else COUNTS)
    if difference is not None:
        count, expected, found = difference
        raise FunctionDiffers(
            f"{name} must be a function that JAX traces to Python's numbers, got {describe(fn)}: "
            f"at count {count} it is {expected:.9g} in Python and {found:.9g} in JAX, where bool + "
            "bool is `or`, and integers have 64 bits. Write it with jnp, and floats"
            f"{hint_for_horizon(name)}"
        )
    try:
        _verified[key] = weakref.ref(fn, lambda _: _verified.pop(key, None))
    except TypeError:  # an object that has no weak references is verified each time
        pass


def find_difference(
    fn: Callable[[Any], Any], counts: np.ndarray
) -> tuple[float, float, float] | None:
    """The first of the counts at which they differ, Python's number and JAX's; None if none is."""
    numbers = counts.tolist()
    with jax.ensure_compile_time_eval():
        expected = []
        for number in numbers:
            value = _in_python(fn, number)
            if isinstance(value, jax.Array):
                return None
            expected.append(value)
        kind = jnp.float64 if counts.dtype.kind == "f" else jnp.int64
        traced = jax.jit(jax.vmap(lambda count: jnp.asarray(fn(count)).astype(jnp.float64)))
        found = np.asarray(traced(jnp.asarray(counts, kind)))
    expected = np.array(expected)
    with np.errstate(all="ignore"):
        peak = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
        same = np.isclose(found, expected, rtol=1e-5, atol=1e-7 * peak, equal_nan=True)
    same |= np.isnan(expected)  # where Python raises an error there is nothing to compare
    if same.all():
        return None
    i = int(np.argmin(same))
    return numbers[i], float(expected[i]), float(found[i])


def _in_python(fn: Callable[[Any], Any], number: float) -> Any:
    try:
        value = fn(number)
        return value if isinstance(value, jax.Array) else float(value)
    except (ArithmeticError, LookupError, TypeError, ValueError):  # 1 / 0, past the end of a list
        return math.nan
