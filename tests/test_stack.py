"""stack and unstack: many schedules as one pytree for vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.schedules import SHORT

COUNTS = np.arange(12)


def other(schedule):
    """Another of the same kind, its numbers halved (those that may be)."""
    return jax.tree.map(lambda x: x / 2 if isinstance(x, float) else x, schedule)


def test_vmapped_it_is_each_of_them():
    ours = [[s, other(s)] for s in SHORT if not isinstance(s, js.RecordedLR)]
    stacked = [*map(js.stack, ours)]
    assert [*map(type, stacked)] == [type(s) for s, *_ in ours]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(stacked)} <= {"float32", "int32"}
    call = jax.jit(jax.vmap(lambda schedules: [s(jnp.asarray(COUNTS)) for s in schedules]))
    for got, schedules in zip(call(stacked), ours, strict=True):
        expected = [s(COUNTS) for s in schedules]
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-8, err_msg=repr(schedules[0]))


def test_milestones_of_fewer_never_come():
    schedules = [js.MultiStepLR(0.5, m, gamma=0.5) for m in ([3], [], [1, 2, 7])]
    stacked = js.stack(schedules)
    assert [m.tolist() for m in stacked.milestones] == [
        [3, 2**31 - 1, 1],
        [2**31 - 1] * 2 + [2],
        [2**31 - 1] * 2 + [7],
    ]
    counts = jnp.array([0, 1, 2, 3, 7, 2**31 - 2])
    got = jax.jit(jax.vmap(lambda s: s(counts)))(stacked)
    np.testing.assert_array_equal(got, [s(np.asarray(counts)) for s in schedules])
    assert js.unstack(stacked) == schedules


def test_milestones_within_compositions_too():
    def recipe(*milestones):
        decay = js.per_epoch(js.MultiStepLR(0.5, milestones), 3)
        return js.SequentialLR([js.LinearLR(0.5, total_iters=2), decay], [2])

    schedules = [recipe(1), recipe(1, 2), recipe()]
    stacked = js.stack(schedules)
    got = jax.jit(jax.vmap(lambda s: s(jnp.asarray(COUNTS))))(stacked)
    np.testing.assert_allclose(got, [s(COUNTS) for s in schedules], rtol=1e-6)
    assert js.unstack(stacked)[:2] == [
        jax.tree.map(lambda x: float(str(np.float32(x))) if isinstance(x, float) else x, s)
        for s in schedules[:2]
    ]


def test_unstacked_it_prints_as_it_was_written():
    schedules = [js.StepLR(0.1, 30, gamma=0.2), js.StepLR(3e-4, 10)]
    assert [repr(s) for s in js.unstack(js.stack(schedules))] == [repr(s) for s in schedules]
    best = jax.tree.map(lambda x: x[1:], js.stack(schedules))
    assert js.unstack(best) == [js.StepLR(3e-4, 10)]
    recorded = [js.RecordedLR([0.1, 0.3]), js.RecordedLR([0.2, 0.4])]
    np.testing.assert_allclose(
        [s(1) for s in js.unstack(js.stack(recorded))], [0.3, 0.4], rtol=1e-6
    )


def test_under_x64_numbers_keep_all_their_digits():
    with jax.enable_x64(True):
        stacked = js.stack([js.LinearLR(0.1), js.LinearLR(0.2)])
        assert (stacked.base_lr.dtype, stacked.total_iters.dtype) == (jnp.float64, jnp.int32)
        assert js.unstack(stacked) == [js.LinearLR(0.1), js.LinearLR(0.2)]


@pytest.mark.parametrize(
    ("schedules", "message"),
    [
        ([], "`schedules` must be one or more, got none"),
        (js.StepLR(0.1, 3), "`schedules` must be a sequence of schedules, got StepLR"),
        ([js.StepLR(0.1, 3), 0.1], "`schedules` must be a sequence of schedules"),
        ([js.StepLR(0.1, 3), js.ConstantLR(0.1)], "`schedules` .* one class, got ConstantLR and S"),
        (
            [js.SWALR(0.1, 0.2), js.SWALR(0.1, 0.2, anneal_strategy="linear")],
            "`anneal_strategy` must be the same in all `schedules`, got 'cos' and 'linear'",
        ),
        (
            [js.per_epoch(js.StepLR(0.1, 3), n) for n in ([3, 2], [3, 2, 1])],
            r"`steps_per_epoch` must be alike .* got \(3, 2\) and \(3, 2, 1\)",
        ),
        (
            [js.per_epoch(js.StepLR(0.1, 3), 3), js.per_epoch(js.StepLR(0.1, 3), [3, 2])],
            "`steps_per_epoch` must be alike",
        ),
        (
            [js.per_epoch(js.StepLR(0.1, 3), 3), js.per_epoch(js.LinearLR(0.1), 3)],
            "`schedule` must be of one class, got LinearLR and StepLR",
        ),
        (
            [js.ChainedScheduler([js.StepLR(0.1, 3)] * n) for n in (1, 2)],
            "`schedulers` must be alike",
        ),
        ([js.CyclicLR(0.1, 0.2), js.CyclicLR(0.1, 0.2, 3, 4)], "`step_size_down` must be"),
        ([js.RecordedLR([0.1]), js.RecordedLR([0.1, 0.2])], "`values` must be alike"),
        ([js.StepLR(0.1, 2**31), js.StepLR(0.1, 3)], "integers below 2\\*\\*31, got 2147483648"),
    ],
)
def test_what_cannot_be_stacked(schedules, message):
    with pytest.raises((TypeError, ValueError), match=message):
        js.stack(schedules)


@pytest.mark.parametrize("x64", [False, True])
def test_a_recording_comes_back_with_its_own_numbers(x64):
    schedules = [js.RecordedLR([0.1, 0.3, 3e-4]), js.RecordedLR([0.2, 1 / 8, 0.0])]
    nested = [js.per_epoch(schedule, 3) for schedule in schedules]
    with jax.enable_x64(x64):
        assert js.unstack(js.stack(schedules)) == schedules
        assert js.unstack(js.stack(nested)) == nested


@pytest.mark.parametrize(
    "schedule", [0.1, js.StepLR(0.1, 3), js.StepLR(jnp.ones(2), jnp.ones(3, int))]
)
def test_what_cannot_be_unstacked(schedule):
    with pytest.raises((TypeError, ValueError), match="`schedule` must "):
        js.unstack(schedule)


def test_a_generator_of_schedules_is_read_once():
    schedules = [js.StepLR(0.1, 3), js.StepLR(0.2, 4)]
    assert js.unstack(js.stack(s for s in schedules)) == schedules
    with pytest.raises(ValueError, match="must be one or more, got none"):
        js.stack(iter(()))


def test_arrays_are_strongly_typed_in_the_default_types():
    """A weak one would take the type of what it meets; the result is weak by itself."""
    for x64 in (False, True):
        with jax.enable_x64(x64):
            stacked = js.stack([js.StepLR(0.1, 3), js.StepLR(0.2, 4)])
            leaves = [stacked.base_lr, stacked.step_size, stacked.gamma]
            real = jnp.float64 if x64 else jnp.float32
            assert [leaf.dtype for leaf in leaves] == [real, jnp.int32, real]
            assert not any(leaf.weak_type for leaf in leaves)
