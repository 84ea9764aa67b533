"""Bad input is refused at construction, by a message that names the argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.schedules import ARGUMENTS

REAL = [-1, -1e-9, np.nan, np.inf, -np.inf, None, "0.1", True, np.True_, [0.1], 1j, {}]
COUNT = [0, -3, 2.5, -5.0, np.nan, np.inf, None, "3", True, [5], np.float32(3.5), 2**62, 2.0**62]


def step(n):
    return js.StepLR(0.1, n)


def f(count):
    return 0.5


def with_argument(name, *classes):
    """(name, construct): each class with that argument set, the others being fine."""
    fine = {getattr(js, name): arguments for name, arguments in ARGUMENTS.items()}
    if name in ("epochs", "steps_per_epoch"):  # without another length
        fine[js.OneCycleLR] = {"max_lr": 0.1, "epochs": 3, "steps_per_epoch": 3}
    return [
        pytest.param(name, lambda v, c=c: c(**{**fine[c], name: v}), id=f"{c.__name__}.{name}")
        for c in classes or fine
        if name in c.__dataclass_fields__
    ]


RATES = [
    *with_argument("base_lr"),
    *with_argument("max_lr"),
    *with_argument("eta_min"),
    *with_argument("swa_lr"),
    *with_argument("gamma"),
    *with_argument("power"),
    *with_argument("base_momentum"),
    *with_argument("max_momentum"),
]


@pytest.mark.parametrize(("name", "construct"), RATES)
def test_a_rate_or_factor_is_a_finite_number_from_0(name, construct):
    for value in (-1e-9, np.inf, None):
        with pytest.raises((TypeError, ValueError), match=f"`{name}` must be a finite number >= 0"):
            construct(value)


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_what_is_no_finite_number_from_0_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="`gamma` must be a finite number >= 0"):
        js.StepLR(0.1, 5, value)


SIZES = [
    *with_argument("step_size"),
    *with_argument("total_iters"),
    *with_argument("T_max"),
    *with_argument("T_0"),
    *with_argument("T_mult"),
    *with_argument("step_size_up"),
    *with_argument("horizon", js.MultiplicativeLR),
    *with_argument("horizon", js.LambdaLR),
    *with_argument("epochs"),
    *with_argument("steps_per_epoch", js.OneCycleLR),
]


@pytest.mark.parametrize(("name", "construct"), SIZES)
def test_a_size_is_an_integer_from_1(name, construct):
    for value in (0, 2.5, "3"):
        with pytest.raises((TypeError, ValueError), match=f"`{name}` must be an integer >= 1"):
            construct(value)


@pytest.mark.parametrize("value", COUNT, ids=repr)
def test_what_is_no_integer_from_1_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="`step_size` must be an integer >= 1"):
        step(value)


@pytest.mark.parametrize(
    ("name", "construct"),
    [
        *with_argument("horizon", js.LambdaLR),
        ("epochs", lambda value: js.OneCycleLR(0.1, 9, epochs=value)),
        ("steps_per_epoch", lambda value: js.OneCycleLR(0.1, 9, steps_per_epoch=value)),
    ],
)
def test_some_sizes_may_be_left_out(name, construct):
    assert getattr(construct(None), name) is None


@pytest.mark.parametrize(("name", "construct"), SIZES)
def test_an_integral_float_is_a_count(name, construct):
    """A configuration file says `warmup_epochs = 5.0`."""
    for value in (5.0, np.float32(5), np.float64(5)):
        schedule = construct(value)
        assert schedule == construct(5)
        assert repr(schedule) == repr(construct(5))


@pytest.mark.parametrize("value", [-1, 2.5, "3", True], ids=repr)
@pytest.mark.parametrize(
    ("name", "construct"),
    [
        *with_argument("step_size_down"),
        *with_argument("anneal_epochs"),
        *with_argument("last_count"),
    ],
)
def test_some_sizes_may_be_0(name, construct, value):
    construct(0)
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be an integer >= 0"):
        construct(value)


@pytest.mark.parametrize(
    ("name", "construct", "fine", "wrong"),
    [
        (*param.values, fine, wrong)
        for param, fine, wrong in [
            (with_argument("factor")[0], [0, 1], [-0.1, 1.1, np.nan, None]),
            (with_argument("start_factor")[0], [0, 1e-9, 1], [-0.1, 1.1, np.nan]),
            (with_argument("end_factor")[0], [0, 1], [-0.1, 1.1, np.inf, "1"]),
            (with_argument("pct_start")[0], [0, 1, 0.3], [-0.1, 1.1, np.nan, None]),
            (with_argument("div_factor")[0], [0.5, 25], [0, -1, np.inf, 1e-320]),
            (with_argument("final_div_factor")[0], [0.5, 25], [0, -1, np.nan, 1e-320]),
            (with_argument("mode")[0], ["triangular2"], ["triangle", None, 2]),
            (with_argument("scale_mode")[0], ["iterations"], ["epochs", None]),
            (with_argument("anneal_strategy", js.OneCycleLR)[0], ["linear"], ["poly", None]),
            (with_argument("anneal_strategy", js.SWALR)[0], ["linear"], ["poly", None]),
            (with_argument("three_phase")[0], [True, False], [1, None, "yes"]),
            (with_argument("lr_lambda", js.LambdaLR)[0], [f], [None, 0.5, [f]]),
            (with_argument("lr_lambda", js.MultiplicativeLR)[0], [f], [None, 0.5]),
            (with_argument("scale_fn")[0], [f, None], [0.5, "f"]),
        ]
    ],
)
def test_arguments_with_bounds_of_their_own(name, construct, fine, wrong):
    for value in fine:
        construct(value)
    for value in wrong:
        with pytest.raises((TypeError, ValueError), match=f"`{name}`.* must "):
            construct(value)


@pytest.mark.parametrize(
    ("name", "construct"),
    [
        *with_argument("T_mult"),
        *with_argument("horizon"),
        *with_argument("total_steps"),
        *with_argument("epochs"),
        *with_argument("pct_start"),
    ],
)
def test_what_the_program_depends_on_is_no_array(name, construct):
    for array in (jnp.array(2), np.array(2)):
        with pytest.raises(TypeError, match=f"`{name}` must be a Python number, got .*2"):
            construct(array)


def test_a_warmup_of_no_length_is_to_be_left_out():
    for cls in (js.ConstantLR, js.LinearLR, js.PolynomialLR):
        with pytest.raises(ValueError, match="`total_iters` .* got 0; leave this schedule out"):
            cls(0.1, total_iters=0)


def test_one_cycle_needs_a_length():
    for given in ({}, {"epochs": 5}, {"steps_per_epoch": 5}):
        with pytest.raises(ValueError, match="`total_steps`, or both `epochs` and `steps_per_epo"):
            js.OneCycleLR(0.1, **given)


def test_one_cycle_whose_first_phase_ends_at_count_0_is_refused():
    for total, pct in ((10, 0.1), (1, 1.0), (2, 0.5), (4, 0.25)):
        with pytest.raises(ValueError, match="`pct_start` must not end the first phase at count 0"):
            js.OneCycleLR(0.1, total, pct_start=pct)
    for pct in (0, 1):
        js.OneCycleLR(0.1, 10, pct_start=pct)
    js.OneCycleLR(0.1, 2)


@pytest.mark.parametrize("milestones", [[], [1, 2], [1, 2, 3]])
def test_sequential_has_one_milestone_fewer_than_members(milestones):
    with pytest.raises(ValueError, match="`milestones` must be one fewer than the 2"):
        js.SequentialLR([f, f], milestones)


def test_sequential_milestones_increase_from_0():
    for milestones in ([3, 3], [5, 2]):
        with pytest.raises(ValueError, match="`milestones` must increase strictly"):
            js.SequentialLR([f, f, f], milestones)
    for milestone in (-1, 2.5, None):
        with pytest.raises((TypeError, ValueError), match="`milestones` must be a sequence of int"):
            js.SequentialLR([f, f], [milestone])
    js.SequentialLR([f, f], [0])


@pytest.mark.parametrize(
    "make",
    [
        lambda two: js.SequentialLR({js.StepLR(0.1, n) for n in two}, [3]),
        lambda two: js.ChainedScheduler(frozenset(js.StepLR(0.1, n) for n in two)),
        lambda two: js.SequentialLR([f, f, f], two),
        lambda two: js.per_epoch(js.StepLR(0.1, 3), two),
        lambda two: js.smooth_epochs(js.LinearLR(0.1), frozenset(two)),
        lambda two: js.stack({js.StepLR(0.1, n) for n in two}),
    ],
)
def test_a_set_has_no_order(make):
    with pytest.raises(TypeError, match="must be a sequence of .*, got .*; a set has no order"):
        make({9, 3})


def test_milestones_of_multi_step_may_be_a_set_as_in_torch():
    assert js.MultiStepLR(0.1, {9, 3}) == js.MultiStepLR(0.1, [3, 9])


@pytest.mark.parametrize("combine", [lambda s: js.SequentialLR(s, []), js.ChainedScheduler])
def test_there_is_at_least_one_member_and_each_is_a_schedule(combine):
    for none in ([], ()):
        with pytest.raises(ValueError, match="`schedulers` must be a sequence of schedules"):
            combine(none)
    for wrong in (step(5), None, 3):
        with pytest.raises(TypeError, match="`schedulers` must be a sequence of schedules"):
            combine(wrong)
    for wrong in (0.1, None, Stateful()):
        with pytest.raises(TypeError, match=r"`schedulers\[0\]` must be a callable count -> value"):
            combine([wrong])


NO_FACTORS = [
    js.LambdaLR(0.1, f),
    js.CosineAnnealingWarmRestarts(0.1, 5),
    js.CyclicLR(0.1, 0.3),
    js.OneCycleLR(0.1, 20),
    js.CosineAnnealingLR(0.1, 5, eta_min=0.01),
    js.SWALR(0.1, 0.05),
    js.RecordedLR([0.1]),
    f,
    js.per_epoch(js.LambdaLR(0.1, f), 5),
    js.SequentialLR([step(5), f], [2]),
]


@pytest.mark.parametrize("member", NO_FACTORS, ids=lambda m: type(m).__name__)
def test_what_is_no_factor_is_refused_in_a_chain(member):
    with pytest.raises(
        ValueError, match="`schedulers` must each be base_lr times a factor.*Record"
    ):
        js.ChainedScheduler([step(5), member])


def test_members_of_a_chain_have_one_base_lr():
    with pytest.raises(ValueError, match=r"`schedulers` must have one base_lr, got \[0.1, 0.2\]"):
        js.ChainedScheduler([js.StepLR(0.1, 5), js.per_epoch(js.LinearLR(0.2), 5)])


STAIRS = [
    step(5),
    js.MultiStepLR(0.1, [5]),
    js.ConstantLR(0.1),
    js.MultiplicativeLR(0.1, f, 5),
    js.RecordedLR([0.1]),
    js.LambdaLR(0.1, f, horizon=5),
    js.SequentialLR([js.LinearLR(0.1), step(5)], [5]),
    js.clamp(js.ChainedScheduler([js.LinearLR(0.1), step(5)]), 5),
]


@pytest.mark.parametrize("schedule", STAIRS, ids=lambda s: type(s).__name__)
def test_what_has_no_values_between_epochs_is_not_made_smooth(schedule):
    with pytest.raises(ValueError, match="`schedule` must be smooth between epochs.*use per_epoch"):
        js.smooth_epochs(schedule, 5)


@pytest.mark.parametrize(
    "values",
    [
        *([], [[0.1]], ["0.1"], [0.1, None], 0.1, "0.1", None, [True], [np.inf], [np.nan]),
        *(jnp.float32(0.1), jnp.ones((2, 2)), jnp.ones(0), jnp.array([True])),
    ],
    ids=repr,
)
def test_a_recording_is_a_sequence_of_rates(values):
    with pytest.raises((TypeError, ValueError), match="`values` must be"):
        js.RecordedLR(values)


@pytest.mark.parametrize(
    "value",
    [
        *([-3], [5.5], ["5"], 5, [[1]], [True], [None], None, "5", [2**63], [3, -1]),
        *(np.array([[1]]), jnp.array(5), jnp.array([5.5])),
    ],
    ids=repr,
)
def test_milestones_are_integers_from_0(value):
    expected = "`milestones` must be a sequence of integers >= 0, got"
    with pytest.raises((TypeError, ValueError), match=expected):
        js.MultiStepLR(0.1, value)


@pytest.mark.parametrize("value", [v for v in COUNT if not isinstance(v, list)], ids=repr)
def test_an_epoch_has_an_integer_number_of_updates_from_1(value):
    with pytest.raises((TypeError, ValueError), match="`steps_per_epoch` must be"):
        js.per_epoch(step(5), value)
    with pytest.raises((TypeError, ValueError), match="`steps_per_epoch` must be"):
        js.per_epoch(step(5), [391, value])


def test_milestones_and_epochs_may_be_integral_floats():
    assert js.MultiStepLR(0.1, [3.0, np.float64(5)]) == js.MultiStepLR(0.1, [3, 5])
    assert js.MultiStepLR(0.1, np.array([3.0, 5.0])) == js.MultiStepLR(0.1, [3, 5])
    assert js.per_epoch(step(5), 391.0) == js.per_epoch(step(5), 391)
    assert js.per_epoch(step(5), [3.0, 4]) == js.per_epoch(step(5), [3, 4])
    updates = js.steps_per_epoch(100.0, 10.0, drop_last=True, accumulate=2.0)
    assert (updates, type(updates)) == (5, int)


def test_a_sequence_of_epochs_is_not_empty():
    with pytest.raises(ValueError, match="`steps_per_epoch` must hold the length of at least one"):
        js.per_epoch(step(5), [])


class Stateful:
    def init(self): ...
    def update(self, state): ...
    def __call__(self, state): ...


@pytest.mark.parametrize("value", [0.1, None, "StepLR", Stateful()], ids=lambda v: str(type(v)))
def test_what_is_adapted_is_a_function_of_the_count(value):
    with pytest.raises(TypeError, match="`schedule` must be a callable count -> value"):
        js.per_epoch(value, 5)


@pytest.mark.parametrize("name", ["num_examples", "batch_size", "accumulate"])
def test_sizes_are_integers_from_1(name):
    for value in COUNT:
        sizes = {"num_examples": 100, "batch_size": 10, "accumulate": 1, name: value}
        with pytest.raises((TypeError, ValueError), match=f"`{name}` must be an integer >= 1, got"):
            js.steps_per_epoch(**sizes, drop_last=True)


def test_drop_last_has_no_default_and_is_a_bool():
    with pytest.raises(TypeError, match="drop_last"):
        js.steps_per_epoch(100, 10)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="`drop_last` must be True or False, got 1"):
        js.steps_per_epoch(100, 10, drop_last=1)  # type: ignore[arg-type]


def test_the_message_says_what_came():
    with pytest.raises(ValueError, match=r"^`step_size` must be an integer >= 1, got 0$"):
        step(0)
    with pytest.raises(TypeError, match=r"^`step_size` must be an integer >= 1, got 2.5$"):
        step(2.5)


@pytest.mark.parametrize("array", [jnp.float32(-1), np.array(-1.0), jnp.array([np.nan])], ids=repr)
def test_what_an_array_holds_passes_unchecked(array):
    assert js.StepLR(array, 3, array).gamma is array
    assert js.MultiStepLR(0.1, jnp.array([-3])).milestones == jnp.array([-3])
    assert js.per_epoch(step(5), jnp.int32(0)).steps_per_epoch == 0


NO_NUMBERS = [np.array(True), jnp.array(True), np.array(1j), np.array("x"), jax.random.key(0)]
NO_INTEGERS = [*NO_NUMBERS, np.array(2.0), jnp.float32(2.5), jnp.bfloat16(3)]


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_an_array_of_another_dtype_is_refused(cls):
    """A size of 2.5 was one of 2, without a word."""
    for name in getattr(js, cls).__dataclass_fields__:

        def construct(value, name=name):
            return getattr(js, cls)(**{**ARGUMENTS[cls], name: value})

        try:
            construct(jnp.int32(2))
        except (TypeError, ValueError):  # it takes no array at all
            continue
        with pytest.raises(TypeError) as error:
            construct("x")
        for array in NO_INTEGERS if "integer" in str(error.value) else NO_NUMBERS:
            with pytest.raises(TypeError, match=f"^`{name}` must be a.*, got "):
                construct(array)


@pytest.mark.parametrize(
    "construct",
    [
        step,
        lambda x: js.MultiStepLR(0.1, [3, x]),
        lambda x: js.MultiStepLR(0.1, jnp.stack([x])),
        lambda x: js.per_epoch(step(3), [x, 3]),
        lambda x: js.per_epoch(step(3), jnp.stack([x])),
        lambda x: js.SequentialLR([step(3), step(3)], [x]),
        lambda x: js.clamp(step(3), x),
        lambda x: js.CyclicLR(0.1, 0.3, x),
    ],
)
def test_a_floating_size_is_refused_where_it_is_traced_too(construct):
    size = jnp.float32(2.5)
    for call, x in (
        (construct, size),
        (lambda x: jax.eval_shape(construct, x), size),
        (jax.vmap(construct), size[None]),
    ):
        with pytest.raises(TypeError, match="integer.* >= ., got an array of dtype float32"):
            call(x)


def test_a_size_that_was_cast_is_refused_when_it_is_used():
    """As a function over the leaves of a train state does it; the constructor is not run."""
    for schedule, name in (
        (step(3), "step_size"),
        (js.MultiStepLR(0.1, [3, 5]), "milestones"),
        (js.per_epoch(step(3), [3, 2]), "steps_per_epoch"),
        (js.CosineAnnealingWarmRestarts(0.1, 3), "T_0"),
    ):
        cast = jax.tree.map(jnp.bfloat16, schedule)
        for call in (cast, jax.jit(cast), lambda n: jax.jit(lambda s: s(n))(cast)):
            with pytest.raises(TypeError, match=f"^`{name}` must be .* integer.*, got an array"):
                call(5)
    rates = jax.tree.map(lambda x: x if isinstance(x, int) else jnp.bfloat16(x), step(3))
    assert rates(2) == jnp.bfloat16(0.1)


@pytest.mark.parametrize("gamma", [0, 1, 1.5, 1e300])
def test_gamma_0_1_and_above_1_are_fine(gamma):
    for schedule in (js.StepLR(0, 1, gamma), js.MultiStepLR(0, range(9), gamma)):
        assert schedule(8) == schedule(jnp.int32(8)) == 0.0
        np.testing.assert_array_equal(schedule(np.array([8, 9])), [0, 0])
