"""Frozen: a value's members, the same with some of them changed, and what its call explains."""

import dataclasses

import numpy as np
import pytest

import jaxsched as js
from tests.schedules import ARGUMENTS

STEP, LINEAR = js.StepLR(0.1, 5), js.LinearLR(0.1)
CHAIN = js.ChainedScheduler([js.per_epoch(STEP, 3)])
TREE = js.SequentialLR([LINEAR, js.clamp(CHAIN, 9)], [4])


def test_a_walk_meets_each_member_after_what_holds_it():
    assert [type(member).__name__ for member in TREE._walk()] == [
        "SequentialLR", "LinearLR", "clamp", "ChainedScheduler", "per_epoch", "StepLR"
    ]  # fmt: skip
    assert [*STEP._walk()] == [STEP]
    plateau = js.ReduceLROnPlateau(0.1)
    assert [*plateau._walk()] == [plateau]


def with_gamma(member):
    return dataclasses.replace(member, gamma=0.5) if isinstance(member, js.StepLR) else member


def test_what_does_not_change_is_the_same_object():
    assert TREE._rebuilt(lambda member: member) is TREE
    changed = TREE._rebuilt(with_gamma)
    assert changed == eval(repr(TREE).replace("gamma=0.1", "gamma=0.5"), vars(js))
    assert changed.schedulers[0] is LINEAR
    assert TREE.schedulers[1].schedule is CHAIN  # the given one stays as it is
    both = js.SequentialLR([CHAIN, LINEAR, TREE], [3, 7])
    assert both._rebuilt(lambda m: LINEAR if m is TREE else m).schedulers[0] is CHAIN


def test_members_are_changed_before_what_holds_them():
    seen = []
    TREE._rebuilt(lambda member: seen.append(type(member).__name__) or member)
    assert seen == ["LinearLR", "StepLR", "per_epoch", "ChainedScheduler", "clamp", "SequentialLR"]


def test_what_is_built_again_is_checked_again():
    with pytest.raises(ValueError, match="`schedulers` must each be base_lr times a factor"):
        TREE._rebuilt(lambda m: js.RecordedLR([0.1]) if isinstance(m, js.StepLR) else m)


def test_an_error_from_within_a_constructor_keeps_its_message(monkeypatch):
    # An array by itself is taken for a count, where the call does not fit the class.
    with pytest.raises(TypeError, match="StepLR is a class and was called with a count"):
        js.StepLR(np.int64(3))
    with pytest.raises(TypeError, match="^`values` must be a sequence of numbers"):
        js.RecordedLR(np.zeros((2, 2)))

    def broken(*_):
        raise TypeError("from within")

    monkeypatch.setitem(js.ExponentialLR._checks, "base_lr", broken)
    with pytest.raises(TypeError, match="^from within$"):
        js.ExponentialLR(np.float32(0.1), 0.9)


def test_a_call_that_fits_no_class_keeps_pythons_message():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'step_size'"):
        js.StepLR(0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepsize'"):
        js.StepLR(0.1, stepsize=3)


def test_what_has_arguments_is_a_dataclass_and_their_base_is_none():
    """A dataclass without fields would be written as {}."""
    assert not dataclasses.is_dataclass(js.Schedule)
    for name in (*ARGUMENTS, "ReduceLROnPlateau"):
        assert dataclasses.fields(getattr(js, name))
    assert js.Schedule.__module__ == "jaxsched"
