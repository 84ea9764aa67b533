"""A ReduceLROnPlateau that is exact in binary fractions, and the runs of torch's."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxsched as js
from tests.traces import load

PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=1)
METRICS = [1.0, 2.0, 2.0, 0.5, 0.75, 0.75, 0.75, 0.75]
LRS = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]  # before them, and after each
PARAMS = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)

CASES = {
    name: (kwargs, metrics.astype(np.float32), lrs)
    for (name, kwargs, lrs), (_, _, metrics) in zip(
        load("ReduceLROnPlateau"), load("ReduceLROnPlateau", "metric"), strict=True
    )
}
"""By name: the arguments, the metrics, and torch's learning rates before and after each."""

# Some of optax itself does not pass under the strict one.
standard = jax.numpy_dtype_promotion("standard")
