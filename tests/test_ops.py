"""Python's and NumPy's arithmetic of the formulas, where a user's function is called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched._base.ops import NUMPY, PYTHON


def of_jax(count):
    return jnp.where(count < 3, 1.0, 1 / 3)


def of_two_dtypes(count):
    return jnp.int64(count) * jnp.float32(0.5)


def test_a_host_call_inside_of_a_traced_function_is_a_number():
    """There JAX traces also what depends on no argument."""
    schedule, found = js.per_epoch(of_jax, 1), []

    @jax.jit
    def traced(x):
        found.extend([schedule(2), schedule(4), *schedule(np.array([2, 4])).tolist()])
        return x

    traced(1.0)
    assert [(type(value), value) for value in found] == [(float, 1.0), (float, 1 / 3)] * 2


def test_a_function_that_needs_promotion_is_called_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        assert PYTHON.call(of_two_dtypes, 3, "`schedule`") == 1.5
        assert NUMPY.call(of_two_dtypes, np.array([[3], [4]]), "`schedule`").tolist() == [
            [1.5],
            [2.0],
        ]


def test_a_functions_own_error_is_raised():
    def wrong(count):
        raise ValueError("its own")

    with pytest.raises(ValueError, match="^its own$"):
        js.LambdaLR(0.1, wrong)(3)
