"""2 ** y, log2(x) and the half wave, against mpmath, and their derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import jaxsched as js
from jaxsched._base import elementary
from tests.marks import slow_case

RANDOM = np.random.default_rng(0)
CASES = {
    "exp2": (
        lambda y: elementary.exp2(y, np.float64),
        lambda y: mpmath.mpf(2) ** y,
        lambda y: mpmath.log(2) * mpmath.mpf(2) ** y,
        np.concatenate(
            [
                *(RANDOM.uniform(-size, size, 800) for size in (1, 30, 127, 1020)),
                np.arange(-126, 127) / 1.0,
                np.arange(-2048, 2048, 7) / 2048,
            ]
        ),
        2**-45,
    ),
    "log2": (
        elementary.log2,
        lambda x: mpmath.log(x, 2),
        lambda x: 1 / (x * mpmath.log(2)),
        np.concatenate(
            [
                10.0 ** RANDOM.uniform(-30, 30, 800),
                RANDOM.uniform(0.5, 2, 800),
                *(1 + sign * 10.0 ** RANDOM.uniform(-15, -1, 400) for sign in (-1, 1)),
                [1.0, 0.5, 2.0, 2.0**0.5, 0.5**0.5, 2.0**-126, 2.0**125],
            ]
        ),
        2**-48,
    ),
    "half_wave": (
        elementary.half_wave,
        lambda x: mpmath.sin(mpmath.pi / 2 * x) ** 2,
        lambda x: mpmath.pi / 2 * mpmath.sin(mpmath.pi * x),
        np.concatenate(
            [
                RANDOM.uniform(0, 1, 1600),
                10.0 ** RANDOM.uniform(-9, 0, 800),
                1 - 10.0 ** RANDOM.uniform(-9, -1, 400),
                np.arange(0, 4097) / 4096,
            ]
        ),
        2**-44,
    ),
}
every_function = pytest.mark.parametrize("name", CASES)


def in_double(function):
    """As JaxOps calls it, compiled."""

    def call(x):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            return np.asarray(jax.jit(function)(jnp.asarray(x, jnp.float64)))

    return call


def relative_error(got, exact, arguments):
    """The largest, and 0 where both are 0."""
    worst = 0
    with mpmath.workprec(140):
        for g, x in zip(got.tolist(), arguments.tolist(), strict=True):
            e = exact(mpmath.mpf(x))
            worst = max(worst, abs((g - e) / e) if e else abs(g))
    return float(worst)


@every_function
def test_the_error_is_within_its_bound(name):
    function, exact, _, arguments, bound = CASES[name]
    assert relative_error(in_double(function)(arguments), exact, arguments) <= bound


@every_function
def test_the_derivative_is_right(name):
    function, _, slope, arguments, _ = CASES[name]
    if name == "half_wave":  # whose slope is 0 at both ends
        arguments = arguments[(arguments > 1e-3) & (arguments < 1 - 1e-3)]
    arguments = arguments[::4]
    got = in_double(jax.vmap(jax.grad(function)))(arguments)
    assert relative_error(got, slope, arguments) <= (2**-22 if name == "half_wave" else 2**-40)


def test_exact_values():
    x = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(in_double(elementary.half_wave)(x), x, rtol=1e-15)
    assert in_double(elementary.half_wave)(x)[[0, 2]].tolist() == [0, 1]
    assert in_double(elementary.log2)(np.array([1.0, 2.0, 0.25])).tolist() == [0, 1, -2]
    y = np.arange(-126.0, 128)
    for dtype in (np.float32, np.float64):
        got = in_double(lambda y, dtype=dtype: elementary.exp2(y, dtype))(y)
        np.testing.assert_array_equal(got, np.exp2(y))


def test_outside_of_its_range_a_power_is_0_or_finite():
    for dtype, most in ((np.float32, 2.0**127), (np.float64, 2.0**1023)):
        got = in_double(lambda y, dtype=dtype: elementary.exp2(y, dtype))(
            np.array([-1e30, -1e4, 1e4, 1e30])
        )
        assert got.tolist() == [0, 0, most, most]


def test_the_logarithm_of_0_makes_every_power_of_it_0():
    log = in_double(elementary.log2)(np.array([0.0, 1e-300, np.inf]))
    assert log.tolist() == [elementary.LOG2_OF_ZERO] * 2 + [-elementary.LOG2_OF_ZERO]
    assert np.exp2(log[0] / 2) == 0


def finite_difference(function, x):
    """The derivative in double, of the host's formula."""
    step = 1e-6 * x
    return (function(x + step) - function(x - step)) / (2 * step)


DIFFERENTIATED = [  # a schedule of one number, the number, at which counts
    (lambda x: js.StepLR(x, 3, 0.7), 0.1, (0, 1, 7, 40)),
    (lambda x: js.StepLR(0.1, 3, x), 0.7, (0, 3, 7, 40)),
    (lambda x: js.MultiStepLR(0.1, [2, 5, 5], x), 0.3, (1, 2, 9)),
    (lambda x: js.ExponentialLR(0.1, x), 0.99, (0, 1, 70, 900)),
    (lambda x: js.ExponentialLR(0.1, x), 1.01, (0, 1, 70, 900)),
    (lambda x: js.LinearLR(0.1, x, 0.9, 10), 0.3, (0, 4, 9)),
    (lambda x: js.LinearLR(0.1, 0.3, x, 10), 0.9, (1, 4, 99)),
    (lambda x: js.PolynomialLR(0.1, 50, x), 1.7, (1, 20, 49)),
    (lambda x: js.PolynomialLR(x, 50, 0.9), 0.1, (1, 20, 49)),
    (lambda x: js.CosineAnnealingLR(x, 50, 0.01), 0.1, (0, 13, 49, 70)),
    (lambda x: js.CosineAnnealingLR(0.1, 50, x), 0.01, (1, 13, 50)),
    (lambda x: js.CosineAnnealingWarmRestarts(x, 5, 2), 0.1, (0, 7, 30)),
    (lambda x: js.CyclicLR(0.1, 0.3, 4, 5, "exp_range", x), 0.9, (1, 4, 30)),
    (lambda x: js.CyclicLR(0.1, x, 4, 5, "triangular2"), 0.3, (1, 4, 30)),
    (lambda x: js.OneCycleLR(x, 40), 0.1, (0, 11, 30)),
    (lambda x: js.SWALR(0.1, x, 40), 0.01, (1, 11, 50)),
    (lambda x: js.smooth_epochs(js.ExponentialLR(0.1, x), 7), 0.9, (1, 11, 50)),
    (lambda x: js.ChainedScheduler([js.LinearLR(x), js.StepLR(x, 3)]), 0.1, (1, 4, 9)),
]


@pytest.mark.parametrize(
    ("differentiated", "x64"),
    [
        (DIFFERENTIATED[::3], False),
        *(slow_case(DIFFERENTIATED, x64) for x64 in (False, True)),
    ],
    ids=["some", "all", "all under x64"],
)
def test_a_schedules_gradient_is_the_difference_quotient(differentiated, x64):
    def gradients(build, x, counts):
        return jax.vmap(jax.grad(lambda x, count: build(x)(count)), (None, 0))(x, counts)

    with jax.enable_x64(x64):
        numbers = [jnp.asarray(x) for _, x, _ in differentiated]
        counts = [jnp.array(counts) for *_, counts in differentiated]
        builds = [build for build, *_ in differentiated]
        all_got = jax.jit(lambda *xs: [*map(gradients, builds, *xs)])(numbers, counts)
    for (build, _, counts), x, got in zip(differentiated, numbers, all_got, strict=True):
        expected = [finite_difference(lambda x, c=c: build(x)(c), float(x)) for c in counts]
        # About 1e-10 of the value is a rounding error of the difference quotient.
        np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-9, err_msg=repr(build(0.5)))


@pytest.mark.slow
def test_a_gradient_needs_no_jit():
    """Of exp2 the derivative is written by hand."""
    got = jax.grad(lambda x: js.ExponentialLR(0.1, x)(jnp.int32(20)))(jnp.float32(0.75))
    expected = finite_difference(lambda x: js.ExponentialLR(0.1, x)(20), 0.75)
    np.testing.assert_allclose(got, expected, rtol=3e-7)
