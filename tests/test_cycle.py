"""CyclicLR and OneCycleLR: what torch's traces do not have."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import assert_same


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.95), (0.85, 0.0), (0.0, 0.0)])
def test_a_momentum_may_be_0(strategy, low, high):
    """From max_momentum to base_momentum, and back."""
    schedule = js.OneCycleLR(
        0.1, 9, pct_start=0.5, anneal_strategy=strategy, base_momentum=low, max_momentum=high
    )
    counts = np.arange(9)
    left = np.where(counts < 4, 1 - counts / 3.5, (counts - 3.5) / 4.5)  # the peak is at 3.5
    if strategy == "cos":
        left = np.sin(np.pi / 2 * left) ** 2
    assert_same(schedule.momentum, low + (high - low) * left, range(9), atol=1e-17)


@pytest.mark.parametrize(
    "dtype",
    [
        *("float32", "float64"),
        *(slow_case(d) for d in ("bfloat16", "float16", "int32")),
    ],
)
def test_momenta_may_be_arrays_with_0_and_of_any_dtype(dtype):
    low, high = np.array([0.0, 0.85, 0.85]).astype(dtype), jnp.float32([0.95, 0.0, 0.95])
    low = low if dtype == "float64" else jnp.asarray(low)
    momentum = js.OneCycleLR(0.1, 9, base_momentum=low, max_momentum=high).momentum
    numbers = zip(low.tolist(), high.tolist(), strict=True)
    want = [js.OneCycleLR(0.1, 9, base_momentum=a, max_momentum=b).momentum for a, b in numbers]
    for count in (0, 2, 8):
        expected = [one(count) for one in want]
        np.testing.assert_allclose(momentum(count), expected, rtol=3e-7, atol=1e-29)
    beside = js.OneCycleLR(0.1, 9, base_momentum=0.0, max_momentum=high[2]).momentum
    assert beside(0) == high[2]
