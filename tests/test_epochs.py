"""per_epoch, smooth_epochs, steps_per_epoch: epochs into updates."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from jaxsched._base.ops import NUMPY, PYTHON
from jaxsched._schedules.epochs import Clock
from tests.marks import slow_case
from tests.schedules import MORE, SHORT, assert_same, jitted


@pytest.mark.parametrize("length", [1, 2, 7, 391])
def test_an_epoch_holds_one_value(length):
    inner = js.MultiStepLR(0.1, [2, 3, 5], gamma=0.3)
    schedule = js.per_epoch(inner, length)
    counts = np.arange(7 * length)
    expected = np.repeat([inner(epoch) for epoch in range(7)], length)
    np.testing.assert_array_equal(schedule(counts), expected)
    assert [schedule(int(c)) for c in counts] == expected.tolist()
    np.testing.assert_array_equal(jax.jit(schedule)(counts), expected.astype(np.float32))


@pytest.mark.parametrize(
    "lengths",
    [
        [3, 1, 2],
        (391, 390, 391),
        range(1, 70),
        *map(slow_case, ([4], np.array([2, 5]), iter([2, 3]))),
    ],
)
def test_epochs_of_unequal_length_and_the_last_length_repeats(lengths):
    inner = js.StepLR(1.0, 1, gamma=0.9)
    schedule = js.per_epoch(inner, lengths)
    listed = schedule.steps_per_epoch
    assert type(listed) is tuple
    times = [*listed, *itertools.repeat(listed[-1], 5)]
    expected = np.repeat([inner(epoch) for epoch in range(len(times))], times)
    np.testing.assert_array_equal(schedule(np.arange(len(expected))), expected)
    assert [schedule(c) for c in range(len(expected))] == expected.tolist()
    got = jax.jit(schedule)(jnp.arange(len(expected)))
    np.testing.assert_array_equal(got, expected.astype(np.float32))


@pytest.mark.parametrize("outer", [js.per_epoch, js.smooth_epochs])
@pytest.mark.parametrize("inner", [js.per_epoch, js.smooth_epochs])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: js.clamp(s, 9),
        lambda s: js.SequentialLR([js.LinearLR(0.1), js.ChainedScheduler([s])], [5]),
    ],
)
def test_an_adapter_in_an_adapter_is_refused_at_any_depth(outer, inner, wrap):
    with pytest.raises(ValueError, match="`schedule` must be in epochs, .* in updates already"):
        outer(wrap(inner(js.LinearLR(0.1), 391)), 391)


def test_any_callable_is_adapted():
    schedule = js.per_epoch(lambda epoch: 0.5 if epoch < 3 else 0.25, 10)
    assert [schedule(c) for c in (0, 29, 30)] == [0.5, 0.5, 0.25]
    np.testing.assert_array_equal(schedule(np.array([[29], [30]])), [[0.5], [0.25]])
    traceable = js.per_epoch(lambda epoch: jnp.where(epoch < 3, 0.5, 0.25), 10)
    np.testing.assert_array_equal(jax.jit(traceable)(jnp.array([29, 30])), [0.5, 0.25])
    constant = js.per_epoch(lambda epoch: 0.5, 10)
    np.testing.assert_array_equal(jax.jit(constant)(jnp.array([29, 30])), [0.5, 0.5])


def test_a_callable_is_called_in_double_with_an_int_or_an_int64():
    seen = []
    schedule = js.per_epoch(lambda epoch: seen.append(epoch) or epoch * 0 + 1 / 3, 10)
    assert schedule(25) == 1 / 3
    np.testing.assert_array_equal(schedule(np.array([25, 35])), [1 / 3, 1 / 3])
    assert [(type(e), e) for e in seen] == [(int, 2), (int, 2), (int, 3)]
    with jax.numpy_dtype_promotion("standard"):
        jax.jit(schedule)(jnp.uint8(25))
    assert seen[-1].dtype == jnp.int64


def test_an_optax_schedule_per_epoch_is_the_same_on_host_and_device():
    schedule = js.per_epoch(optax.cosine_decay_schedule(0.1, 90), 100)
    with jax.numpy_dtype_promotion("standard"):
        counts = np.arange(0, 9100, 50)
        expected = 0.05 * (1 + np.cos(np.pi * np.minimum(counts // 100, 90) / 90))
        got = schedule(counts)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-17)
        assert schedule(850) == got[17]
        np.testing.assert_array_equal(jax.jit(schedule)(counts), got.astype(np.float32))


def test_a_callable_in_an_adapter_is_part_of_its_value():
    def constant(epoch):
        return 0.5

    one, two = js.per_epoch(constant, 5), js.per_epoch(constant, 5)
    assert one == two
    assert hash(one) == hash(two)
    assert "constant" in repr(one)
    assert jax.tree.leaves(one) == [5]
    assert one != js.per_epoch(lambda epoch: 0.5, 5)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "drop_last", "accumulate", "updates"),
    [
        (50_000, 128, False, 1, 391),
        (50_000, 128, True, 1, 390),
        (1_281_167, 256, False, 1, 5005),
        (100, 10, False, 1, 10),
        (100, 10, True, 1, 10),
        (101, 10, False, 1, 11),
        (5, 10, False, 1, 1),
        (50_000, 128, True, 3, 130),
        (np.int64(100), np.int32(10), False, np.uint8(5), 2),
    ],
)
def test_steps_per_epoch_counts_optimizer_updates(
    num_examples, batch_size, drop_last, accumulate, updates
):
    got = js.steps_per_epoch(num_examples, batch_size, drop_last=drop_last, accumulate=accumulate)
    assert (type(got), got) == (int, updates)


def test_where_accumulate_does_not_divide_both_conventions_are_explained():
    with pytest.raises(ValueError, match="`accumulate` must divide the 391 batches") as error:
        js.steps_per_epoch(50_000, 128, drop_last=False, accumulate=2)
    for words in ("got 2", "196 updates an epoch", "optax.MultiSteps carries them over"):
        assert words in str(error.value)


def test_no_complete_batch_is_refused():
    with pytest.raises(ValueError, match="`batch_size` must be at most `num_examples`"):
        js.steps_per_epoch(5, 10, drop_last=True)


def test_multisteps_carries_over_as_the_message_says():
    # 5 batches an epoch, 2 accumulated: 5 updates in every 2 epochs, 2 in the first of them.
    tx = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)
    params, grad = jnp.float32(0), jnp.float32(1)
    state, update, ends = tx.init(params), jax.jit(tx.update), [0]
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(4):
            for _ in range(5):
                _, state = update(grad, state, params)
            ends.append(int(state.gradient_step))
    assert np.diff(ends).tolist() == [2, 3, 2, 3]


# -- the clock -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [1, 4, [4], [3, 1, 2], [5, 1], range(1, 9)])
def test_a_clock_tells_the_epoch_the_place_in_it_and_its_length(lengths):
    clock = Clock(lengths)
    listed = lengths if isinstance(lengths, int) else [*lengths]
    times = [listed] * 12 if isinstance(listed, int) else [*listed, *[listed[-1]] * 4]
    expected = [(epoch, step, n) for epoch, n in enumerate(times) for step in range(n)]
    assert [clock.epoch(count, PYTHON) for count in range(len(expected))] == expected
    counts = np.arange(len(expected))
    epoch, step, length = clock.epoch(counts, NUMPY)
    columns = (epoch, step, np.broadcast_to(length, counts.shape))
    assert [*zip(*(column.tolist() for column in columns), strict=True)] == expected
    starts = [0, *itertools.accumulate(times)][:-1]
    assert [clock.first_update(e, PYTHON) for e in range(len(times))] == starts
    assert clock.first_update(np.arange(len(times)), NUMPY).tolist() == starts


def test_a_clock_keeps_one_number_or_a_tuple():
    assert (Clock(3.0).lengths, Clock(np.array([3, 2])).lengths) == (3, (3, 2))
    with pytest.raises(ValueError, match="`steps_per_epoch` must be an integer >= 1, got 0"):
        Clock(0)


# -- smooth_epochs -------------------------------------------------------------------------------

COUNTS = np.arange(40)
SMOOTH = [
    s
    for s in [*SHORT, *MORE]
    if all(part._is_smooth for part in s._walk()) and not isinstance(s, js.smooth_epochs)
]
smooth = pytest.mark.parametrize("schedule", SMOOTH, ids=lambda s: type(s).__name__)


@smooth
def test_smooth_epochs_meet_the_schedule_at_each_epochs_first_update_and_go_on_between(schedule):
    # A finer grid of the same curve: 1 count in 2 is an integer there.
    smoothed = js.smooth_epochs(schedule, 2)(np.arange(79))
    whole, between = smoothed[::2], smoothed[1::2]
    np.testing.assert_allclose(whole, schedule(COUNTS), rtol=1e-14)
    low, high = np.minimum(whole[:-1], whole[1:]), np.maximum(whole[:-1], whole[1:])
    steep = high - low > 0.02  # a restart, a peak between two epochs, an end
    assert (
        ((low - 1e-9 <= between) & (between <= high + 1e-9)) | steep | (schedule(0) >= high)
    ).all()


def test_smooth_epochs_are_the_same_on_the_device():
    adapted = [js.smooth_epochs(schedule, 2) for schedule in SMOOTH]
    for schedule, got in zip(adapted, jitted(adapted, jnp.arange(79)), strict=True):
        expected = schedule(np.arange(79)).astype(np.float32)
        np.testing.assert_allclose(got, expected, rtol=2.0**-23, err_msg=repr(schedule))


@pytest.mark.parametrize("length", [1, *map(slow_case, (7, 49)), 391])
def test_an_epoch_of_any_length_is_met_at_its_first_update(length):
    for schedule in (js.CosineAnnealingWarmRestarts(0.1, 3, 2), js.ExponentialLR(0.1, 0.9)):
        assert_same(js.smooth_epochs(schedule, length), schedule(COUNTS), COUNTS * length)


def test_smooth_epochs_of_formulas_at_fractions():
    cosine = js.smooth_epochs(js.CosineAnnealingLR(0.1, 3), 10)
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(31) / 30))
    np.testing.assert_allclose(cosine(np.arange(31)), expected, rtol=1e-12, atol=1e-16)
    decay = js.smooth_epochs(js.ExponentialLR(0.1, 0.5), [2, 4])
    expected = 0.1 * 0.5 ** np.array([0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.25])
    assert_same(decay, expected, np.arange(8))
    assert js.smooth_epochs(lambda epoch: epoch, 4)(7) == 1.75


def cosine(part):
    """From 1 to 0 while `part` goes from 0 to 1."""
    return (1 + math.cos(math.pi * part)) / 2


def doubling(t, length):
    """The part of its cycle at which t is, where each cycle is twice as long as the one before."""
    while t >= length:
        t, length = t - length, 2 * length
    return t / length


def triangle(t):
    """Up for 2 epochs, down for 3."""
    return min(t % 5 / 2, 1 - (t % 5 - 2) / 3)


def one_cycle(t):
    """0.1 at 1.7, from 0.004 and to 4e-7 at 8."""
    t = min(t, 8)
    if t <= 1.7:
        return 0.1 + (0.004 - 0.1) * cosine(t / 1.7)
    return 4e-7 + (0.1 - 4e-7) * cosine((t - 1.7) / 6.3)


AT_FRACTIONS = {
    js.LinearLR(0.1, 0.25, 1.0, 4): lambda t: 0.1 * (0.25 + 0.75 * min(t / 4, 1)),
    js.ExponentialLR(0.1, 0.9): lambda t: 0.1 * 0.9**t,
    js.PolynomialLR(0.1, 5, 1.5): lambda t: 0.1 * (1 - min(t / 5, 1)) ** 1.5,
    js.CosineAnnealingLR(0.1, 4, 0.01): lambda t: 0.01 + 0.09 * cosine(t / 4),
    js.CosineAnnealingWarmRestarts(0.1, 3, 1, 0.01): lambda t: 0.01 + 0.09 * cosine(t % 3 / 3),
    js.CosineAnnealingWarmRestarts(0.1, 2, 2): lambda t: 0.1 * cosine(doubling(t, 2)),
    js.SWALR(0.1, 0.01, 5): lambda t: 0.01 + 0.09 * cosine(min(t / 5, 1)),
    js.SWALR(0.1, 0.01, 5, "linear"): lambda t: 0.1 - 0.09 * min(t / 5, 1),
    js.CyclicLR(0.1, 0.3, 2, 3): lambda t: 0.1 + 0.2 * triangle(t),
    js.CyclicLR(0.1, 0.3, 2, 3, "triangular2"): lambda t: 0.1 + 0.2 * triangle(t) / 2 ** (t // 5),
    js.CyclicLR(0.1, 0.3, 2, 3, "exp_range", 0.9): lambda t: 0.1 + 0.2 * triangle(t) * 0.9**t,
    js.OneCycleLR(0.1, 9): one_cycle,
}


def test_smooth_epochs_of_every_formula_at_fractions():
    adapted, counts = [js.smooth_epochs(schedule, 4) for schedule in AT_FRACTIONS], np.arange(80)
    jits = jitted(adapted, jnp.asarray(counts))
    for smooth, naive, on_device in zip(adapted, AT_FRACTIONS.values(), jits, strict=True):
        expected, same = [naive(count / 4) for count in counts], {"err_msg": repr(smooth)}
        np.testing.assert_allclose(smooth(counts), expected, rtol=1e-12, atol=1e-16, **same)
        np.testing.assert_allclose([*map(smooth, range(80))], smooth(counts), rtol=1e-12, **same)
        np.testing.assert_allclose(on_device, expected, rtol=3e-7, atol=1e-12, **same)


def test_smooth_epochs_takes_traced_sizes():
    schedules = [
        js.CosineAnnealingWarmRestarts(0.1, jnp.int32(2), 2),
        js.CyclicLR(0.1, 0.3, jnp.int32(2), jnp.int32(3)),
        js.SequentialLR([js.LinearLR(0.1, 0.25, 1.0, 4), js.LinearLR(0.1)], [jnp.int32(4)]),
        js.clamp(js.CosineAnnealingLR(0.1, jnp.int32(3)), jnp.int32(3)),
    ]
    smooth = [js.smooth_epochs(schedule, n) for schedule in schedules for n in (3, [3, 1, 2])]
    for schedule, got in zip(smooth, jitted(smooth, jnp.arange(30)), strict=True):
        numbers = jax.tree.map(lambda x: x.item() if isinstance(x, jax.Array) else x, schedule)
        expected = numbers(np.arange(30)).astype(np.float32)
        np.testing.assert_allclose(got, expected, rtol=2.0**-23, err_msg=repr(numbers))
