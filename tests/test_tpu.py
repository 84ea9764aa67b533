"""The TPU's own program, by its own compiler: how large it is, and what it computes.

No TPU is needed: the compiler takes one that is described, and the CPU runs what it gives.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest

import jaxsched as js
from benchmarks import accelerators, accuracy
from tests.schedules import LONG, SHORT, in_epochs
from tests.test_elementary import CASES
from tests.traces import cases

pytestmark = pytest.mark.tpu
by_class = lambda s: type(s).__name__  # noqa: E731

TABLES = [s for s in SHORT if not isinstance(s, js.LambdaLR)]
TABLES += [js.per_epoch(s, 391) for s in TABLES if in_epochs(s)]
TABLES += [
    js.StepLR(0.1, 30),
    js.StepLR(0.1, 10, 0.99),
    js.ExponentialLR(0.1, 0.999),
    js.per_epoch(js.ExponentialLR(0.1, 0.99), 391),
    js.MultiStepLR(0.1, [30_000, 60_000, 80_000]),
    js.MultiStepLR(0.1, [1000 * i + i * i for i in range(64)]),
    js.per_epoch(js.CosineAnnealingLR(0.1, 90, 1e-5), 2503),
    js.per_epoch(js.SequentialLR([js.LinearLR(0.1), js.CosineAnnealingLR(0.1, 85)], [5]), 391),
    js.per_epoch(js.CosineAnnealingLR(0.1, 90), [391, 390] * 45),
    js.SequentialLR([js.LinearLR(0.1, total_iters=500), js.MultiStepLR(0.1, [30_000])], [500]),
    js.RecordedLR(np.linspace(0, 1, 100_000)),
]
OTHERS = [s for s in LONG if not isinstance(s, js.LambdaLR)]
OTHERS += [js.CyclicLR(0.1, 0.3, 5000, mode="triangular2")]
OTHERS += [
    js.smooth_epochs(s, 391) for s in (js.OneCycleLR(0.1, 90), js.CosineAnnealingLR(0.1, 90))
]


@pytest.mark.parametrize("schedule", TABLES, ids=by_class)
def test_a_table_adds_at_most_100_instructions(schedule):
    assert accelerators.added_on_tpu(schedule) <= 100


@pytest.mark.parametrize("schedule", OTHERS, ids=by_class)
def test_a_formula_adds_at_most_700_and_a_fractional_power_1000(schedule):
    most = 1000 if isinstance(schedule, js.PolynomialLR) else 700
    assert accelerators.added_on_tpu(schedule) <= most


def test_a_training_step_takes_as_long_as_with_a_constant():
    constant, ours = (
        accelerators.estimate(accelerators.train_step(lr, accelerators.tpu()))
        for lr in (0.05, js.per_epoch(js.MultiStepLR(0.05, [15, 25]), 22))
    )
    assert ours <= 1.02 * constant


def assert_torchs(scores):
    total = accuracy.add(scores)
    assert total.same >= 0.9999 * total.values
    assert total.worst <= 1


@pytest.mark.parametrize("class_name", [c for c in cases.CASES if c != "LambdaLR"])
def test_it_computes_torchs_float32(class_name):
    assert_torchs(accelerators.scores_on_tpu(class_name))


# Numbers that are traced are two float32 there. Below 1e-30 the second one is lost.
@pytest.mark.parametrize("class_name", [c for c in cases.CASES if c != "LambdaLR"])
def test_it_computes_torchs_float32_of_traced_numbers(class_name):
    least = 1e-30 if class_name in ("MultiplicativeLR", "ChainedScheduler") else 0
    assert_torchs(accelerators.scores_on_tpu(class_name, accelerators.on_tpu_traced, least))


@pytest.mark.parametrize("schedule", OTHERS, ids=by_class)
def test_a_formula_is_the_hosts_to_the_last_bit(schedule):
    counts = np.random.default_rng(0).integers(0, 2 * 10**5, 4000)
    counts = np.unique([*counts, *range(100), *range(99_900, 100_100)]).astype(np.int32)
    expected = schedule(counts).astype(np.float32)
    (got,) = accelerators.run_on_cpu(
        accelerators.compile_for(accelerators.tpu(), schedule, counts)
    )(counts)
    ordinary = expected >= np.finfo(np.float32).tiny
    np.testing.assert_array_max_ulp(got[ordinary], expected[ordinary], maxulp=1)
    assert (got == expected)[ordinary].mean() >= 0.9999
    assert (got[~ordinary] <= np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize(("name", "bound"), [("exp2", -45), ("log2", -45), ("half_wave", -44)])
def test_the_error_of_a_function_is_within_its_bound(name, bound):
    function, exact, _, arguments, _ = CASES[name]
    # What two float32 hold: the second one is 2 ** 24 times smaller, at least.
    if name == "exp2":
        arguments = arguments[abs(arguments) < 80]
    if name == "log2":
        arguments = arguments[arguments > 2**-80]
    high = arguments.astype(np.float32)
    low = (arguments - high).astype(np.float32)

    def program(high, low):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            value = function(high.astype(jnp.float64) + low.astype(jnp.float64))
            first = value.astype(jnp.float32)
            return first, (value - first.astype(jnp.float64)).astype(jnp.float32)

    compiled = accelerators.compile_for(accelerators.tpu(), program, high, low)
    first, second = accelerators.run_on_cpu(compiled)(high, low)
    with mpmath.workprec(140):
        values = map(np.ndarray.tolist, (high, low, first, second))
        for x, rest, got, further in zip(*values, strict=True):
            e = exact(mpmath.mpf(x) + rest)
            assert abs(mpmath.mpf(got) + further - e) <= mpmath.mpf(2) ** bound * abs(e), x


def test_optaxs_late_boundary_is_in_its_program_too():
    optaxs = optax.exponential_decay(0.1, 1171, 0.1, staircase=True)
    text = accelerators.compile_for(accelerators.tpu(), optaxs, np.int32(0)).as_text()
    assert "constant(0.000853970938)" in text  # 1 / 1171, which the count is multiplied by
    with jax.numpy_dtype_promotion("standard"):
        counts = np.arange(1171 * 40, dtype=np.int32)
        at = counts[1171::1171]
        ours, theirs = (
            accelerators.run_on_cpu(accelerators.compile_for(accelerators.tpu(), f, counts))(
                counts
            )[0][at]
            for f in (jax.vmap(js.StepLR(0.1, 1171)), jax.vmap(optaxs))
        )
    expected = js.StepLR(0.1, 1171)(at).astype(np.float32)
    assert (ours == expected).all()
    assert not np.allclose(theirs, expected, rtol=0.5)
