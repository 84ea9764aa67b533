"""What the tools share: a schedule's curve on the host, and what they report of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._arguments import integer
from jaxsched._habits import describe
from jaxsched._plateau import ReduceLROnPlateau
from jaxsched._schedule import Schedule, member

_MOST_COUNTS = 10**7


class Finding(NamedTuple):
    """What `check` finds in a schedule, and `compare` in a difference."""

    code: str
    """A short name that stays the same, as "milestone-never-reached"."""
    message: str
    """What is the case, in one sentence with its numbers."""
    advice: str
    """What to change."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.advice}"


def curve(schedule: Any, num_counts: Any) -> np.ndarray:
    """The learning rates at counts 0 to num_counts - 1, in double precision.

    A function that is no schedule, such as an optax schedule, is called as an optimizer calls it,
    inside `jit`, if JAX can trace it.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        raise TypeError(
            f"`schedule` must be a function of a count, got {describe(schedule)}, whose learning "
            "rates depend on a metric"
        )
    num_counts = integer(at_least=1)("num_counts", num_counts)
    if num_counts > _MOST_COUNTS:
        raise ValueError(f"`num_counts` must be at most {_MOST_COUNTS:,}, got {num_counts:,}")
    counts = np.arange(num_counts)
    if not isinstance(schedule, Schedule):
        fn = member("schedule", schedule)
        try:
            lrs = jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32))
        except jax.errors.JAXTypeError:
            lrs = fn(counts)
        return np.asarray(lrs, np.float64)
    return np.asarray(schedule(counts), np.float64)
