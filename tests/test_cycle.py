"""CyclicLR and OneCycleLR: what torch's traces do not have."""

import numpy as np
import pytest

import jaxsched as js
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
