"""What a schedule is on a device: a table where it is short, 32 bits where they suffice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxsched as js
from jaxsched._base.jax_ops import JaxOps
from jaxsched._base.ops import NUMPY
from jaxsched._base.table import Course, tabulate
from tests.marks import slow_case
from tests.schedules import LONG, MORE, OF_FUNCTIONS, SHORT, in_epochs, inverse, traced

PLACES = 4096
by_class = lambda s: type(s).__name__  # noqa: E731


def program(*schedules, dtypes=("int32",)):
    call = jax.jit(lambda counts: [[*map(schedule, counts)] for schedule in schedules])
    return call.lower([jnp.zeros((), dtype) for dtype in dtypes]).as_text()


def is_table(schedule):
    return "f64" not in program(schedule)


TABLES = [s for s in SHORT if not isinstance(s, js.LambdaLR)]
TABLES += [
    js.StepLR(0.1, 10**6, 0.5),
    js.StepLR(0.1, 7, 10.0),
    js.StepLR(0.1, 7, 0.0),
    js.StepLR(0.0, 7),
    js.MultiStepLR(0.1, [59_999, 80_001]),
    js.MultiStepLR(0.1, [1000 * i + i * i for i in range(64)]),
    js.MultiStepLR(0.1, [0, 70, 70, 90, 30_001, 30_023]),
    js.MultiStepLR(0.1, [100, 30_000, 60_007]),
    js.CyclicLR(0.1, 0.3, 4, mode="triangular2"),
    js.CyclicLR(0.1, 0.3, 4, mode="exp_range", gamma=0.9),
    js.CyclicLR(0.1, 0.3, 4, mode="exp_range", gamma=1.0),
    js.OneCycleLR(0.1, 90, anneal_strategy="linear", three_phase=True),
    js.SequentialLR([js.LinearLR(0.1, total_iters=5), js.CosineAnnealingLR(0.1, 90)], [5]),
    js.SequentialLR([js.LinearLR(0.1, total_iters=500), js.MultiStepLR(0.1, [30_000])], [500]),
    js.clamp(js.CosineAnnealingWarmRestarts(0.1, 10, 2), 310),
    js.clamp(js.StepLR(0.1, 30_000), 90_000),
]
TABLES += [js.per_epoch(s, 391) for s in TABLES[len(SHORT) :: 2] if in_epochs(s)]
TABLES += [js.per_epoch(js.CosineAnnealingLR(0.1, 90), [391, 390, 389])]


@pytest.mark.parametrize("dtype", ["int32", slow_case("uint32")])
def test_a_short_schedule_is_a_table_and_to_the_last_bit_the_hosts(dtype):
    rows = np.concatenate([np.arange(9000), 391 * np.arange(9000)])
    counts = np.unique(np.concatenate([rows, rows - 1, 2**30 + rows, [2**31 - 1]]))
    counts = counts[(counts >= 0) & (counts < 2**31)]
    counts = jnp.asarray(counts, dtype)
    program = jax.jit(lambda counts: [schedule(counts) for schedule in TABLES]).lower(counts)
    assert "f64" not in program.as_text(), [s for s in TABLES if not is_table(s)]
    for schedule, got in zip(TABLES, program.compile()(counts), strict=True):
        with np.errstate(over="ignore"):
            expected = schedule(np.asarray(counts)).astype(np.float32)
        np.testing.assert_array_equal(got, expected, err_msg=repr(schedule))


@pytest.mark.parametrize(
    "build",
    [
        lambda n: js.LinearLR(0.1, total_iters=n - 1),
        lambda n: js.PolynomialLR(0.1, n - 1),
        lambda n: js.SWALR(0.1, 0.01, n - 1),
        lambda n: js.OneCycleLR(0.1, n),
        lambda n: js.CosineAnnealingWarmRestarts(0.1, n),
        lambda n: js.clamp(js.CosineAnnealingLR(0.1, 10**6), n - 1),
        lambda n: js.ChainedScheduler([js.LinearLR(0.1, total_iters=n - 1), js.StepLR(0.1, 9)]),
    ],
)
def test_there_are_at_most_4096_places(build):
    assert is_table(build(PLACES))
    assert not is_table(build(PLACES + 1))


def test_all_short_members_but_the_last_are_one_table():
    def size(number):
        members = [*(js.LinearLR(0.1 * i, total_iters=7) for i in range(1, number)), last]
        return program(js.SequentialLR(members, [*range(10, 10 * number, 10)])).count("\n")

    for last in (js.CosineAnnealingLR(0.1, 90), js.CosineAnnealingLR(0.1, 10**6)):
        assert size(20) == size(3)


def test_the_last_place_is_the_one_that_stays():
    for schedule in (js.LinearLR(0.1, total_iters=4095), js.PolynomialLR(0.1, 4095)):
        got = jax.jit(schedule)(jnp.array([4094, 4095, 4096, 2**31 - 1]))
        np.testing.assert_array_equal(got, schedule(np.array([4094, 4095, 4095, 4095])).astype("f"))


def test_a_decay_stays_where_its_dtype_ends():
    for gamma in (0.5, 0.9, 3.0):
        for x64 in (False, True):
            with jax.enable_x64(x64), np.errstate(over="ignore"):
                schedule = js.StepLR(0.1, 2, gamma)
                counts = np.arange(30_000)
                got = np.asarray(jax.jit(schedule)(counts))
                expected, tiny = schedule(counts).astype(got.dtype), np.finfo(got.dtype).tiny
                np.testing.assert_allclose(got, expected, rtol=1e-12, atol=tiny)


def test_a_recording_of_any_length_is_a_table():
    values = np.random.default_rng(0).uniform(0, 1, 50_000)
    schedule = js.RecordedLR(values)
    assert is_table(schedule)
    got = jax.jit(schedule)(jnp.arange(50_003))
    np.testing.assert_array_equal(got, values[np.minimum(np.arange(50_003), 49_999)].astype("f"))


def test_a_users_function_is_traced_and_not_called_on_the_host():
    for schedule in (
        js.LambdaLR(0.1, inverse),
        js.clamp(inverse, 5),
        js.per_epoch(inverse, 5),
        js.SequentialLR([inverse, js.LinearLR(0.1)], [5]),
    ):
        assert not is_table(schedule)


def test_equal_programs_for_equal_schedules():
    # The table is part of the program, not of the schedule's value.
    schedule = js.CosineAnnealingLR(0.1, 100)
    before = jax.tree.leaves(schedule), hash(schedule), repr(schedule)
    text = program(schedule)
    assert (jax.tree.leaves(schedule), hash(schedule), repr(schedule)) == before
    assert program(js.CosineAnnealingLR(0.1, 100)) == text


ALL = [s for s in SHORT + LONG + MORE if not any(part._is_traced for part in s._walk())]


def with_64_bits(schedules, **options):
    """Those whose programs have integers of 64 bits."""
    has_some = "i64>" in program(*schedules, **options)  # or "ui64>"
    return has_some and [s for s in schedules if "i64>" in program(s, **options)]


def test_integers_have_32_bits():
    assert not with_64_bits(ALL, dtypes=["int8", "uint32"])
    some = [js.MultiStepLR(0.1, [2, 5000]), js.StepLR(0.1, 3, gamma=1 - 1e-7)]
    assert not with_64_bits(some, dtypes=["uint8", "int16", "uint16", "int32"])


def test_integers_have_32_bits_where_numbers_are_traced():
    schedules = [s for s in ALL if jax.tree.leaves(s) and not isinstance(s, js.RecordedLR)]

    def text(schedules):
        call = jax.jit(lambda schedules, count: [schedule(count) for schedule in schedules])
        return call.lower([*map(traced, schedules)], jnp.int32(0)).as_text()

    assert "i64>" not in text(schedules), [s for s in schedules if "i64>" in text([s])]


def test_where_numbers_do_not_fit_64_bits_are_used():
    largest = 2**31 - 1
    expected = {  # there
        js.StepLR(1.0, 2**40, 0.5): 1.0,
        js.LinearLR(1.0, 0.5, 1.0, 2**40): 0.5 + 2**-10,
        js.per_epoch(js.StepLR(1.0, 1, 0.5), [2**30] * 5): 0.5,
        js.SequentialLR([js.ConstantLR(1.0), js.StepLR(9.0, 5)], [2**40]): 1.0,
        js.CyclicLR(0.0, 1.0, largest, largest): 1.0,
        js.CosineAnnealingLR(1.0, largest): 0.0,
        js.CosineAnnealingWarmRestarts(1.0, 2**30 - 1, 2): 0.4999999992685,
        js.MultiStepLR(1.0, [largest, 2**31], 0.5): 0.5,
        js.MultiStepLR(1.0, [3, largest], 0.5): 0.25,
    }
    counts = [jnp.asarray(largest, dtype) for dtype in ("int32", "uint32")]
    values = jax.jit(lambda counts: [[*map(s, counts)] for s in expected])(counts)
    for (schedule, value), got in zip(expected.items(), values, strict=True):
        assert got == [np.float32(value)] * 2, schedule
        assert schedule(largest) == pytest.approx(value, rel=1e-9), schedule


def test_traced_sizes_up_to_the_largest_int32():
    largest = jnp.int32(2**31 - 1)
    for build in (
        lambda n: js.CyclicLR(0.0, 1.0, n, n),
        lambda n: js.CosineAnnealingLR(1.0, n),
        lambda n: js.LinearLR(1.0, 0.5, 1.0, n),
        lambda n: js.SWALR(1.0, 0.5, n),
    ):
        counts = np.array([0, 1, 2**30, 2**31 - 2, 2**31 - 1, 2**32 - 1], np.uint32)
        got = jax.jit(lambda n, c, build=build: build(n)(c))(largest, counts)
        np.testing.assert_array_max_ulp(np.asarray(got), build(2**31 - 1)(counts).astype("f"))


def test_an_optax_schedule_is_adapted_under_strict_promotion():
    import optax

    schedule = js.per_epoch(optax.cosine_decay_schedule(0.1, 90), 3)
    with jax.numpy_dtype_promotion("strict"):
        got = jax.jit(schedule)(jnp.int32(150))
        assert got == np.float32(schedule(150))


@pytest.mark.parametrize(
    "schedule",
    [s for s in OF_FUNCTIONS if any(part._is_traced for part in s._walk())],
    ids=by_class,
)
def test_a_users_function_has_64_bits(schedule):
    assert "i64>" in program(schedule) or isinstance(schedule, js.smooth_epochs)  # is given floats


# -- tabulate --------------------------------------------------------------------------------------


def table_of(starts, period=0, most=PLACES):
    """The table of what has at each count the number of its place in the course."""

    def values_at(counts):
        counts = counts % period if period else counts
        return np.searchsorted(np.array(starts), counts, side="right") - 1.0

    return tabulate(Course(starts, period), values_at, most), values_at


REGULAR = {  # a course, and the step and the number of its places
    "one place": ([0], 0, 1, 1),
    "each count": (range(5), 0, 1, 5),
    "each third": (range(0, 15, 3), 0, 3, 5),
    "a common divisor": ([0, 400, 600], 0, 200, 4),
    "twice at one count": ([0, 4, 4, 6], 0, 2, 4),
    "at once": ([0, 0, 104_729], 0, 104_729, 2),
    "a period": (range(4), 4, 1, 4),
    "a longer period": (range(0, 6, 3), 6, 3, 2),
    "a period and another divisor": ([0, 4], 6, 2, 3),
}
IRREGULAR = {  # a course, and the number of its places
    "no common divisor": ([0, 7919, 104_729], 0, 3),
    "twice at one count": ([0, 7919, 7919, 104_729], 0, 4),
    "a period": ([0, 7919], 104_729, 2),
}


@pytest.mark.parametrize("name", REGULAR)
def test_regular_changes_are_looked_up_by_a_quotient(name):
    starts, period, step, places = REGULAR[name]
    table, values_at = table_of(starts, period)
    assert (table.step, table.starts, table.period) == (step, (), period)
    assert len(table.values) == places
    counts = np.arange(50 + 3 * step * places)
    np.testing.assert_array_equal(table.look_up(counts, NUMPY), values_at(counts))


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_changes_are_looked_up_by_a_search(name):
    starts, period, places = IRREGULAR[name]
    table, values_at = table_of(starts, period)
    assert (table.starts, table.period, len(table.values)) == (tuple(starts), period, places)
    counts = np.unique([max(s + by, 0) for s in (*starts, period, 2 * period) for by in (-1, 0, 1)])
    np.testing.assert_array_equal(table.look_up(counts, NUMPY), values_at(counts))


def test_what_has_too_many_places_or_too_large_counts_is_no_table():
    assert table_of(range(5), most=5)[0].starts == ()  # regular, and not searched
    assert table_of(range(6), most=5)[0] is None
    assert table_of(range(6), most=np.inf)[0] is not None
    primes = [0, 7919, 104_729, 1_299_709]
    assert table_of(primes, most=4)[0] is not None
    assert table_of(primes, most=3)[0] is None
    assert table_of([0, 2**31 - 1])[0] is not None
    assert table_of([0, 2**31])[0] is None
    assert table_of(range(2), 2**31)[0] is None


@pytest.mark.parametrize("number", [6, slow_case(150)])
def test_a_search_among_boundaries_is_numpys(number):
    places = st.integers(0, 70) | st.integers(0, 100_000) | st.sampled_from([2**31 - 2, 2**31 - 1])
    fuzz = given(st.lists(places, max_size=60), st.integers(0, 2))
    settings(max_examples=number, deadline=None)(fuzz(is_numpys))()


def is_numpys(boundaries, repeats):
    boundaries = tuple(sorted(boundaries * (repeats + 1)))
    near = [0, 1, 2**31 - 1, *(b + d for b in boundaries for d in (-1, 0, 1))]
    counts = np.unique(np.clip(near, 0, 2**31 - 1)).astype(np.int32)
    counts = np.resize(counts, 600)  # one shape for all
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        got = jax.jit(lambda c: JaxOps(np.float32).passed(boundaries, c))(counts)
    np.testing.assert_array_equal(got, np.searchsorted(boundaries, counts, side="right"))
