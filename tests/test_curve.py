"""What the tools share: a curve on the host, and where the parts of a schedule are."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from jaxsched._desk.curve import curve, spans_decades
from jaxsched._desk.placed import epoch_length, placed
from tests.schedules import SHORT


def test_the_curve_is_the_schedule_at_each_count():
    for schedule in SHORT:
        np.testing.assert_array_equal(curve(schedule, 40), schedule(np.arange(40)))


def test_the_curve_of_a_function_is_what_an_optimizer_gets():
    late = optax.exponential_decay(0.1, 1171, 0.1, staircase=True)  # late under jit
    assert curve(late, 1172)[1171] == np.float32(0.1)
    assert curve(lambda count: 0.1 if count < 2 else 0.5, 4).tolist() == [0.1, 0.1, 0.5, 0.5]


def test_scalar_arrays_are_numbers():
    np.testing.assert_array_equal(
        curve(js.MultiStepLR(jnp.float32(0.1), jnp.array([1, 2])), 4),
        curve(js.MultiStepLR(0.1, [1, 2]), 4),
    )


def zero_division(count):
    return 1 / (count - 3)


STACKED = [js.stack([js.StepLR(0.1, 3), js.StepLR(0.2, 3)]), js.stack([js.MultiStepLR(0.1, [3])])]
ONE = "`schedule` must give one number for each count, got "
REFUSED = [
    (STACKED[0], 5, ValueError, r"`schedule` must be one schedule, .*unstack\(schedule\)"),
    (js.per_epoch(STACKED[1], 3), 5, ValueError, "`schedule` must be one schedule"),
    (0.1, 5, TypeError, "`schedule` must be a callable count -> value, got 0.1"),
    (js.ReduceLROnPlateau(0.1), 5, TypeError, "`schedule` must be a function of a count, got Red"),
    (js.LambdaLR(0.1, zero_division), 5, ValueError, f"{ONE}ZeroDivisionError: "),
    (lambda count: [][0], 5, ValueError, f"{ONE}IndexError: "),
    (lambda count: jnp.ones(3), 5, ValueError, f"{ONE}ValueError: "),
    (js.StepLR(0.1, 3), 0, ValueError, "`num_counts` must be an integer >= 1, got 0"),
    (js.StepLR(0.1, 3), 2.5, TypeError, "`num_counts` must be an integer >= 1, got 2.5"),
    (js.StepLR(0.1, 3), np.array(5), TypeError, r"`num_counts` must .* got array\(5\)"),
    (js.StepLR(0.1, 3), 10**12, ValueError, "`num_counts` must be at most 10,000,000, got 1,0"),
]


@pytest.mark.parametrize(("schedule", "num_counts", "error", "message"), REFUSED)
def test_a_curve_that_cannot_be_is_refused(schedule, num_counts, error, message):
    with pytest.raises(error, match=message):
        curve(schedule, num_counts)


STEP, WARMUP = js.StepLR(0.1, 2), js.LinearLR(0.1)
PLACES = [  # a schedule, where its StepLR has its own counts 0, 1 and 2, and where it ends
    (STEP, [0, 1, 2], np.inf),
    (js.per_epoch(STEP, 10), [0, 10, 20], np.inf),
    (js.per_epoch(STEP, [3, 5]), [0, 3, 8], np.inf),
    (js.SequentialLR([js.LinearLR(0.1), STEP, js.LinearLR(0.1)], [4, 9]), [4, 5, 6], 9),
    (js.SequentialLR([js.LinearLR(0.1), js.per_epoch(STEP, 10)], [4]), [4, 14, 24], np.inf),
    (js.per_epoch(js.SequentialLR([STEP, js.LinearLR(0.1)], [4]), 10), [0, 10, 20], 40),
    (js.per_epoch(js.SequentialLR([js.LinearLR(0.1), STEP], [4]), [3, 5]), [18, 23, 28], np.inf),
    (js.SequentialLR([js.SequentialLR([STEP, WARMUP], [9]), WARMUP], [4]), [0, 1, 2], 4),
    (js.clamp(js.ChainedScheduler([js.LinearLR(0.1), STEP]), 6), [0, 1, 2], 7),
]


@pytest.mark.parametrize(("schedule", "places", "stop"), PLACES)
def test_each_part_has_its_own_clock(schedule, places, stop):
    (part,) = [part for part in placed(schedule) if part.schedule is STEP]
    assert [part.at(count) for count in range(3)] == places and part.stop == stop
    lrs = schedule(np.arange(60))
    if isinstance(schedule, js.SequentialLR) or part.schedule is schedule:
        assert lrs[places[1]] == STEP(1) and lrs[places[2]] == STEP(2)


def test_the_length_of_an_epoch_is_given_or_said_by_the_schedule():
    one_cycle = js.OneCycleLR(0.1, epochs=3, steps_per_epoch=7)
    assert [epoch_length(s, None) for s in (STEP, js.per_epoch(STEP, 5), one_cycle)] == [None, 5, 7]
    assert epoch_length(js.per_epoch(STEP, [3, 5]), None) is None
    assert epoch_length(js.per_epoch(STEP, 5), 6) == 6


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (js.MultiStepLR(0.1, [100, 150]), True),
        (js.MultiStepLR(0.1, [100]), False),
        (js.ExponentialLR(0.1, 0.95), True),
        (js.CosineAnnealingLR(0.1, 200), False),
        (js.CosineAnnealingLR(0.1, 200, eta_min=1e-6), False),
        (js.PolynomialLR(0.1, 200), False),
        (js.OneCycleLR(0.1, 200), False),
        (js.LinearLR(0.1, 0.001, total_iters=10), False),
        (js.StepLR(0.1, 1), True),  # 0 for most
        (js.StepLR(0.0, 1), False),
    ],
)
def test_a_log_scale_is_for_decays_over_decades(schedule, expected):
    assert spans_decades(curve(schedule, 200)) == expected
