"""Reading torch's objects: what counts as the learning rate that torch would have."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxsched._desk.torch.objects import is_close


def scheduler(**group):
    return SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{}, group]))


@pytest.mark.parametrize(
    ("lr", "rtol"), [(0.1, 1e-9), (np.array(0.1), 1e-4)], ids=["a number", "a tensor"]
)
def test_a_learning_rate_is_torchs_up_to_the_rounding_of_its_recursion(lr, rtol):
    """In double, or in float32 where the learning rate is a tensor."""
    of = scheduler(lr=lr, initial_lr=0.1)
    for part, expected in ((0.9, True), (1.1, False), (-0.9, True), (-1.1, False)):
        assert is_close(0.1 * (1 + part * rtol), 0.1, of, 1) == expected
    found = np.array([0.1, 0.2])
    assert is_close(found, 0.1, of, 1).tolist() == [True, False]


@pytest.mark.parametrize("largest", ["lr", "initial_lr", "max_lr"])
def test_a_residue_of_the_largest_learning_rate_is_0(largest):
    """Where torch's recursion should come to 0 it leaves one."""
    of = scheduler(**{"lr": 0.1, "initial_lr": 0.1, "max_lr": 0.1, largest: 0.4})
    assert is_close(0.9e-12 * 0.4, 0.0, of, 1)
    assert not is_close(1.1e-12 * 0.4, 0.0, of, 1)
