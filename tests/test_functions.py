"""A user's function is used where JAX computes Python's numbers, and refused where it does not."""

import collections
import dataclasses
import gc
import math
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings, strategies as st

import jaxsched as js
from jaxsched._base import schedule as base
from jaxsched._base.functions import COUNTS, find_difference
from tests.marks import slow_case
from tests.schedules import injected, jitted


def tried(count):
    try:
        return 1.0 if count < 5 else 0.5
    except jax.errors.JAXTypeError:
        return 1.0


REFUSED = {  # with the count at which the message shows both numbers
    "or": (lambda e: 0.1 ** ((e >= 30) + (e >= 60)), 60),
    "or, late": (lambda e: 0.1 ** ((e >= 30_000) + (e >= 60_000)), 65_535),
    "integer to a negative power": (lambda e: 2**-e, 1),
    "integer power": (lambda e: 1 / 2**e, 64),
    "power 12": (lambda e: 1 / (1 + e) ** 12, 63),
    "power 3": (lambda e: 1 / (1 + e) ** 3, 4_194_303),
    "isinstance": (lambda e: 1.0 if isinstance(e, int) else 2.0, 0),
    "try": (tried, 5),
}
USED = {
    "power of a float": lambda e: 0.95**e,
    "constant": lambda e: 0.5,
    "jnp": lambda e: jnp.where(e < 3, 1.0, 0.5),
    "optax": optax.exponential_decay(1.0, 1171, 0.1, staircase=True),
    "1 / 0 in Python": lambda e: 1 / e,
    "NaN": lambda e: e * math.nan,
}
AROUND = {
    "`lr_lambda`": lambda f: js.LambdaLR(0.1, f),
    "`scale_fn`": lambda f: js.CyclicLR(0.1, 0.2, 3, scale_fn=f),
    "`schedule`": lambda f: js.per_epoch(f, 3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_the_first_trace_with_the_count_and_both_numbers(name):
    fn, count = REFUSED[name]
    schedule = js.LambdaLR(0.1, fn)
    with pytest.raises(ValueError, match=rf"`lr_lambda` .* at count {count} it is .*`horizon`"):
        jax.jit(schedule)(3)
    assert schedule(60) == 0.1 * fn(60)  # Python's numbers are what it means


def test_with_a_horizon_it_is_used():
    tables, counts = (
        [js.LambdaLR(0.1, fn, horizon=100) for fn, _ in REFUSED.values()],
        np.arange(70),
    )
    for name, table, got in zip(REFUSED, tables, jitted(tables, counts), strict=True):
        np.testing.assert_allclose(got, table(counts), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", AROUND)
def test_wherever_it_stands(name):
    schedule = AROUND[name](REFUSED["or"][0])
    calls = [jax.jit(schedule), schedule, jax.vmap(schedule)]
    for call in calls if name == "`schedule`" else calls[:1]:
        with pytest.raises(ValueError, match=rf"{name} must be a function that JAX traces to"):
            call(jnp.arange(3))
    for schedule in (js.SequentialLR([schedule, js.StepLR(0.1, 3)], [4]), js.clamp(schedule, 5)):
        with pytest.raises(ValueError, match=f"{name} must be a function that JAX traces to"):
            injected(schedule).init(jnp.ones(2))


def test_these_are_used():
    schedules = [around(fn) for fn in USED.values() for around in AROUND.values()]
    assert len(jitted(schedules, 3)) == len(USED) * len(AROUND)


def test_smooth_epochs_gives_real_numbers_to_it():
    assert jax.jit(js.smooth_epochs(lambda e: 2**-e, 2))(3) == np.float32(2**-1.5)
    with pytest.raises(ValueError, match="at count 30.5"):
        jax.jit(js.smooth_epochs(lambda e: 0.5 ** ((e >= 5) + (e >= 30)), 2))(3)


def test_it_is_compared_once_and_where_it_closes_over_a_tracer_not_at_all():
    called = []

    def fn(count):
        called.append(count)
        return 0.95**count

    schedules = [js.LambdaLR(0.1 * i, fn) for i in (1, 2)]
    jax.jit(schedules[0])(3)
    first = sum(isinstance(count, int) for count in called)
    assert first == len(COUNTS)
    jax.jit(schedules[1])(3)
    assert sum(isinstance(count, int) for count in called) == first
    with jax.numpy_dtype_promotion("standard"):
        gradient = jax.grad(lambda x: js.LambdaLR(0.1, lambda count: x**count)(jnp.int32(2)))(3.0)
    assert gradient == pytest.approx(0.6)


@pytest.mark.parametrize("number", [2, slow_case(150)])
def test_steps_written_by_hand_are_right_or_refused(number):
    milestones = st.lists(st.integers(0, 3_000), min_size=1, max_size=4)
    fuzz = given(milestones, st.sampled_from([0.1, 0.5, 0.9]), st.booleans())
    settings(max_examples=number, deadline=None)(fuzz(are_right_or_refused))()


def are_right_or_refused(milestones, gamma, is_sum):
    def steps(count):
        passed = [count >= m for m in milestones]
        return gamma ** (sum(passed) if is_sum else passed[0] + passed[-1])

    schedule, counts = js.LambdaLR(0.1, steps), np.arange(0, 4_000, 7)
    try:
        got = jax.jit(schedule)(jnp.asarray(counts))
    except ValueError:
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            difference = find_difference(steps, COUNTS)
        assert difference is not None
        assert difference[1] == steps(difference[0]) != difference[2]
    else:
        np.testing.assert_allclose(got, schedule(counts), rtol=1e-6)


@dataclasses.dataclass
class Decay:  # as most of people's configurable functions are: it has no hash
    rate: float

    def __call__(self, count):
        return self.rate / (count + 1)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_callable_without_a_hash_goes_where_functions_go(around):
    schedule = around(Decay(2.0))
    expected = np.float32(schedule(3))
    assert schedule == around(Decay(2.0)) != around(Decay(1.0))
    assert hash(schedule) == hash(around(Decay(2.0)))
    assert schedule(jnp.int32(3)) == jax.jit(schedule)(3) == expected
    assert jax.jit(lambda schedule, count: schedule(count))(schedule, 3) == expected
    state = injected(schedule).init(jnp.ones(2))
    assert state.hyperparams["learning_rate"] == np.float32(schedule(0))


@pytest.mark.parametrize("lr", [0.5, jnp.float32(0.5)])
def test_an_attribute_that_a_function_misses_is_named(lr):
    def wrong(count):
        return count.rate

    for schedule in (js.LambdaLR(lr, wrong, horizon=4), js.MultiplicativeLR(lr, wrong, horizon=4)):
        with pytest.raises(AttributeError, match="'int' object has no attribute 'rate'"):
            schedule(2)


def test_a_product_is_of_what_its_function_gives_when_it_is_made():
    class Decay:
        rate = 0.5

        def __call__(self, count):
            return self.rate

    decay, products = Decay(), []
    for decay.rate in (0.5, 0.9):  # as a cell of a notebook that runs again
        products.append(js.MultiplicativeLR(1.0, decay, horizon=4)(2))
    assert products == [0.5 * 0.5, 0.9 * 0.9]


def test_a_schedule_that_is_called_eagerly_is_not_kept(monkeypatch):
    assert base._recent_programs.maxlen == 16
    monkeypatch.setattr(base, "_recent_programs", collections.deque(maxlen=2))
    refs, schedule = [], None
    for i in range(4):
        schedule = js.LambdaLR(0.1 + i, lambda count: 0.5)
        schedule(jnp.int32(3))
        refs.append(weakref.ref(schedule.lr_lambda))
    schedule = None
    gc.collect()
    assert sum(ref() is not None for ref in refs) <= 2


def test_equal_schedules_share_a_program():
    first, second = js.StepLR(0.37, 3), js.StepLR(0.37, 3)
    assert first._program is second._program
    assert first._program is not js.StepLR(0.38, 3)._program
