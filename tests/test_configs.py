"""Schedules in config systems: what fills their fields, and the page's blocks for each system."""

import collections
import dataclasses
import doctest

import pytest

import jaxsched as js
from tests.schedules import ARGUMENTS
from tests.test_docs import CONFIG_SYSTEMS, PAGES
from tests.traces import cookbook

BLOCKS = [block for block in cookbook.blocks(PAGES["configs"].read_text()) if block.title]


@pytest.mark.port
@pytest.mark.parametrize("system", CONFIG_SYSTEMS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # their own
def test_the_page_holds_for(system):
    pytest.importorskip(system)
    names = {"js": js}
    runner = doctest.DebugRunner(
        verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    blocks = [block for block in BLOCKS if block.title == system]
    assert blocks
    for block in blocks:
        test = doctest.DocTestParser().get_doctest(block.code, names, system, None, block.line)
        runner.run(test, clear_globs=False)
        names |= test.globs


def filled(name, **arguments):
    """As pydantic and msgspec make a dataclass: fields are set, and `__init__` is not called."""
    cls = getattr(js, name)
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    made = object.__new__(cls)
    vars(made).update(defaults | arguments)
    made.__post_init__()
    return made


ALL = ARGUMENTS | {"ReduceLROnPlateau": {"base_lr": 0.1}}


@pytest.mark.parametrize("name", ALL)
def test_fields_that_are_filled_are_checked(name):
    expected = getattr(js, name)(**ALL[name])
    made = filled(name, **ALL[name])
    assert made == expected and hash(made) == hash(expected) and repr(made) == repr(expected)
    for argument in ALL[name]:
        with pytest.raises((TypeError, ValueError), match=f"`{argument}"):
            filled(name, **(ALL[name] | {argument: object()}))


def test_what_a_class_says_of_all_its_fields_holds_for_filled_ones():
    with pytest.raises(ValueError, match="`total_steps`, or both"):
        filled("OneCycleLR", max_lr=0.1)
    with pytest.raises(ValueError, match="`milestones`"):
        filled("SequentialLR", schedulers=[js.StepLR(0.1, 3)], milestones=[4])


class DictConfig(collections.UserDict):
    """As OmegaConf's: a mapping, and no function."""


@pytest.mark.parametrize(
    "call",
    [
        lambda config: js.SequentialLR([config], []),
        lambda config: js.ChainedScheduler([config]),
        lambda config: js.per_epoch(config, 3),
        lambda config: js.clamp(config, 3),
        lambda config: js.check(config, 3),
        lambda config: js.LambdaLR(0.1, config),
    ],
)
def test_a_config_in_the_place_of_a_schedule_is_refused_with_the_way_out(call):
    for config in (DictConfig(base_lr=0.1), {"base_lr": 0.1}):
        with pytest.raises(TypeError, match="must be a callable .*`_convert_: object`"):
            call(config)


class FieldReference:
    """As that of ml_collections."""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("base_lr", lambda reference: js.StepLR(reference, 3)),
        ("max_lr", lambda reference: js.OneCycleLR(reference, 3)),
        ("gamma", lambda reference: js.StepLR(0.1, 3, reference)),
        ("step_size", lambda reference: js.StepLR(0.1, reference)),
        ("milestones", lambda reference: js.MultiStepLR(0.1, reference)),
        ("milestones", lambda reference: js.MultiStepLR(0.1, [reference])),
        ("steps_per_epoch", lambda reference: js.per_epoch(js.StepLR(0.1, 3), reference)),
        ("schedule", lambda reference: js.per_epoch(reference, 3)),
    ],
)
def test_a_reference_to_a_value_is_refused_with_the_way_out(name, call):
    with pytest.raises(TypeError, match=f"`{name}` must be .*reference.get\\(\\)$"):
        call(FieldReference())


ODD = [-1, 0, 1, 2.5, 5.0, None, "3", "cos", True, float("nan"), float("inf"), [3, 2], [], {}, abs]


@pytest.mark.parametrize("name", ALL)
def test_a_field_is_filled_as_a_call_would_and_refused_as_a_call_would(name):
    cls = getattr(js, name)

    def outcome(make):
        try:
            return make()
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    for field in dataclasses.fields(cls):
        for value in ODD:
            arguments = ALL[name] | {field.name: value}
            called = outcome(lambda arguments=arguments: cls(**arguments))
            assert outcome(lambda arguments=arguments: filled(name, **arguments)) == called
