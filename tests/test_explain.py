"""explain: planted differences are named, what is said gives every row, and noise is nothing."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

import jaxsched as js
from benchmarks.explain import FORMS, planted, verdict
from tests.marks import slow_case

PLANTED = [*planted()]


@pytest.mark.parametrize("form", FORMS)
def test_some_planted_arguments_are_named(form):
    found = Counter(verdict(p, form) for p in PLANTED[FORMS.index(form) :: 40])
    assert found["named"] >= 0.8 * found.total() and not found["wrong"], found


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_planted_arguments_are_named_and_none_wrongly(form):
    found = Counter(verdict(p, form) for p in PLANTED)
    assert found["named"] >= 0.95 * found.total() and not found["wrong"], found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_never_explained(seed):
    lrs = np.random.default_rng(seed).uniform(1e-4, 0.1, 60)
    for p in PLANTED[seed::40]:
        assert js.compare(p.given, lrs).diagnoses == ()


KWARGS = {"patience": 2, "factor": 0.5}
METRICS = [1.0, 0.8, *[0.9] * 5, 0.7, *[0.75] * 6, 0.6, 0.5, *[0.55] * 9]


@pytest.mark.parametrize(
    "name, value",
    [
        ("patience", 4),
        slow_case("cooldown", 3),
        slow_case("min_lr", 0.03),
        slow_case("threshold", 0.2),
    ],
)
def test_another_argument_of_a_plateau(name, value):
    plateau = js.ReduceLROnPlateau(0.1, **KWARGS)
    other = dataclasses.replace(plateau, **{name: value})
    state, lrs = other.init(), []
    for metric in METRICS:
        lrs.append(float(other(state)))
        state = other.update(state, metric=metric)
    comparison = js.compare(plateau, {"lr": lrs, "loss": METRICS})
    (finding,) = comparison.diagnoses
    assert finding.code == f"another-{name.replace('_', '-')}", finding
    assert js.compare(comparison.schedule, {"lr": lrs, "loss": METRICS}).equal


WARMUP = js.LinearLR(0.1, 0.01, 1.0, 20)
SEQUENTIAL = js.SequentialLR([WARMUP, js.CosineAnnealingLR(0.1, 100)], [20])
CHAINED = js.ChainedScheduler([WARMUP, js.CosineAnnealingLR(0.1, 100)])
COSINE = js.CosineAnnealingLR(0.1, 80)


@pytest.mark.parametrize(
    "given, run, code",
    [
        (SEQUENTIAL, CHAINED, "chained"),
        (CHAINED, SEQUENTIAL, "sequential"),
        (COSINE, js.clamp(COSINE, 80), "clamped"),
        (js.clamp(COSINE, 80), COSINE, "not-clamped"),
        (SEQUENTIAL, js.ConstantLR(0.001, 1.0), "never-stepped"),
        (
            SEQUENTIAL,
            js.SequentialLR([js.ConstantLR(0.001, 1.0), SEQUENTIAL], [5]),
            "skipped-updates",
        ),
        (COSINE, js.SequentialLR([COSINE, COSINE], [50]), "restart"),
    ],
)
def test_another_structure_or_clock(given, run, code):
    log = run(np.arange(130))
    comparison = js.compare(given, log)
    assert [finding.code for finding in comparison.diagnoses] == [code], str(comparison)
    assert js.compare(comparison.schedule, log).equal


def test_a_log_of_another_schedule_is_read_from_nothing():
    run = js.SequentialLR([js.LinearLR(0.3, 0.05, 1.0, 7), js.CosineAnnealingLR(0.3, 50)], [7])
    lrs = run(np.arange(57))
    comparison = js.compare(js.StepLR(0.1, 10), lrs)
    assert [finding.code for finding in comparison.diagnoses] == ["another-schedule"]
    assert comparison.schedule == run and repr(run) in comparison.diagnoses[0].message
    updates = {"step": np.arange(1, 172), "lr": np.repeat(lrs, 3)}
    comparison = js.compare(js.StepLR(0.1, 10), updates, steps_per_epoch=3)
    assert comparison.schedule == js.per_epoch(run, 3)
    assert js.compare(comparison.schedule, updates, steps_per_epoch=3).equal
    constant = js.compare(js.StepLR(0.1, 10), [0.3] * 20)  # which no schedule can be read from
    assert not constant.diagnoses and str(constant).endswith("explains all rows.")


def test_the_function_of_a_product_is_called_for_a_table_only():
    calls, counts = [], np.arange(300)

    def factor(count):
        calls.append(count)
        return 0.99

    schedule = js.MultiplicativeLR(0.1, factor, horizon=200)
    lrs, once = schedule(counts), len(calls)
    assert not js.compare(schedule, lrs * np.where(counts > 150, 0.5, 1))
    assert once == 199 and len(calls) <= 3 * once
    warm, other = (
        js.SequentialLR([js.LinearLR(0.1, 0.1, 1.0, n), schedule], [n]) for n in (20, 33)
    )
    comparison = js.compare(warm, other(counts))
    assert [finding.code for finding in comparison.diagnoses] == ["another-warmup"]
    assert comparison.schedule == other


def test_what_the_gaps_between_rows_leave_open_is_told():
    counts = np.arange(0, 200, 7)
    for milestones, said in (([75, 120], "71 to 77 open"), ([75, 100], "71 to 77 and 99 to 105")):
        log = {"step": counts, "lr": js.MultiStepLR(0.1, milestones)(counts)}
        (finding,) = js.compare(js.MultiStepLR(0.1, [60, 120]), log).diagnoses
        assert finding.code == "another-milestones" and said in finding.message


def test_a_log_read_after_the_step_of_one_member_only():
    """As torchvision's detection loop is: the warmup steps at each update, the rest does not."""
    run = js.ChainedScheduler([WARMUP, js.per_epoch(js.MultiStepLR(0.1, [2, 4]), 25)])
    counts = np.arange(130)
    log = run(counts) / WARMUP(counts) * WARMUP(counts + 1)
    (finding,) = js.compare(run, log).diagnoses
    assert finding.code == "read-after-step" and "in LinearLR only" in finding.message


@pytest.mark.parametrize(
    "given, other, code",
    [
        (js.PolynomialLR(0.1, 50), js.LinearLR(0.1, 1.0, 0.0, 50), None),
        (js.CosineAnnealingWarmRestarts(0.1, 10), COSINE, "another-class"),
        (
            js.CosineAnnealingWarmRestarts(0.1, 10),
            js.CosineAnnealingWarmRestarts(0.1, 10, 2),
            "another-T-mult",
        ),
        (js.MultiStepLR(0.1, [30, 60]), js.MultiStepLR(0.1, [30, 60, 4000]), "another-milestones"),
        (COSINE, lambda count: 0.1, "never-stepped"),
    ],
)
def test_a_schedule_in_the_place_of_a_log(given, other, code):
    comparison = js.compare(given, other)
    assert comparison.equal == (code is None)
    if code not in (None, "another-class"):
        assert [finding.code for finding in comparison.diagnoses] == [code]
    assert "They are compared at counts 0 to " in str(comparison)
