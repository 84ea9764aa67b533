"""explain: how many rows and how many changes an explanation needs."""

import numpy as np

import jaxsched as js


def codes(schedule, log):
    return [finding.code for finding in js.compare(schedule, log).diagnoses]


def test_four_rows_are_the_fewest_that_are_explained():
    log = js.StepLR(0.1, 1, 0.5)(np.arange(4))
    assert codes(js.StepLR(0.1, 1), log) == ["another-gamma"]
    assert codes(js.StepLR(0.1, 1), log[:3]) == []


def test_two_findings_are_of_two_codes():
    """Two other learning rates may be anything."""
    schedule = js.SequentialLR([js.StepLR(0.1, 5), js.StepLR(0.2, 5)], [20])
    for lrs, found in (((0.3, 0.2), ["another-base-lr"]), ((0.3, 0.5), ["another-schedule"])):
        other = js.SequentialLR([js.StepLR(lr, 5) for lr in lrs], [20])
        assert codes(schedule, other(np.arange(40))) == found


def test_a_printed_number_may_be_half_a_digit_off():
    schedule = js.ConstantLR(0.1005, 1.0)
    assert 0.101 - 0.1005 > 0.0005  # which rounding makes of half a digit
    for text, equal in (("0.101", True), ("0.100", True), ("0.102", False), ("0.099", False)):
        assert js.compare(schedule, [text] * 5).equal == equal
    # And what torch's recursion loses may be in it.
    for lost, equal in ((2e-13, True), (2e-12, False)):
        assert js.compare(js.ConstantLR(0.1005 - lost, 1.0), ["0.101"] * 5).equal == equal


def test_as_many_values_as_a_finding_costs():
    """A log with one change has two values: enough for a length beside the schedule's own."""
    schedule, counts = js.per_epoch(js.MultiStepLR(0.1, [4]), 7), np.arange(60)
    for length, found in (
        (6, ["steps-per-epoch"]),
        (8, ["steps-per-epoch"]),
        (10, ["steps-per-epoch"]),
    ):
        log = js.per_epoch(js.MultiStepLR(0.1, [4]), length)(counts)
        assert codes(schedule, log) == found


def test_a_restart_from_0_is_found_with_another_mistake_in_three_values():
    schedule, counts = js.MultiStepLR(0.1, [10, 40]), np.arange(25)
    log = 2.5 * schedule(np.where(counts < 17, counts, counts - 17))
    assert sorted(codes(schedule, log)) == ["another-base-lr", "restart"]
