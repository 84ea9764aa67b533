"""2 ** y, log2(x) and sin(pi / 2 * x) ** 2 in double, from what every backend computes well.

A TPU has no float64. XLA emulates a float64 by a pair of float32. There a product, a sum, a
quotient or a look-up takes 10 to 60 instructions and keeps 48 bits. XLA's own exp, log and sin take
700 to 2,300 instructions and keep 25 to 49 bits. So each function here looks up its value at the
nearest argument in a table, and adds a correction for the rest of the argument. The leading term of
the correction is in float64, the small terms after it are in float32.

Bounds of the relative error, which the tests check against mpmath:

                 CPU, GPU    TPU
    exp2           2**-45    2**-45 for y from -80 to 127
    log2           2**-48    2**-45 for x from 2**-80
    half_wave      2**-44    2**-44

All functions take and return float64 arrays of any shape.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LN2 = float(np.log(2))
_HALF_PI = np.pi / 2

_STEPS = 1024  # in exp2 and log2
_WHOLES = np.array([0.0, *np.exp2(np.arange(-1022.0, 1024.0))])
_POWERS = np.exp2(np.arange(_STEPS) / _STEPS)

_ANGLES = 2048
_SINES = np.sin(_HALF_PI * np.arange(_ANGLES + 1) / _ANGLES)
_SLOPES = _HALF_PI * _SINES[::-1]  # cosines

# Of the float32 numbers from about sqrt(1 / 2) to sqrt(2), every 8,192nd has its logarithm in the
# table. The range starts at sqrt(1 / 2), not at 1, so that nothing cancels where x is close to 1.
_DROPPED = 13
_FIRST = 0x3F350000
_CENTERS = (_FIRST + (np.arange(_STEPS) << _DROPPED)).astype(np.int32).view(np.float32)
_LOGS = np.log2(_CENTERS.astype(np.float64))

LOG2_OF_ZERO = -1e4
"""Stands for log2(0). 2 to the power of half of it, or of a multiple of that, is 0."""


def take(table, index):
    """table[index], for an index that is certainly within the table."""
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def double(x):
    """x in float64. It is strongly typed, so that a sum with float32 is float64, too."""
    return jnp.asarray(x).astype(jnp.float64)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def exp2(y, dtype, shift: Any = np.int32(0)):
    """2 ** (y + shift) in float64, limited to the normal numbers of `dtype`.

    A smaller result is 0. For a larger y it is the largest power, so that 0 times it is 0.
    """
    y = double(y)
    rough = y.astype(jnp.float32)
    lowest, most = np.finfo(dtype).minexp - 1, np.finfo(dtype).maxexp - 1
    y = jnp.where(rough > most, float(most), jnp.where(rough < lowest, float(lowest), y))
    nearest = jnp.round(y.astype(jnp.float32) * _STEPS).astype(jnp.int32)
    rest = y - nearest.astype(jnp.float32) / _STEPS
    place = nearest & (_STEPS - 1)
    power = take(jnp.asarray(_POWERS), place)
    small = rest.astype(jnp.float32) * _LN2
    curve = power.astype(jnp.float32) * small * small * (0.5 + small / 6)
    power = power + (take(jnp.asarray(_POWERS * _LN2), place) * rest + curve)
    whole = (nearest >> 10) + shift
    if np.dtype(dtype) == np.float32:  # 2 ** whole from its bits, faster than a look-up
        bits = jnp.maximum(whole + 127, 0) << 23
        return jax.lax.bitcast_convert_type(bits, jnp.float32).astype(jnp.float64) * power
    return take(jnp.asarray(_WHOLES), jnp.maximum(whole - lowest, 0)) * power


@exp2.defjvp
def _exp2_jvp(dtype, primals, tangents):
    # Entered again, because JAX may call this after the caller has left these contexts.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        power = exp2(primals[0], dtype, *primals[1:])
        return power, power * (tangents[0] * _LN2)


def log2(x):
    """log2(x) for x >= 0. Below 2 ** -126 it is that of 0, from 2 ** 126 on that of inf."""
    x = double(x)
    rough = x.astype(jnp.float32)
    is_normal = (rough >= 2.0**-126) & (rough < 2.0**126)
    x = jnp.where(is_normal, x, 1.0)
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    nearest = ((bits + (1 << _DROPPED - 1)) >> _DROPPED) << _DROPPED
    center = jax.lax.bitcast_convert_type(nearest, jnp.float32)
    offset = nearest - _FIRST
    log = (offset >> 23) + take(jnp.asarray(_LOGS), (offset >> _DROPPED) & (_STEPS - 1))
    # log(x / center) = 2 * (z + z**3 / 3 + ...). It has no z**2, which would need float64, too.
    z = (x - center) / (x + center)
    small = z.astype(jnp.float32)
    log = log + (z * (2 / _LN2) + small * small * small * (2 / 3 / _LN2))
    return jnp.where(is_normal, log, jnp.where(rough < 1, LOG2_OF_ZERO, -LOG2_OF_ZERO))


def half_wave(x):
    """sin(pi / 2 * x) ** 2 for x from 0 to 1. It is exactly 0 at 0, and exactly 1 at 1."""
    x = double(x)
    nearest = jnp.clip(jnp.round(x.astype(jnp.float32) * _ANGLES), 0.0, float(_ANGLES))
    rest = x - nearest / _ANGLES
    place = nearest.astype(jnp.int32)
    sine, slope = take(jnp.asarray(_SINES), place), take(jnp.asarray(_SLOPES), place)
    square = (rest.astype(jnp.float32) * _HALF_PI) ** 2
    curve = sine.astype(jnp.float32) * square * (square / 24 - 0.5)
    curve = curve - slope.astype(jnp.float32) * rest.astype(jnp.float32) * square / 6
    sine = sine + (slope * rest + curve)
    return sine * sine
