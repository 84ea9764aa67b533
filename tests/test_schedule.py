"""What every schedule promises: number in, number out; a value; a pytree."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import (
    ARGUMENTS,
    LONG,
    MORE,
    OF_FUNCTIONS,
    SHORT,
    in_epochs,
    jitted,
    traced,
    warmup,
)

CONCRETE = [s for s in SHORT + LONG + MORE if not any(part._is_traced for part in s._walk())]
CONCRETE = [s for s in CONCRETE if not isinstance(s, js.MultiplicativeLR)]
SCHEDULES = SHORT + LONG + MORE + OF_FUNCTIONS
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
# What is done once, in the base: with a table, a formula, and a function.
OF_THE_BASE = [
    js.StepLR(0.1, 3),
    js.ExponentialLR(0.1, 0.99999),
    js.per_epoch(lambda n: 1 / (n + 1.0), 3),
]
in_the_base = pytest.mark.parametrize("schedule", OF_THE_BASE, ids=lambda s: type(s).__name__)


def test_help_shows_the_arguments():
    assert list(inspect.signature(js.StepLR).parameters) == ["base_lr", "step_size", "gamma"]
    assert inspect.signature(js.StepLR).parameters["gamma"].default == 0.1
    assert list(inspect.signature(js.StepLR(0.1, 3)).parameters) == ["count"]


def test_one_of_each_is_tested():
    public = {n for n, x in vars(js).items() if isinstance(x, type) and issubclass(x, js.Schedule)}
    assert ARGUMENTS.keys() == public - {"Schedule"}
    for schedules in (SHORT, LONG):
        assert [type(s).__name__ for s in schedules] == list(ARGUMENTS)


@every_schedule
def test_an_integer_gives_a_float_and_a_numpy_array_float64_of_its_shape(schedule):
    expected = [schedule(count) for count in range(12)]
    assert {*map(type, expected)} == {float}
    for dtype, shape in {"int8": (12,), "uint64": (3, 2, 2)}.items():
        value = schedule(np.arange(12, dtype=dtype).reshape(shape))
        assert type(value) is np.ndarray
        assert (value.shape, value.dtype) == (shape, np.float64)
        np.testing.assert_allclose(value.ravel(), expected, rtol=1e-15, atol=1e-17)
        value[...] = 0  # the caller's own


def test_integers_of_few_bits():
    dtypes = ("int2", "uint4")
    counts = [jnp.arange(jnp.iinfo(dtype).max + 1) for dtype in dtypes]
    few = [count.astype(dtype) for count, dtype in zip(counts, dtypes, strict=True)]
    all_at = jax.jit(lambda counts: [s(count) for s in OF_THE_BASE for count in counts])
    for got, expected in zip(all_at(few), all_at(counts), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(OF_THE_BASE[0](few[0]), OF_THE_BASE[0](counts[0]))


@pytest.mark.parametrize("count", [jax.random.key(0), jnp.bfloat16(2)])
def test_what_is_of_no_integer_type_is_no_count(count):
    with pytest.raises(TypeError, match="`count` must be an integer or an array of them, got"):
        js.StepLR(0.1, 3)(count)


@in_the_base
def test_integers_of_any_dtype_and_shape(schedule):
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        value = schedule(np.dtype(dtype).type(7))
        assert (type(value), value) == (float, schedule(7))
        for shape in [(), (0,), (1, 5)]:
            count = np.full(shape, 7, dtype)
            value = schedule(count)
            assert type(value) is np.ndarray
            assert (value.shape, value.dtype) == (shape, np.float64)
            np.testing.assert_allclose(value, np.full(shape, schedule(7)), rtol=1e-15)
    kinds = {"uint16": (), "uint8": (12,), "uint32": (3, 2, 2), "int8": (0,), "int16": (1, 5)}
    counts = [jnp.arange(np.prod(shape), dtype=d).reshape(shape) for d, shape in kinds.items()]
    for count, value in zip(counts, jax.jit(lambda c: [*map(schedule, c)])(counts), strict=True):
        assert (value.shape, value.dtype, value.weak_type) == (count.shape, jnp.float32, True)
        expected = schedule(np.asarray(count)).astype(np.float32)
        np.testing.assert_array_max_ulp(np.asarray(value), expected, maxulp=1)


def test_a_jax_array_gives_weakly_typed_float32():
    counts = jnp.arange(12)
    values = [*jitted(SCHEDULES, counts), *(schedule(counts) for schedule in OF_THE_BASE)]
    for schedule, value in zip(SCHEDULES + OF_THE_BASE, values, strict=True):
        assert (value.shape, value.dtype, value.weak_type) == ((12,), jnp.float32, True), schedule
        expected = schedule(np.arange(12)).astype(np.float32)
        np.testing.assert_allclose(value, expected, rtol=2.0**-23, err_msg=repr(schedule))


@pytest.mark.parametrize(  # the others are tables that the host made
    "schedules", [LONG, slow_case(MORE + OF_FUNCTIONS)]
)
def test_under_x64_a_jax_array_gives_weakly_typed_float64_up_to_the_largest_count(schedules):
    counts = np.array([*range(12), 2**63 - 1])
    with jax.enable_x64(True):
        values = jitted(schedules, jnp.asarray(counts))
        values += [schedule(jnp.asarray(counts)) for schedule in OF_THE_BASE]
    for schedule, value in zip(schedules + OF_THE_BASE, values, strict=True):
        assert (value.shape, value.dtype, value.weak_type) == ((13,), jnp.float64, True), schedule
        same = {"rtol": 1e-12, "atol": 1e-17, "err_msg": repr(schedule)}
        expected = [schedule(int(count)) for count in counts]
        np.testing.assert_allclose(value, expected, **same)
        np.testing.assert_allclose(schedule(counts), expected, **same)


@pytest.mark.parametrize("x64", [False, True])
def test_what_it_multiplies_keeps_its_dtype(x64):
    with jax.enable_x64(x64):
        for s in (*OF_THE_BASE, *map(jax.jit, [OF_THE_BASE[0], js.StepLR(jnp.float32(0.1), 3)])):
            value = s(jnp.int32(3))
            for dtype in ("bfloat16", "float16", "float32", "float64")[: 3 + x64]:
                w = jax.ShapeDtypeStruct((2,), dtype)
                assert jax.eval_shape(lambda w, lr: w - lr * w, w, value).dtype == dtype, s
                assert jax.eval_shape(lambda w, n, s=s: w * s(n), w, 3).dtype == dtype, s


@in_the_base
def test_a_count_below_zero_counts_as_zero(schedule):
    first = schedule(0)
    assert schedule(-1) == schedule(-(10**30)) == schedule(np.int8(-5)) == first
    np.testing.assert_array_equal(schedule(np.array([-7, 0])), [first, first])
    counts = [jnp.int32(-1), jnp.int8(-128)]
    for value in jax.jit(lambda counts: [schedule(count) for count in counts])(counts):
        np.testing.assert_array_max_ulp(np.asarray(value), np.float32(first))


@pytest.mark.parametrize(  # in a cycle 2**64 - 1 is another place
    "schedule", [*OF_THE_BASE, js.CyclicLR(0.1, 0.3, 2, 3)], ids=lambda s: type(s).__name__
)
def test_counts_beyond_64_bits_are_the_end_of_the_curve(schedule):
    end = schedule(2**63 - 1)
    assert schedule(10**400) == end
    largest = [np.array([2**63 - 1]), np.array([2**64 - 1], np.uint64)]
    with jax.enable_x64(True):
        jitted = jax.jit(lambda counts: [schedule(count) for count in counts])(largest)
    for value in [*map(schedule, largest), *jitted]:
        np.testing.assert_allclose(value, [end], rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize(
    "schedule", [js.StepLR(0.1, 3), js.StepLR(jnp.float32(1), 3)], ids=["a number", "an array"]
)
def test_a_count_that_is_no_integer_is_refused(schedule):
    for count in (
        *(True, np.True_, 2.0, np.float32(2), None, "1", [1], (1,)),
        *(np.array([1.0]), np.array([True]), jnp.float32(1), jnp.array([True])),
    ):
        for call in [schedule, jax.jit(schedule)][: 2 if isinstance(count, jax.Array) else 1]:
            with pytest.raises(TypeError, match="`count` must be an integer or an array of them"):
                call(count)


@pytest.mark.parametrize("schedule", CONCRETE, ids=lambda s: type(s).__name__)
def test_repr_evaluates_back_with_the_public_names(schedule):
    assert eval(repr(schedule), vars(js)) == schedule


def test_repr_reads_like_the_constructor():
    assert repr(js.StepLR(1, 5)) == "StepLR(1.0, step_size=5, gamma=0.1)"
    assert (
        repr(js.per_epoch(js.MultiStepLR(0.1, [150, 100]), 391))
        == "per_epoch(MultiStepLR(0.1, milestones=(100, 150), gamma=0.1), steps_per_epoch=391)"
    )


@every_schedule
def test_copies_are_equal_and_hash_alike(schedule):
    schedule(3)  # whatever a call caches is no part of the value
    copies = [
        copy.copy(schedule),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
        dataclasses.replace(schedule),
        jax.tree.unflatten(jax.tree.structure(schedule), jax.tree.leaves(schedule)),
    ]
    for other in copies:
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert other(7) == schedule(7)
        assert pickle.dumps(other) == pickle.dumps(schedule)


def test_schedules_that_differ_are_not_equal():
    assert len(set(CONCRETE)) == len(CONCRETE)
    assert js.StepLR(0.1, 5) != js.StepLR(0.1, 5, gamma=0.2)
    assert js.MultiStepLR(0.1, [1, 2]) == js.MultiStepLR(0.1, [2, 1])
    assert js.MultiStepLR(0.1, [1, 2]) != js.MultiStepLR(0.1, [1, 2, 2])


def test_real_arguments_are_stored_as_float_and_counts_as_int():
    schedule = js.StepLR(1, np.uint8(3), gamma=np.float32(0.5))
    stored = (schedule.base_lr, schedule.step_size, schedule.gamma)
    assert [(type(v), v) for v in stored] == [(float, 1.0), (int, 3), (float, 0.5)]
    for milestones in ((30, 80), [80, 30], range(30, 81, 50), iter([30, 80]), np.array([30, 80])):
        assert js.MultiStepLR(0.1, milestones).milestones == (30, 80)


def test_a_schedule_cannot_be_changed():
    schedule = js.StepLR(0.1, 5)
    for name in ("gamma", "gama", "_is_factor"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"assign to field '{name}'"):
            setattr(schedule, name, 0.1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"delete field '{name}'"):
            delattr(schedule, name)
    assert schedule == js.StepLR(0.1, 5)


def test_a_schedule_class_is_final():
    with pytest.raises(TypeError, match="StepLR is final"):
        type("Mine", (js.StepLR,), {})


def test_optax_does_not_take_a_schedule_for_a_stateful_one():
    for schedule in SCHEDULES:
        assert not isinstance(schedule, optax.schedules.StatefulSchedule)


def count_traces(monkeypatch):
    traces, value = [], js.StepLR._value
    monkeypatch.setattr(
        js.StepLR, "_value", lambda self, *args: traces.append(self) or value(self, *args)
    )
    return traces


def test_equal_schedules_share_one_compiled_program(monkeypatch):
    traces = count_traces(monkeypatch)
    one, two = jax.jit(js.StepLR(0.7, 11)), jax.jit(js.StepLR(0.7, 11))
    assert one(12) == two(12) == np.float32(0.7 * 0.1)
    assert len(traces) == 1


def test_outside_of_jit_schedules_that_hold_arrays_share_one_compiled_program(monkeypatch):
    traces, lrs = count_traces(monkeypatch), np.array([0.1, 0.3])
    for size in (11, 5):
        schedule = js.per_epoch(js.StepLR(lrs, jnp.int32([size, 7]), gamma=0.3), 2)
        for count in (30, np.int64(30), jnp.int32(30)):
            want = [js.StepLR(lr, step, 0.3)(15) for lr, step in zip(lrs, (size, 7), strict=True)]
            np.testing.assert_array_equal(schedule(count), np.float32(want))
    assert len(traces) == 1 + 2 * 3 * 2  # and those of `want`
    with jax.enable_x64(True):  # the doubles that they hold stay doubles
        np.testing.assert_allclose(schedule(30), want, rtol=1e-13)


@pytest.mark.parametrize("lrs", [[0.5, 0.3], jnp.float32([0.5, 0.3])])
def test_without_jit_it_is_the_same(lrs):
    with jax.disable_jit():
        value = js.RecordedLR(lrs)(jnp.int32(1))
    assert (value, value.dtype, value.weak_type) == (np.float32(0.3), jnp.float32, True)


@pytest.mark.parametrize("kind", [np.array, jnp.float32])
def test_a_recording_in_a_composition_that_holds_arrays(kind):
    recorded = js.RecordedLR(kind([0.5, 0.25]))
    schedule = js.SequentialLR([js.StepLR(jnp.float32(0.75), 9), js.per_epoch(recorded, 2)], [1])
    assert [schedule(count) for count in range(5)] == [0.75, 0.5, 0.5, 0.25, 0.25]
    assert hash(schedule) == hash(jax.tree.map(lambda x: x, schedule))


def test_integers_as_learning_rates_are_real_numbers():
    one, three, zero = np.array(1), jnp.uint8(3), jnp.int32([0])
    count = jnp.uint32(1)
    for schedule, value in (
        (js.CosineAnnealingLR(one, jnp.int32(2), three), 2.0),
        (js.SWALR(one, three, 2), 2.0),
        (js.CyclicLR(three, one, 2), 2.0),
        (js.ChainedScheduler([js.LinearLR(three, zero, one, 2)]), 1.5),
        (js.clamp(js.SWALR(zero, one, 2), 5), 0.5),
        (js.OneCycleLR(three, 3, div_factor=one, pct_start=0.0), 0.75),
    ):
        np.testing.assert_allclose(schedule(count), value, rtol=1e-3)
        np.testing.assert_array_equal(schedule(1), schedule(count))


def test_new_numbers_in_a_schedule_argument_retrace_nothing(monkeypatch):
    traces = count_traces(monkeypatch)
    call = jax.jit(lambda schedule, count: schedule(count))
    values = [call(js.StepLR(lr, size), 8) for lr, size in ((0.1, 5), (0.2, 7), (0.3, 2))]
    assert len(traces) == 1
    np.testing.assert_allclose(values, [0.1 * 0.1, 0.2 * 0.1, 0.3 * 0.1**4], rtol=2e-7)


def test_key_paths_name_the_arguments():
    schedule = js.per_epoch(js.StepLR(0.1, 2), 3)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(schedule)]
    assert paths == [
        ".schedule.base_lr", ".schedule.step_size", ".schedule.gamma", ".steps_per_epoch"
    ]  # fmt: skip


def test_holding_arrays_a_python_count_answers_as_a_jax_count():
    schedules = (
        js.StepLR(np.float64(0.5), np.array(5), gamma=0.5),
        js.StepLR(jnp.float32(0.5), 5, gamma=0.5),
        js.MultiStepLR(0.5, (jnp.int32(5),), gamma=jnp.float32(0.5)),
        js.per_epoch(js.StepLR(0.5, 1, gamma=0.5), jnp.array([5, 7])),
    )

    def values(schedules, count):
        return [
            schedule(kind(count)) for schedule in schedules for kind in (int, np.int64, jnp.int32)
        ]

    for count, expected in ((4, 0.5), (5, 0.25)):
        jitted = jax.jit(values, static_argnums=(0, 1))(schedules, count)
        for value in [*values(schedules, count), *jitted]:
            assert isinstance(value, jax.Array)
            assert (value.shape, value.dtype, value.weak_type) == ((), jnp.float32, True)
            assert value == expected
    np.testing.assert_array_equal(schedules[0](np.array([4, 5])), [0.5, 0.25])


def test_importing_imports_no_tool_and_no_extra_and_host_calls_start_no_jax_backend():
    program = """
import sys, jax, numpy as np, jaxsched as js
assert not [name for name in sys.modules if name.startswith("jaxsched._desk")]
extras = {"flax", "matplotlib", "orbax", "sklearn", "tqdm", "torch", "pytest"} & set(sys.modules)
assert not extras, extras
cosine = js.smooth_epochs(js.CosineAnnealingLR(0.1, 5), 3)
for s in (js.StepLR(0.1, 5), js.per_epoch(js.MultiStepLR(0.1, [5]), [5, 2]), cosine):
    s(7), s(np.arange(9))
assert not jax._src.xla_bridge._backends
js.check(js.StepLR(0.1, 30), 90)
assert "jaxsched._desk.check.check" in sys.modules
assert not {"matplotlib", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_recordings_values_cannot_be_changed():
    given = np.array([0.1, 0.3])
    schedule = js.RecordedLR(given)
    with pytest.raises(ValueError, match="read-only"):
        schedule.values[0] = 0.2
    given[0] = 9.0  # the caller's own
    assert schedule(0) == 0.1


# -- a function that JAX cannot trace ------------------------------------------------------------


def test_a_horizon_tabulates_any_python_function():
    schedule = js.LambdaLR(0.5, warmup, horizon=8)
    expected = [0.5 * warmup(min(count, 7)) for count in range(12)]
    assert [schedule(count) for count in range(12)] == expected
    assert schedule(np.arange(12)).tolist() == expected
    assert jax.jit(schedule)(jnp.arange(12)).tolist() == np.float32(expected).tolist()
    swept = jax.jit(jax.vmap(lambda lr: js.LambdaLR(lr, warmup, horizon=8)(4)))
    assert (
        swept(jnp.array([0.5, 1.0])).tolist() == np.float32([expected[4], 2 * expected[4]]).tolist()
    )


def test_the_function_is_called_once_for_each_count_before_the_horizon():
    called = []

    def lr_lambda(count):
        called.append(count)
        assert type(count) is int
        return 1.0

    schedule = js.LambdaLR(0.5, lr_lambda, horizon=5)
    for count in (0, 3, 99, np.arange(9), jnp.arange(9)):
        schedule(count)
    assert called == [*range(5)]


def test_a_horizon_is_part_of_the_value():
    assert js.LambdaLR(0.5, warmup) == js.LambdaLR(0.5, warmup, horizon=None)
    assert js.LambdaLR(0.5, warmup, 5) != js.LambdaLR(0.5, warmup, 6)
    assert repr(js.LambdaLR(0.5, warmup, 5)).endswith(", horizon=5)")
    with pytest.raises(ValueError, match="`schedule` must be smooth between epochs"):
        js.smooth_epochs(js.LambdaLR(0.5, warmup, 5), 3)


# -- with arrays in the place of numbers ---------------------------------------------------------


@pytest.mark.parametrize("schedule", [*SHORT, *OF_FUNCTIONS], ids=lambda s: type(s).__name__)
def test_arrays_hash_by_shape_and_dtype_and_compare_by_identity(schedule):
    arrays = traced(schedule)
    leaves, structure = jax.tree.flatten(arrays)
    same = structure.unflatten(leaves)
    assert arrays == same and hash(arrays) == hash(same)
    other = structure.unflatten([jnp.array(x) for x in leaves])  # equal ones, in other arrays
    assert arrays != other and hash(arrays) == hash(other)
    assert arrays != schedule and schedule != arrays
    wider = jax.tree.map(lambda x: jnp.stack([x, x]), arrays)
    assert len({arrays, same, other, schedule, wider}) == 4
    assert (arrays != wider) is True


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [*SHORT, *MORE, *OF_FUNCTIONS], ids=lambda s: type(s).__name__)
def test_with_arrays_it_is_the_same_outside_of_jit(schedule):
    counts, of_arrays = np.arange(-2, 24), [traced(schedule)]
    of_numbers = [schedule]
    if in_epochs(schedule):
        of_numbers.append(js.per_epoch(schedule, [2, 3]))
        of_arrays.append(js.per_epoch(traced(schedule), [2, 3]))
    for arrays, numbers in zip(of_arrays, of_numbers, strict=True):
        for count in (counts, counts.astype(np.int8), 20):
            np.testing.assert_allclose(arrays(count), numbers(count), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [jnp.float32, slow_case(np.array)])
def test_a_schedule_with_an_array_goes_where_functions_go(kind):
    schedule = js.StepLR(kind(0.5), 2, gamma=0.5)

    def loss(base_lr, count):
        inner = js.MultiStepLR(base_lr, (jnp.int32(1), 3), gamma=0.5)
        return jax.checkpoint(inner)(count) + jax.lax.cond(count > 9, schedule, inner, count)

    @jax.jit
    def run(count):
        return [
            schedule(count),
            jax.jit(schedule)(count),
            jax.checkpoint(schedule)(count),
            jax.lax.cond(count > 2, schedule, js.StepLR(kind(0.25), 1), count),
            jax.lax.switch(1, [js.StepLR(0.25, 1), schedule], count),
            jax.vmap(schedule)(jnp.arange(4)),
            jax.grad(loss)(jnp.float32(1), count),
        ]

    *values, mapped, gradient = run(jnp.int32(3))
    assert values == [0.25] * 5 and gradient == 0.5
    assert mapped.tolist() == [0.5, 0.5, 0.25, 0.25]


def test_two_arrays_are_two_programs():
    one, two = js.StepLR(jnp.float32(0.5), 2), js.StepLR(jnp.float32(0.25), 2)
    assert (jax.jit(one)(0), jax.jit(two)(0), jax.jit(one)(0)) == (0.5, 0.25, 0.5)
    recorded = [js.RecordedLR(jnp.float32([x, 0.0])) for x in (0.5, 0.25)]
    assert [jax.jit(r)(0) for r in recorded] == [0.5, 0.25]
    assert len({*recorded, recorded[0]}) == 2
    assert repr(recorded[0]) == f"RecordedLR({recorded[0].values!r})"


@pytest.mark.slow
def test_a_program_that_lives_to_the_end_of_python_ends_without_a_word():
    code = """
import jax.numpy as jnp, jaxsched as js
from jaxsched._base.schedule import _recent_programs
schedule = js.LambdaLR(0.5, lambda count: 0.5**count)
schedule(jnp.int32(4))
_recent_programs.clear()  # as after more schedules than it holds
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
