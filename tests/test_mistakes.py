"""The mistakes that compare tries, where test_compare's table of them does not come."""

import numpy as np
import pytest

import jaxsched as js

COUNTS = np.arange(60)
WARMUP = js.LinearLR(0.1, 0.1, total_iters=5)
STEPS, COSINE = js.StepLR(0.1, 4, gamma=0.5), js.CosineAnnealingLR(0.1, 30, eta_min=0.01)


def the_finding(schedule, other):
    (finding,) = js.compare(schedule, other(COUNTS)).diagnoses
    return finding


def test_no_warmup_before_two_members():
    """Whose milestone then comes as much earlier."""
    schedule = js.SequentialLR([WARMUP, STEPS, COSINE], [5, 25])
    finding = the_finding(schedule, js.SequentialLR([STEPS, COSINE], [20]))
    assert finding.code == "no-warmup" and "the 5 counts of LinearLR" in finding.message


def longer(by):
    return js.LinearLR(0.1, 0.1, total_iters=5 + by)


@pytest.mark.parametrize("by", [-2, 3])
@pytest.mark.parametrize(
    "milestones",
    [(0, 0), (1, 0), (1, 1)],
    ids=["which stay", "of which the first moves", "which move"],
)
def test_another_warmup_before_milestones(by, milestones):
    schedule = js.SequentialLR([WARMUP, STEPS, COSINE], [8, 25])
    first, second = (m + by * moves for m, moves in zip((8, 25), milestones, strict=True))
    other = js.SequentialLR([longer(by), STEPS, COSINE], [first, second])
    finding = the_finding(schedule, other)
    assert finding.code == "another-warmup"
    assert f"a warmup of {5 + by} counts, {abs(by)} " in finding.message


@pytest.mark.slow
@pytest.mark.parametrize("inner", [js.CosineAnnealingLR(0.1, 20), js.LinearLR(0.1, 0.1, 1.0, 20)])
def test_a_member_without_milestones_is_on_no_other_clock(inner):
    schedule = js.per_epoch(inner, 13)
    log = js.per_epoch(js.LinearLR(0.1, 0.1, 1.0, 25), 13)(np.arange(400))
    comparison = js.compare(schedule, log)
    assert not comparison.equal
    if isinstance(inner, js.LinearLR):
        assert comparison.schedule == js.per_epoch(js.LinearLR(0.1, 0.1, 1.0, 25), 13)
    warm = js.SequentialLR([js.LinearLR(0.1, 0.1, 1.0, 26), schedule], [26])
    assert not js.compare(warm, log).equal
