"""Schedules inside every JAX transformation; traced arguments; what the program looks like."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec as P

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import LONG, LONG_COUNTS, SHORT

COUNTS = np.arange(12)
CASES = {f"short {type(s).__name__}": (s, COUNTS) for s in SHORT}
CASES |= {f"long {type(s).__name__}": (s, LONG_COUNTS) for s in LONG}
# A table, a function, and a composition of formulas: what a transformation sees. The rest is slow.
SEEN = {"short MultiStepLR", "short LambdaLR", "long SequentialLR"}
MARKS = {name: () if name in SEEN else pytest.mark.slow for name in CASES}
every_kind = pytest.mark.parametrize(
    ("schedule", "counts"),
    [pytest.param(*case, id=name, marks=MARKS[name]) for name, case in CASES.items()],
)


def float32(schedule, counts=COUNTS):
    return schedule(counts).astype(np.float32)


@every_kind
def test_control_flow(schedule, counts):
    def nine(count):
        return jnp.float32(9)

    @jax.jit
    def run(counts, i):
        count = counts[i]
        conditional = jax.lax.cond(i < 99, schedule, nine, count)
        chosen = jax.lax.switch(jnp.minimum(i, 1), [nine, schedule], count)
        total = jax.lax.fori_loop(0, 12, lambda i, sum: sum + schedule(counts[i]), jnp.float32(0))
        _, last = jax.lax.while_loop(
            lambda x: x[0] <= i, lambda x: (x[0] + 1, schedule(counts[x[0]])), (0, 0.0)
        )
        mapped = jax.lax.map(schedule, counts)
        return conditional, chosen, jax.checkpoint(schedule)(count), last, total, mapped

    expected = float32(schedule, counts)
    *values, total, mapped = run(jnp.asarray(counts), jnp.int32(7))
    for value in values:
        np.testing.assert_array_max_ulp(np.asarray(value), expected[7])
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-6)
    np.testing.assert_array_max_ulp(np.asarray(mapped), expected)


@every_kind
def test_shard_map(schedule, counts):
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    sharded = jax.shard_map(schedule, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    got = jax.jit(sharded)(jnp.asarray(counts))
    np.testing.assert_array_max_ulp(np.asarray(got), float32(schedule, counts))


def test_export_needs_nothing_of_a_platform():
    def what_is_in_it(schedules):
        count = jax.ShapeDtypeStruct((), jnp.int32)
        platforms = ["cpu", "cuda", "rocm", "tpu"]
        call = jax.jit(lambda count: [schedule(count) for schedule in schedules])
        text = jax.export.export(call, platforms=platforms)(count).mlir_module()
        # No "case": one program for all.
        return [word for word in ("custom_call", "while", "case") if word in text]

    assert not what_is_in_it(SHORT + LONG), [s for s in SHORT + LONG if what_is_in_it([s])]


def test_what_is_exported_is_called():
    for schedule in (js.StepLR(0.1, 3), js.ExponentialLR(0.1, 0.99999)):
        exported = jax.export.export(jax.jit(schedule))(jnp.int32(0))
        got = np.asarray(exported.call(jnp.int32(7)))
        np.testing.assert_array_max_ulp(got, float32(schedule)[7])


def test_gradients_reach_base_lr_and_gamma():
    def lr(base_lr, gamma, count):
        return js.StepLR(base_lr, 2, gamma)(count)

    gradient = jax.jit(jax.grad(lr, (0, 1)))
    for count, (to_base, to_gamma) in {0: (1, 0), 2: (0.5, 0.1), 6: (0.125, 0.075)}.items():
        got = gradient(jnp.float32(0.1), jnp.float32(0.5), jnp.int32(count))
        np.testing.assert_allclose(got, (to_base, to_gamma), rtol=1e-6)
    got = jax.jit(jax.grad(lambda b: js.MultiStepLR(b, [2, 4], 0.5)(jnp.int32(3))))(0.1)
    assert got == 0.5


@pytest.mark.parametrize(
    ("dtype", "jit"),
    [(jnp.bfloat16, jax.jit), slow_case(jnp.float32, lambda f: f)],
)
def test_gradients_reach_recorded_values(dtype, jit):
    def lrs(values):
        recorded = js.per_epoch(js.RecordedLR(values), 2)
        schedule = js.SequentialLR([js.LinearLR(jnp.float32(0.5), 0.5), recorded], [1])
        return schedule(jnp.arange(6)).sum() + recorded(1)

    values = jnp.array([0.5, 0.25, 0.125], dtype)
    np.testing.assert_array_equal(jit(jax.grad(lrs))(values), jnp.array([3, 2, 1], dtype))
    forward = jit(lambda values: jax.jvp(lrs, (values,), (values,)))
    np.testing.assert_array_equal(forward(values), [2.375, 2.125])


def test_gradients_are_finite_at_gamma_0_and_1():
    gradient = jax.jit(jax.grad(lambda g, c: js.StepLR(0.1, 2, g)(c)))
    for gamma in (0.0, 1.0):
        for count in (0, 2, 2**31 - 1):
            got = gradient(gamma, jnp.int32(count))
            assert np.isfinite(got)


def test_vmap_sweeps_learning_rates_factors_sizes_and_milestones():
    rates, gammas, sizes = [0.1, 0.2, 0.3], [0.1, 0.0, 1.0], [1, 3, 5]
    build = jax.vmap(js.StepLR, in_axes=(0, 0, 0))
    swept = jax.jit(jax.vmap(lambda s: s(COUNTS)))(build(*map(jnp.array, (rates, sizes, gammas))))
    expected = [float32(js.StepLR(*args)) for args in zip(rates, sizes, gammas, strict=True)]
    np.testing.assert_allclose(swept, expected, rtol=2e-6)

    milestones = [[3, 5], [5, 3], [0, 100], [4, 4]]
    swept = jax.jit(jax.vmap(lambda m: js.MultiStepLR(0.1, m)(COUNTS)))(jnp.array(milestones))
    np.testing.assert_array_equal(swept, [float32(js.MultiStepLR(0.1, m)) for m in milestones])

    swept = jax.vmap(jax.jit(lambda n: js.per_epoch(js.StepLR(0.1, 2), n)(COUNTS)))(
        jnp.array(sizes)
    )
    expected = [float32(js.per_epoch(js.StepLR(0.1, 2), n)) for n in sizes]
    np.testing.assert_array_equal(swept, expected)


def test_traced_arguments_give_what_numbers_give_to_the_last_bit_but_one():
    @functools.partial(jax.jit, static_argnums=0)
    def call(cls, args, counts):
        return cls(*args)(counts)

    counts = jnp.arange(40)
    for cls, args in [
        (js.StepLR, (0.1, 5, 0.3)),
        (js.StepLR, (0.1, 5, 0.0)),
        (js.StepLR, (0.0, 1, 1e30)),
        (js.MultiStepLR, (0.1, (7, 3, 3, 30), 0.3)),
        (js.MultiStepLR, (0.1, (), 0.3)),
    ]:
        expected = cls(*args)(np.arange(40))
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(
                call(cls, args, counts), expected.astype(np.float32), rtol=2e-6
            )


def test_a_milestone_sweep_needs_no_sorting_by_the_user():
    for milestones in (
        jnp.array([150, 100]),
        (jnp.int32(150), jnp.int32(100)),
        (150, jnp.int32(100)),
    ):
        got = jax.jit(lambda c: js.MultiStepLR(0.5, milestones, 0.5)(c))(jnp.array([99, 100, 150]))
        np.testing.assert_array_equal(got, [0.5, 0.25, 0.125])


def optimized(function):
    return jax.jit(function).lower(jnp.int32(0)).compile().as_text()


@pytest.mark.parametrize("number", [0, 1, 2, 64, 512])
def test_the_program_has_no_loop_and_no_callback(number):
    schedule = js.per_epoch(js.MultiStepLR(0.1, range(number), 0.99), 391)
    for text in (jax.jit(schedule).lower(jnp.int32(0)).as_text(), optimized(schedule)):
        assert "while" not in text
        assert "custom" not in text


def test_the_program_grows_with_the_logarithm_of_the_milestones():
    two, many = (len(optimized(js.MultiStepLR(0.1, range(n), 0.99)).split(" = ")) for n in (2, 512))
    assert many < 9 * two  # 9 rounds of the search for 2


@pytest.mark.parametrize("x64", [False, True])
def test_the_precision_inside_does_not_leak_out(x64):
    with jax.enable_x64(x64):
        jax.jit(js.StepLR(0.1, 3))(jnp.int32(5))
        js.MultiStepLR(0.1, [3])(jnp.int32(5))
        assert jnp.result_type(float) == (jnp.float64 if x64 else jnp.float32)
