"""check: finds what was planted, and nothing in any well-known recipe."""

import ast
import pickle
import random
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from jaxsched._desk import check
from jaxsched._desk.findings import Findings
from tests import test_check_recipes, test_docs, test_words
from tests.marks import one_in, slow_case
from tests.schedules import OF_FUNCTIONS, SHORT
from tests.test_parity import build
from tests.traces import cases, load

RUN = 200 * 391
WARMUP = js.LinearLR(0.1, 0.01, total_iters=5)
COSINE = js.CosineAnnealingLR(0.1, 90)
MILESTONES = js.MultiStepLR(0.1, [100, 150])
PLATEAU = js.ReduceLROnPlateau(0.1)
STEP_30, STEP_50 = js.StepLR(0.1, 30), js.StepLR(0.1, 50)


def piecewise(count):
    return 1.0 if count < 50 else 0.5


def noise(count):
    return random.random()


def nearly_zero(count):
    """1, and then what rounding leaves: another number under jit."""
    return 0.0**count + abs(count * 0.1 - count / 10)


class State:
    """Gives another value at each call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, count):
        self.calls += 1
        return 1.0 / self.calls


def by_type(count):
    return 0.5 if isinstance(count, int) else 0.25


def after(*members_and_starts):
    """SequentialLR of members at the starts between them."""
    return js.SequentialLR(members_and_starts[::2], members_and_starts[1::2])


PLANTED = [  # a schedule, num_counts, steps_per_epoch, what is found
    (MILESTONES, 150, None, "milestone-never-reached"),
    (MILESTONES, 151, None, ""),
    (js.MultiStepLR(0.1, [2**61]), 90, None, "milestone-never-reached"),
    (js.per_epoch(MILESTONES, 391), 150 * 391, 391, "milestone-never-reached"),
    (js.per_epoch(MILESTONES, 391), 150 * 391 + 1, 391, ""),
    (js.per_epoch(js.MultiStepLR(0.1, [2]), [3, 5]), 8, None, "milestone-never-reached"),
    (js.per_epoch(js.MultiStepLR(0.1, [2]), [3, 5]), 9, None, ""),
    (js.clamp(js.MultiStepLR(0.1, [9]), 8), 20, None, "milestone-never-reached"),
    (js.clamp(js.MultiStepLR(0.1, [9]), 9), 20, None, ""),
    (after(STEP_50, 100, js.MultiStepLR(0.1, [50])), 150, None, "milestone-never-reached"),
    (after(STEP_50, 100, js.MultiStepLR(0.1, [50])), 151, None, ""),
    (after(js.MultiStepLR(0.1, [30]), 30, STEP_50), 90, None, "milestone-never-reached"),
    (after(STEP_50, 90, STEP_30), 90, None, "milestone-never-reached"),
    (js.ChainedScheduler([WARMUP, MILESTONES]), 120, None, "milestone-never-reached"),
    (STEP_30, 30, None, "step-size-never-reached"),
    (STEP_30, 31, None, ""),
    (js.per_epoch(STEP_30, 10), 300, None, "step-size-never-reached"),
    (MILESTONES, RUN, 391, "epochs-fed-updates"),
    (MILESTONES, RUN, None, "epochs-fed-updates"),
    (js.MultiStepLR(0.1, [30_000, 60_000]), RUN, 391, ""),
    (after(WARMUP, 5, js.CosineAnnealingLR(0.1, 195)), RUN, 391, "epochs-fed-updates cosine-"),
    (after(js.LinearLR(0.1), 500, MILESTONES), RUN, 391, "epochs-fed-updates"),
    (
        js.ChainedScheduler([js.LinearLR(0.1), js.StepLR(0.1, 60)]),
        RUN,
        391,
        "epochs-fed lr-vanishes",
    ),
    (js.ExponentialLR(0.1, 0.95), RUN, 391, "epochs-fed-updates lr-vanishes"),
    (js.ExponentialLR(0.1, 0.9999), RUN, 391, ""),
    (js.StepLR(0.1, 100, gamma=0.999), 10**6, 1000, ""),
    (js.CosineAnnealingWarmRestarts(0.1, 10, 2), 310 * 391, 391, "epochs-fed-updates"),
    (js.CosineAnnealingWarmRestarts(0.1, 10, 2), 310, None, ""),
    (js.CosineAnnealingWarmRestarts(0.1, 500), 10_000, 10, ""),
    (js.CyclicLR(0.1, 0.3, 20), 10_000, 10, ""),
    (js.OneCycleLR(0.1, 200), RUN, 391, "epochs-fed-updates one-cycle-shorter-than-run"),
    (js.RecordedLR(np.linspace(0.1, 0.01, 200)), RUN, 391, "epochs-fed-updates"),
    (js.per_epoch(MILESTONES, 391), 200, None, "run-shorter-than-an-epoch"),
    (js.per_epoch(MILESTONES, 391), 200 * 390, 390, "epoch-length-differs"),
    (WARMUP, 4, None, "warmup-longer-than-run"),
    (WARMUP, 5, None, ""),
    (js.ConstantLR(0.1, 0.5, 9), 8, None, "warmup-longer-than-run"),
    (js.per_epoch(WARMUP, 391), 4 * 391, None, "warmup-longer-than-run"),
    (after(WARMUP, 4, COSINE), 94, None, "warmup-cut-short"),
    (after(WARMUP, 5, COSINE), 95, None, ""),
    (after(js.ConstantLR(0.1, 0.5, 99), 5, COSINE), 95, None, ""),
    (js.LinearLR(0.1, 1.0, 0.5, total_iters=99), 90, None, ""),
    (COSINE, 92, None, "cosine-rises-again"),
    (COSINE, 91, None, ""),
    (js.clamp(COSINE, 90), 150, None, ""),
    (js.per_epoch(COSINE, 391), 91 * 391, None, ""),
    (js.per_epoch(COSINE, 391), 91 * 391 + 1, None, "cosine-rises-again"),
    (js.smooth_epochs(COSINE, 391), 90 * 391 + 1, None, ""),
    (js.smooth_epochs(COSINE, 391), 90 * 391 + 2, None, "cosine-rises-again"),
    (after(COSINE, 91, STEP_30), 180, None, ""),
    (after(COSINE, 92, STEP_30), 180, None, "cosine-rises-again"),
    (js.OneCycleLR(0.1, 100), 99, None, "one-cycle-longer-than-run"),
    (js.OneCycleLR(0.1, 100), 100, None, ""),
    (js.OneCycleLR(0.1, 100), 101, None, "one-cycle-shorter-than-run"),
    (js.OneCycleLR(0.1, epochs=9, steps_per_epoch=10), 100, None, "one-cycle-shorter-than-run"),
    (js.per_epoch(js.OneCycleLR(0.1, 90), 10), 900, None, ""),
    (js.OneCycleLR(0.1, 1), 1, None, "cycle-stands-still"),
    (js.OneCycleLR(0.1, 2), 2, None, ""),
    (js.CyclicLR(0.001, 0.001, 1.0, 2000), 9000, None, "cycle-stands-still"),
    (js.CyclicLR(0.001, 0.0011, 1.0, 2000), 9000, None, ""),
    (js.per_epoch(js.OneCycleLR(0.1, 90), 10), 890, None, "one-cycle-longer-than-run"),
    (js.ExponentialLR(0.1, 0.5), 53, None, ""),
    (js.ExponentialLR(0.1, 0.5), 60, None, "lr-vanishes"),
    (js.ConstantLR(0.0), 9, None, "lr-vanishes"),
    # A first member that never runs; two milestones in one epoch, which no line in epochs has.
    (after(STEP_30, 0, js.per_epoch(STEP_30, 391)), RUN, 391, ""),
    (
        js.per_epoch(js.SequentialLR([STEP_30, STEP_50, WARMUP], [1000, 1001]), 391),
        40 * 391,
        391,
        "updates-fed-epochs",
    ),
    (js.RecordedLR([1.0] + [1e-9] * 45), 90, None, "recording-shorter-than-run lr-vanishes"),
    (js.CosineAnnealingLR(0.1, 90, eta_min=0.2), 90, None, "eta-min-above-base-lr"),
    (js.CosineAnnealingLR(0.1, 90, eta_min=0.1), 900, None, ""),
    (js.CosineAnnealingWarmRestarts(1e-4, 9, eta_min=1e-3), 90, None, "eta-min-above-base-lr"),
    (js.ExponentialLR(0.1, 2.0), 2000, None, "lr-out-of-range"),
    (js.LambdaLR(0.1, lambda count: 1.0 - count), 9, None, "lr-out-of-range"),
    (js.LinearLR(0.1, 0.0, total_iters=5), 90, None, ""),
    (js.per_epoch(js.LinearLR(0.1, 0.0, total_iters=5), 391), RUN, 391, "first-updates-do-nothing"),
    (js.smooth_epochs(js.LinearLR(0.1, 0.0, total_iters=5), 391), RUN, 391, ""),
    (js.LambdaLR(0.1, piecewise), 100, None, "function-not-traceable"),
    (js.LambdaLR(0.1, piecewise, horizon=100), 100, None, ""),
    (js.LambdaLR(0.1, piecewise, horizon=51), 100, None, ""),  # goes on as it is held
    (js.LambdaLR(0.1, piecewise, horizon=50), 100, None, "horizon-shorter-than-run"),
    (js.LambdaLR(0.1, [0.5, 0.2].__getitem__, horizon=2), 3, None, "horizon-shorter-than-run"),
    (
        js.per_epoch(js.MultiplicativeLR(0.1, lambda n: 0.95, horizon=30), 9),
        279,
        None,
        "horizon-shorter-than-run",
    ),
    (js.MultiplicativeLR(0.1, lambda n: 0.9 if n < 9 else 1, horizon=9), 99, None, ""),
    (js.RecordedLR([0.1] * 89), 90, None, "recording-shorter-than-run"),
    (after(js.RecordedLR([0.1] * 9), 9, STEP_30), 90, None, ""),
    (piecewise, 100, None, "function-not-traceable"),
    (js.LambdaLR(0.1, noise), 100, None, "function-differs-under-jit"),
    (js.LambdaLR(0.1, State()), 100, None, "function-differs-under-jit"),
    (after(WARMUP, 5, js.per_epoch(by_type, 10)), 100, None, "function-differs-under-jit"),
    (js.CyclicLR(0.1, 0.3, 20, scale_fn=by_type), 100, None, "function-differs-under-jit"),
    (js.LambdaLR(0.1, lambda count: 1 / (count + 1)), 100, None, ""),
    (js.LambdaLR(0.1, nearly_zero), 100, None, "lr-vanishes"),
    (
        js.LambdaLR(0.1, lambda count: jax.lax.cond(count < 9, lambda: 1.0, lambda: 0.5)),
        12,
        None,
        "",
    ),
    (optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100), 100, None, ""),
    (PLATEAU, 12, None, "plateau-never-cuts"),
    (PLATEAU, 13, None, ""),
    (PLATEAU, 12 * 391, 391, "plateau-never-cuts"),
    (PLATEAU, 13 * 391, 391, ""),
    (js.ReduceLROnPlateau(0.1, min_lr=0.1), 90, None, "plateau-never-cuts"),
    (js.ReduceLROnPlateau(1e-8), 90, None, "plateau-never-cuts"),
    (js.ReduceLROnPlateau(2e-8), 90, None, ""),
]


def codes(schedule, num_counts, steps):
    return [finding.code for finding in js.check(schedule, num_counts, steps_per_epoch=steps)]


@pytest.mark.parametrize(("schedule", "num_counts", "steps", "expected"), PLANTED)
def test_what_is_planted_is_found_and_nothing_else(schedule, num_counts, steps, expected):
    found = codes(schedule, num_counts, steps)
    assert len(found) == len(expected.split()), found
    assert all(map(str.startswith, found, expected.split())), found


@pytest.mark.parametrize(
    ("schedule", "num_counts", "steps", "expected"), [row for row in PLANTED if row[-1]]
)
def test_each_finding_has_numbers_and_an_advice_that_works(schedule, num_counts, steps, expected):
    for finding in js.check(schedule, num_counts, steps_per_epoch=steps):
        assert re.search(r"\d", finding.message) or "trace" in finding.message
        assert finding.message.endswith(".") and finding.advice.endswith(".")
        assert str(finding) == f"{finding.code}: {finding.message} {finding.advice}"
        for code in re.findall(r"`(\w+\([^`]*\))`", finding.advice):
            if not code.startswith("from_torch"):
                names = {**vars(js), "schedule": schedule, "steps_per_epoch": 391}
                assert finding.code not in codes(eval(code, names), num_counts, steps), code


SENTENCES = [
    (
        js.per_epoch(MILESTONES, 391),
        120 * 391,
        "milestone-never-reached: MultiStepLR does not reach its milestones from 150 on: the run "
        "has 46,920 updates (120 epochs). Without these it is "
        "`per_epoch(MultiStepLR(0.1, milestones=[100]), steps_per_epoch=391)`.",
    ),
    (
        js.smooth_epochs(COSINE, 391),
        91 * 391,
        "cosine-rises-again: CosineAnnealingLR rises again after update 35,190 (epoch 90): the run "
        "has 35,581 updates (91 epochs). To stay there, write "
        "`smooth_epochs(clamp(CosineAnnealingLR(0.1, T_max=90), last_count=90), "
        "steps_per_epoch=391)`.",
    ),
    (
        after(js.MultiStepLR(0.1, [30]), 30, STEP_50),
        90,
        "milestone-never-reached: MultiStepLR does not reach its milestones from 30 on: it has no "
        "effect from count 30 on. Without these it is "
        "`SequentialLR([MultiStepLR(0.1, milestones=[]), StepLR(0.1, step_size=50)], "
        "milestones=[30])`.",
    ),
    (
        js.ChainedScheduler([js.LinearLR(0.1, total_iters=500), MILESTONES]),
        RUN,
        "epochs-fed-updates: MultiStepLR is over after 150 of 78,200 counts. If it counts epochs, "
        "write `per_epoch(schedule, steps_per_epoch)`.",
    ),
]


@pytest.mark.parametrize(("schedule", "num_counts", "sentence"), SENTENCES)
def test_the_sentences(schedule, num_counts, sentence):
    (finding,) = js.check(schedule, num_counts)
    assert str(finding) == sentence


def test_of_two_units_the_advice_names_the_part():
    mixed = js.ChainedScheduler([js.LinearLR(0.1, total_iters=500), js.MultiStepLR(0.1, [100])])
    (finding,) = js.check(mixed, RUN, steps_per_epoch=391)
    assert finding.advice == (
        "If it counts epochs, write `ChainedScheduler([LinearLR(0.1, total_iters=500), "
        "per_epoch(MultiStepLR(0.1, milestones=[100]), steps_per_epoch=391)])`."
    )


RECIPES = {  # of the stored traces: what people run
    "StepLR": ["ResNet-50", "tutorial"],
    "MultiStepLR": ["ResNet-50", "CIFAR", "Detectron2", "tutorial"],
    "ConstantLR": ["defaults", "torch's example"],
    "LinearLR": ["defaults", "torch's example"],
    "ExponentialLR": ["0.95 an epoch", "slow"],
    "PolynomialLR": ["torchvision's segmentation", "DeepLab's poly"],
    "CosineAnnealingLR": ["90 epochs", "200 epochs", "one long cycle"],
    "CosineAnnealingWarmRestarts": ["SGDR"],
    "CyclicLR": ["defaults", "triangular", "exp_range", "scale_fn"],
    "OneCycleLR": ["torch's example", "30 %", "three phases", "linear"],
    "LambdaLR": ["BERT", "Noam", "0.97", "warmup and cosine", "torch's example"],
    "MultiplicativeLR": ["torch's example", "0.97"],
    "SWALR": ["defaults", "torch's example", "long"],
    "SequentialLR": ["torch's example", "torchvision", "Detectron2", "constant, then one cycle"],
    "ChainedScheduler": ["torch's example", "Detectron2", "linear warmup times cosine"],
}
NOT_RECIPES = {"BERT, warmup of 1", "torch's example, integers"}


@pytest.mark.parametrize("class_name", one_in(3, RECIPES))
def test_no_stored_recipe_is_found_fault_with(class_name):
    seen = set()
    for name, kwargs, lrs in load(class_name):
        recipe = next((r for r in RECIPES[class_name] if name.startswith(r)), None)
        if recipe and name not in NOT_RECIPES:
            seen.add(recipe)
            assert js.check(build(class_name, kwargs), len(lrs)) == [], name
    assert seen == {*RECIPES[class_name]} and {*RECIPES} == {*cases.CASES}


def schedules_of_the_cookbook():
    """The schedules that it makes, each under the heading that makes it first."""
    seen = {}
    for heading, names in test_docs.run("cookbook").items():
        for name, value in names.items():
            if isinstance(value, (js.Schedule, js.ReduceLROnPlateau)) and seen.get(name) != value:
                seen[name] = value
                yield heading, name, value


LENGTHS = {  # of the cookbook's runs, with steps_per_epoch where it has epochs
    "ResNet with warmup": (200 * 391, 391),
    "ResNet, one step an epoch": (90 * 1251, 1251),
    "Hugging Face: linear with warmup": (1000, None),
    "Hugging Face: cosine with warmup": (1000, None),
    "Hugging Face: constant with warmup": (1000, None),
    "Noam": (2000, None),
    "Warmup, stable, decay (WSD)": (1000, None),
    "Warmup, then plateau": (2200, 100),
    "Two `.step()` on one optimizer": (120 * 100, 100),
    "Gradient clipping and accumulation": (12, None),
    "Save and restore with Orbax": (8, None),
    "Early stopping": (10, None),
    "Log to TensorBoard and CSV": (6, None),
}


def test_no_recipe_of_the_cookbook_is_found_fault_with():
    checked = set()
    for heading, name, value in schedules_of_the_cookbook():
        num_counts, steps = LENGTHS[heading]
        if name in {"schedule", "mixed", "as_it_is", "without_horizon", "plateau"}:
            run = 1200 if name == "mixed" else num_counts
            assert js.check(value, run, steps_per_epoch=steps) == [], (heading, name)
            checked.add(heading)
    assert checked == {*LENGTHS}


EXAMPLES = [  # of examples/quickstart.py and linen.py, train.py, sweep.py
    (js.per_epoch(js.MultiStepLR(0.1, [5, 15]), 22), 20 * 22),
    (js.per_epoch(js.MultiStepLR(0.1, []), 22), 20 * 22),
    (js.per_epoch(js.StepLR(0.1, 10), 22), 30 * 22),
    (js.per_epoch(js.MultiStepLR(0.0321, [7, 7], gamma=0.321), 22), 12 * 22),
]


@pytest.mark.parametrize(("schedule", "num_counts"), EXAMPLES)
def test_no_schedule_of_the_examples_is_found_fault_with(schedule, num_counts):
    assert js.check(schedule, num_counts, steps_per_epoch=22) == []


@pytest.mark.parametrize(
    "schedule",
    [*SHORT, *(slow_case(s) for s in OF_FUNCTIONS)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_there_is_an_answer_for_each_schedule(schedule):
    for num_counts, steps in ((1, None), (2, 1), (40, 3), (1000, 2**61)):
        for finding in js.check(schedule, num_counts, steps_per_epoch=steps):
            assert isinstance(finding, js.Finding) and all(map(str, finding))


def test_a_schedule_that_holds_scalar_arrays_is_checked():
    traced = js.MultiStepLR(jnp.float32(0.1), jnp.array([30, 80]), jnp.float32(0.5))
    (finding,) = js.check(traced, 60)
    assert "`MultiStepLR(0.1, milestones=[30], gamma=0.5)`" in finding.advice


@pytest.mark.parametrize(
    ("schedule", "num_counts", "steps", "error", "message"),
    [
        (0.1, 9, None, TypeError, "`schedule` must be a callable count -> value, got 0.1"),
        (COSINE, 0, None, ValueError, "`num_counts` must be an integer >= 1, got 0"),
        (COSINE, 9, 0, ValueError, "`steps_per_epoch` must be an integer >= 1, got 0"),
        (COSINE, 9, [3, 0], ValueError, "`steps_per_epoch` must be .* integers >= 1, got 0"),
        (COSINE, 9, [], ValueError, "`steps_per_epoch` must hold the length of at least one epoch"),
        (PLATEAU, 9, 2.5, TypeError, "`steps_per_epoch` must be an integer >= 1, got 2.5"),
    ],
)
def test_bad_arguments_are_refused(schedule, num_counts, steps, error, message):
    with pytest.raises(error, match=message):
        js.check(schedule, num_counts, steps_per_epoch=steps)


LENGTHS_OF = [  # when a schedule is over: for `epochs-fed-updates`, and for the table of `show`
    (js.StepLR(0.1, 3), 3),
    (js.StepLR(0.1, 3, gamma=0.5), 12),
    (js.StepLR(0.1, 3, gamma=1.0), 0),
    (js.StepLR(0.1, 3, gamma=0.0), 3),
    (js.MultiStepLR(0.1, [9, 4]), 9),
    (js.ExponentialLR(0.1, 0.9), 22),
    (js.ConstantLR(0.1, total_iters=7), 7),
    (js.PolynomialLR(0.1, 8), 8),
    (js.CosineAnnealingLR(0.1, 90), 90),
    (js.CosineAnnealingWarmRestarts(0.1, 7, 2), 7),
    (js.SWALR(0.1, 0.01, 12), 12),
    (js.CyclicLR(0.1, 0.3, 2, 3), 5),
    (js.OneCycleLR(0.1, epochs=3, steps_per_epoch=4), 12),
    (js.LambdaLR(0.1, piecewise, horizon=9), 9),
    (js.LambdaLR(0.1, piecewise), 0),
    (js.MultiplicativeLR(0.1, piecewise, horizon=9), 9),
    (js.RecordedLR([0.1, 0.2, 0.3]), 3),
    (after(WARMUP, 5, COSINE), 5),
    (js.ChainedScheduler([WARMUP, STEP_30]), 0),
    (js.clamp(COSINE, 30), 0),
    (js.per_epoch(COSINE, 10), 0),
]


@pytest.mark.parametrize(
    ("schedule", "length"), LENGTHS_OF, ids=lambda x: x if isinstance(x, int) else type(x).__name__
)
def test_a_schedule_says_when_it_is_over(schedule, length):
    assert schedule._length(0.1) == length


def test_a_decay_is_over_where_it_is_asked_for():
    assert [js.ExponentialLR(0.1, 0.1)._length(x) for x in (0.1, 0.01)] == [1, 2]
    assert [js.StepLR(0.1, 3)._length(x) for x in (0.1, 0.01)] == [3, 6]


def differs_by(relative, absolute):
    """A function whose traced values are a bit larger."""

    def of_count(count):
        if isinstance(count, int):
            return float(count % 2)
        return count % 2 * (1 + relative) + absolute

    return of_count


STEPS_20, CYCLE = js.MultiStepLR(0.1, [20]), js.CyclicLR(0.1, 0.3, 1)
THRESHOLDS = [  # on both sides of each
    # Without steps_per_epoch: over after 3 % of the run; a cycle never is.
    (js.MultiStepLR(0.1, [30]), 1000, None, "epochs-fed-updates"),
    (js.MultiStepLR(0.1, [30]), 999, None, ""),
    (CYCLE, 10**5, None, ""),
    # With it: within as many counts as there are epochs, and within a tenth of the run.
    (STEPS_20, 2000, 100, "epochs-fed-updates"),
    (STEPS_20, 1999, 100, ""),
    (js.MultiStepLR(0.1, [100]), 1000, 2, "epochs-fed-updates"),
    (js.MultiStepLR(0.1, [101]), 1000, 2, ""),
    # A cycle: and shorter than one epoch, or as long.
    (js.CosineAnnealingWarmRestarts(0.1, 10), 10_000, 10, "epochs-fed-updates"),
    (js.CosineAnnealingWarmRestarts(0.1, 11), 10_000, 10, ""),
    # In more than half of the run at or below 1e-8 of the peak.
    (js.RecordedLR([1.0] * 5 + [0.0] * 5), 10, None, ""),
    (js.RecordedLR([1.0] * 5 + [0.0] * 6), 11, None, "lr-vanishes"),
    (js.RecordedLR([1.0] + [1e-8] * 9), 10, None, "lr-vanishes"),
    (js.RecordedLR([1.0] + [1.01e-8] * 9), 10, None, ""),
    # Another number under jit: by 1e-5 of it, or 1e-7 of the largest.
    (js.LambdaLR(0.1, differs_by(1.5e-5, 0.0)), 40, None, "function-differs-under-jit"),
    (js.LambdaLR(0.1, differs_by(0.5e-5, 0.0)), 40, None, ""),
    (js.LambdaLR(0.1, differs_by(0.0, 1.5e-7)), 40, None, "function-differs-under-jit"),
    (js.LambdaLR(0.1, differs_by(0.0, 0.5e-7)), 40, None, ""),
]


@pytest.mark.parametrize(("schedule", "num_counts", "steps", "expected"), THRESHOLDS)
def test_the_thresholds(schedule, num_counts, steps, expected):
    assert codes(schedule, num_counts, steps) == expected.split()


def test_the_page_has_all_codes_and_each_is_planted():
    of_code = {
        node.value
        for path in Path(check.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"[a-z]+(-[a-z]+)+", node.value)
    }
    page = {code.strip("`") for code, _ in test_words.rows("check", "## What it finds")}
    assert page == of_code
    tables = (PLANTED, THRESHOLDS, ((s, RUN, 391, c) for s, c, _ in test_check_recipes.PLANTED))
    planted = {prefix for table in tables for *_, expected in table for prefix in expected.split()}
    assert not [code for code in page if not any(code.startswith(prefix) for prefix in planted)]
    assert not [prefix for prefix in planted if not any(c.startswith(prefix) for c in page)]


def test_a_list_of_findings_shows_its_sentences_and_is_a_plain_list_elsewhere():
    found = js.check(MILESTONES, 120)
    assert repr(found) == str(found) == str(found[0]) and repr(js.check(MILESTONES, 200)) == "[]"
    assert found == [*found] and type(pickle.loads(pickle.dumps(found))) is list
    html = found._repr_html_()
    assert "<code>milestone-never-reached</code>: MultiStepLR does not reach" in html
    assert "<code>MultiStepLR(0.1, milestones=[100])</code>." in html
    assert js.check(MILESTONES, 200)._repr_html_() == "No findings."
    tags = Findings([js.Finding("a", "<b> & `<c>`.", "")])._repr_html_()
    assert "&lt;b&gt; &amp; <code>&lt;c&gt;</code>." in tags


@pytest.mark.parametrize("steps", [[390, 391], (390, 391), np.array([390, 391])])
def test_epochs_may_differ_in_length(steps):
    found = js.check(MILESTONES, 200 * 391 - 1, steps_per_epoch=steps)
    assert [str(finding) for finding in found] == [
        "epochs-fed-updates: MultiStepLR is over after 150 of 78,199 updates (200 epochs). If it "
        "counts epochs, write `per_epoch(schedule, [390, 391])`."
    ]
    right = js.per_epoch(MILESTONES, [390, 391])
    assert js.check(right, 200 * 391 - 1, steps_per_epoch=steps) == []
    (finding,) = js.check(js.per_epoch(MILESTONES, 391), 200 * 391, steps_per_epoch=steps)
    assert finding.message.startswith("An epoch has 391 updates in the schedule and [390, 391]")
    assert finding.advice == "Write `steps_per_epoch=[390, 391]`."
    assert js.check(right, 200 * 391 - 1, steps_per_epoch=390) == []  # nearly
    assert js.check(js.per_epoch(MILESTONES, 391), 200 * 391, steps_per_epoch=[391, 391]) == []
    (finding,) = js.check(right, 200 * 391 - 1, steps_per_epoch=389)
    assert finding.code == "epoch-length-differs"
    (finding,) = js.check(right, 120 * 391 - 1)
    assert "the run has 46,919 updates (120 epochs)" in finding.message
