"""SequentialLR, ChainedScheduler, clamp: schedules made of schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.schedules import assert_same

LINEAR = js.LinearLR(0.1, 0.25, 1.0, 4)
STEP = js.StepLR(0.1, 3)
COUNTS = np.arange(40)


def test_each_member_runs_on_its_own_clock():
    expected = [*LINEAR(np.arange(7)), *STEP(np.arange(8)), *LINEAR(np.arange(25))]
    assert_same(js.SequentialLR([LINEAR, STEP, LINEAR], [7, 15]), expected)


def test_three_and_more_members_are_one_table_and_one_formula():
    """All but the last are one table, where they are short."""
    cosine, decay = js.CosineAnnealingLR(0.1, 10**6), js.ExponentialLR(0.2, 0.99999)
    for members in (
        [LINEAR, STEP, LINEAR],
        [LINEAR, STEP, cosine],
        [cosine, STEP, LINEAR],
        [LINEAR, cosine, STEP, decay],
        [decay, cosine, LINEAR, STEP],
        [js.per_epoch(STEP, 2), js.RecordedLR([0.3, 0.1]), LINEAR, cosine, STEP],
    ):
        milestones = [7, 8, 21, 30][: len(members) - 1]
        ends = [*milestones, 40]
        expected = []
        for member, start, end in zip(members, [0, *milestones], ends, strict=True):
            expected += [member(count - start) for count in range(start, end)]
        assert_same(js.SequentialLR(members, milestones), expected)


def test_after_a_milestone_0_the_first_member_never_runs():
    assert_same(js.SequentialLR([LINEAR, STEP], [0]), STEP(COUNTS))


def test_one_member_alone_is_itself():
    assert_same(js.SequentialLR([STEP], []), STEP(COUNTS))
    assert_same(js.ChainedScheduler([STEP]), STEP(COUNTS))


def test_nested_is_flat():
    flat = js.SequentialLR([LINEAR, STEP, LINEAR, STEP], [7, 15, 20])
    left = js.SequentialLR([js.SequentialLR([LINEAR, STEP], [7]), LINEAR, STEP], [15, 20])
    right = js.SequentialLR([LINEAR, js.SequentialLR([STEP, LINEAR, STEP], [8, 13])], [7])
    for nested in (left, right):
        assert_same(nested, flat(COUNTS))


def test_members_may_be_epochs_and_functions():
    schedule = js.SequentialLR(
        [LINEAR, js.per_epoch(STEP, 2), optax.cosine_decay_schedule(0.1, 10)], [4, 12]
    )
    with jax.numpy_dtype_promotion("standard"):
        cosine = 0.05 * (1 + np.cos(np.pi * np.minimum(np.arange(28), 10) / 10))
        expected = [*LINEAR(np.arange(4)), *STEP(np.arange(8) // 2), *cosine]
        np.testing.assert_allclose(schedule(COUNTS), expected, rtol=1e-12, atol=1e-17)
        got = np.asarray(jax.jit(schedule)(jnp.asarray(COUNTS)))
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-17)


def test_on_the_host_a_function_is_asked_only_for_its_own_counts():
    table = [0.1, 0.2, 0.3]
    schedule = js.SequentialLR([lambda c: table[c], lambda c: table[c]], [3])
    assert schedule(np.arange(6)).tolist() == 2 * table
    assert [schedule(c) for c in range(6)] == 2 * table


def test_a_chain_is_the_product_of_the_factors():
    members = [
        LINEAR,
        js.MultiStepLR(0.1, [5, 20]),
        js.CosineAnnealingLR(0.1, 50),
        js.MultiplicativeLR(0.1, lambda count: 0.99, horizon=30),
        js.per_epoch(js.ExponentialLR(0.1, 0.9), 3),
        js.clamp(js.PolynomialLR(0.1, 80), 35),
        js.SequentialLR([js.ConstantLR(0.1), js.LinearLR(0.1)], [5]),
        js.smooth_epochs(js.LinearLR(0.1), 7),
    ]
    expected = 0.1 * np.prod([member(COUNTS) / 0.1 for member in members], axis=0)
    assert_same(js.ChainedScheduler(members), expected)
    half = len(members) // 2
    nested = js.ChainedScheduler(
        [js.ChainedScheduler(members[:half]), js.ChainedScheduler(members[half:])]
    )
    assert_same(nested, expected)


def test_a_chain_never_multiplies_0_by_infinity():
    chain = js.ChainedScheduler([js.ConstantLR(0.1, 0, 10**9), js.ExponentialLR(0.1, 10)])
    assert chain(10**6) == chain(jnp.int32(10**6)) == 0


def test_a_chain_goes_on_where_a_member_has_run_out_of_digits():
    counts = np.arange(3000)
    for gammas in ((0.5, 1.9), (0.5, 2.0), (0.5, 2.1), (0.1, 0.9), (0.5, 1.0)):
        chain = js.ChainedScheduler([js.ExponentialLR(0.1, gamma) for gamma in gammas])
        with np.errstate(over="ignore"):
            got = np.asarray(jax.jit(chain)(jnp.asarray(counts)))
            expected = chain(counts).astype(np.float32)
        ordinary = (expected > 1e-30) & (counts < 1000)  # of each member by itself as well
        np.testing.assert_array_max_ulp(got[ordinary], expected[ordinary])


def test_a_chain_takes_a_traced_base_lr():
    def lr(base_lr, count):
        return js.ChainedScheduler([js.LinearLR(base_lr), js.StepLR(base_lr, 3)])(count)

    got = jax.jit(jax.vmap(lr, (0, None)))(jnp.array([0.5, 1.0]), 4)
    np.testing.assert_allclose(got, [js_lr * 0.1 * (13 / 15) for js_lr in (0.5, 1.0)], rtol=1e-6)


def test_warmup_in_updates_then_milestones_in_epochs():
    warmup, decay = js.LinearLR(0.1, 0.1, 1.0, 5), js.per_epoch(js.MultiStepLR(0.1, [2]), 10)
    own_clock, product = js.SequentialLR([warmup, decay], [5]), js.ChainedScheduler([warmup, decay])
    for count, own, multiplied in [
        (0, 0.01, 0.01), (4, 0.082, 0.082), (5, 0.1, 0.1), (19, 0.1, 0.1), (20, 0.1, 0.01),
        (24, 0.1, 0.01), (25, 0.01, 0.01),
    ]:  # fmt: skip
        assert own_clock(count) == pytest.approx(own, rel=1e-12)
        assert product(count) == pytest.approx(multiplied, rel=1e-12)


def test_clamp_holds_the_value_of_its_last_count():
    cosine = js.CosineAnnealingLR(0.1, 10, eta_min=0.02)
    assert_same(js.clamp(cosine, 10), cosine(np.minimum(COUNTS, 10)))
    assert js.clamp(cosine, 10)(10**6) == 0.02
    assert_same(js.clamp(lambda count: 1 / (count / 1 + 1), 3), 1 / (np.minimum(COUNTS, 3) + 1))
