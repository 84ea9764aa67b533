"""The GPU's own program, by its own compiler for an H100: how many kernels it launches."""

import jax
import numpy as np
import optax
import pytest

import jaxsched as js
from benchmarks import accelerators
from benchmarks.family import family, in_optax, jaxsched
from tests.schedules import LONG, SHORT, in_epochs

pytestmark = pytest.mark.cuda
by_class = lambda s: type(s).__name__  # noqa: E731


@pytest.mark.parametrize("updates", [1000, 10**6])
@pytest.mark.parametrize("name", [name for name, d in family(1000).items() if in_optax(*d)])
def test_an_update_launches_no_more_kernels_than_with_optaxs_schedule(name, updates):
    description = family(updates)[name]
    with jax.numpy_dtype_promotion("standard"):
        theirs = accelerators.kernels_of_update(in_optax(*description))
    assert accelerators.kernels_of_update(jaxsched(*description)) <= theirs


@pytest.mark.parametrize("schedule", SHORT + LONG, ids=by_class)
def test_a_learning_rate_is_at_most_one_kernel_beside_a_layer(schedule):
    assert added_to_a_layer(schedule) <= 1


@pytest.mark.parametrize("schedule", [*filter(in_epochs, LONG)], ids=by_class)
def test_in_epochs_it_is_at_most_two(schedule):
    adapted = [js.per_epoch(schedule, 7)]  # XLA may compute the epoch apart
    if all(part._is_smooth for part in schedule._walk()):
        adapted.append(js.smooth_epochs(schedule, [3, 5]))
    assert max(map(added_to_a_layer, adapted)) <= 2


def added_to_a_layer(schedule):
    constant, scheduled = (
        accelerators.kernels_of_update(lr, size=1024)
        for lr in (optax.constant_schedule(0.1), schedule)
    )
    return scheduled - constant


def test_optaxs_late_boundary_is_in_its_program_too():
    optaxs = optax.exponential_decay(0.1, 1171, 0.1, staircase=True)
    text = accelerators.compile_for(accelerators.gpu(), optaxs, np.int32(0)).as_text()
    assert "constant(0.000853970938)" in text  # 1 / 1171, which the count is multiplied by
    text = accelerators.compile_for(accelerators.gpu(), js.StepLR(0.1, 1171), np.int32(0)).as_text()
    assert "constant(0.000853970938)" not in text
