"""Any accepted arguments, any count: never NaN, in the curve's range, the same everywhere."""

import math
import warnings

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import jaxsched as js
from tests.marks import slow_case

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    hypothesis.settings.register_profile(
        "jaxsched", max_examples=150, deadline=None, derandomize=True, database=None
    )
hypothesis.settings.load_profile("jaxsched")

rates = st.one_of(st.just(0.0), st.floats(1e-12, 1e3))
factors = st.floats(0, 1)
gammas = st.one_of(st.sampled_from([0.0, 1.0, 0.1, 2.0]), st.floats(0, 1.5))
# A traced number below float32's normal ones may count as 0, and 0 ** 0 is 1.
powers = st.one_of(st.just(0.0), st.floats(1e-30, 20))
sizes = st.one_of(st.integers(1, 12), st.integers(1, 2**31 - 1))
counts = st.one_of(st.integers(0, 40), st.integers(0, 2**31 - 1))


@st.composite
def atoms(draw, base_lr=rates):
    lr = draw(base_lr)
    kind = draw(st.integers(0, 11))
    cosine = st.builds(js.CosineAnnealingLR, st.just(lr), sizes, rates)
    return draw(
        [
            st.builds(js.StepLR, st.just(lr), sizes, gammas),
            st.builds(js.MultiStepLR, st.just(lr), st.lists(sizes, max_size=9), gammas),
            st.builds(js.ConstantLR, st.just(lr), factors, sizes),
            st.builds(js.LinearLR, st.just(lr), st.floats(1e-9, 1), factors, sizes),
            st.builds(js.ExponentialLR, st.just(lr), gammas),
            st.builds(js.PolynomialLR, st.just(lr), sizes, powers),
            cosine,
            st.builds(js.CosineAnnealingWarmRestarts, st.just(lr), sizes, st.integers(1, 9), rates),
            st.builds(js.SWALR, st.just(lr), rates, sizes, st.sampled_from(["cos", "linear"])),
            st.builds(
                js.CyclicLR,
                st.just(lr),
                rates,
                sizes,
                st.one_of(st.none(), st.just(0), sizes),
                st.sampled_from(["triangular", "triangular2", "exp_range"]),
                st.floats(0, 1),
            ),
            st.builds(
                js.OneCycleLR,
                st.just(lr),
                st.integers(2, 2**31),
                pct_start=st.floats(0, 1),
                anneal_strategy=st.sampled_from(["cos", "linear"]),
                three_phase=st.booleans(),
            ),
            st.builds(js.RecordedLR, st.lists(rates, min_size=1, max_size=9)),
        ][kind]
    )


@st.composite
def schedules(draw):
    members = draw(st.lists(atoms(), min_size=1, max_size=3))
    if len(members) == 1:
        schedule = members[0]
    else:
        milestones = st.lists(
            sizes, min_size=len(members) - 1, max_size=len(members) - 1, unique=True
        )
        schedule = js.SequentialLR(members, sorted(draw(milestones)))
    if draw(st.booleans()):
        schedule = js.per_epoch(schedule, draw(st.one_of(sizes, st.lists(sizes, min_size=1))))
    return js.clamp(schedule, draw(sizes)) if draw(st.booleans()) else schedule


def bounds(schedule):
    """Between which values a curve lies, by its arguments."""
    low, high = math.inf, -math.inf
    for part in schedule._walk():
        values = [getattr(part, n, None) for n in ("base_lr", "eta_min", "swa_lr", "max_lr")]
        values = [v for v in values if isinstance(v, float)]
        if isinstance(part, js.RecordedLR):
            values = part.values.tolist()
        if isinstance(part, js.OneCycleLR):
            values.append(0.0)
        if part._is_factor and values:
            values.append(0.0)
        if getattr(part, "gamma", 0) > 1 and not isinstance(part, js.CyclicLR):
            values.append(math.inf if values[0] else 0.0)
        low, high = min([low, *values]), max([high, *values])
    return low, high


# Each example is a program to compile: few by default, and all in the slow run.
few_and_all = pytest.mark.parametrize("number", [5, slow_case(150)])


@few_and_all
def test_never_nan_in_range_and_host_equals_device(number):
    hypothesis.settings(max_examples=number)(given(schedules(), counts)(is_the_same_everywhere))()


def is_the_same_everywhere(schedule, count):
    value = schedule(count)
    assert type(value) is float
    low, high = bounds(schedule)
    assert low * (1 - 1e-9) - 1e-12 * min(high, 1e9) <= value <= high * (1 + 1e-9)
    np.testing.assert_allclose(schedule(np.array([count])), [value], rtol=1e-12, atol=1e-15 * value)
    device = np.asarray(schedule(jnp.int32(count)))
    with np.errstate(over="ignore"):
        expected = np.float32(value)
    # To 1 ULP, but for what is left where two rates cancel, and below the normal numbers.
    tolerance = 1e-15 * (high if math.isfinite(high) else 0) + np.finfo(np.float32).tiny
    if device != expected and abs(float(device) - value) > tolerance:
        np.testing.assert_array_max_ulp(device, expected, maxulp=1)


@hypothesis.settings(max_examples=50)
@given(atoms(), st.integers(1, 10**6), counts)
def test_per_epoch_is_the_schedule_at_the_epoch(schedule, length, count):
    assert js.per_epoch(schedule, length)(count) == schedule(count // length)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 2000))
def test_epochs_of_unequal_length_are_counted_as_by_hand(lengths, count):
    epoch, left = 0, count
    while left >= lengths[min(epoch, len(lengths) - 1)]:
        left -= lengths[min(epoch, len(lengths) - 1)]
        epoch += 1
    counted = js.per_epoch(lambda epoch: epoch, lengths)
    assert counted(count) == counted(np.array([count]))[0] == epoch


@few_and_all
def test_traced_numbers_give_what_python_numbers_give(number):
    hypothesis.settings(max_examples=number)(given(atoms(), counts)(is_the_same_where_traced))()


def is_the_same_where_traced(schedule, count):
    if isinstance(schedule, js.RecordedLR):
        return
    arrays = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32 if type(x) is float else None), schedule
    )
    got = float(jax.jit(lambda arrays: arrays(count))(arrays))
    numbers = jax.tree.map(lambda x: x if isinstance(x, int) else float(np.float32(x)), schedule)
    expected = numbers(count)
    assert not math.isnan(got)
    high = bounds(numbers)[1]
    with np.errstate(over="ignore"):
        expected = np.float64(np.float32(expected))
    np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-37 + 1e-14 * min(high, 1e9))
