"""The public face: names, where they live, what run time sees of their types, their examples."""

import doctest
import importlib
import inspect
import pickle
import pkgutil
import types
import typing

import numpy as np
import pytest

import jaxsched as js
from tests.schedules import ARGUMENTS

PUBLIC = {name: getattr(js, name) for name in js.__all__}
CLASSES = {name: cls for name, cls in PUBLIC.items() if isinstance(cls, type)}


def test_a_star_import_gives_every_public_name_and_no_other():
    names = {}
    exec("from jaxsched import *", names)
    assert names.keys() - {"__builtins__"} == {*js.__all__}
    assert sorted(js.__all__) == js.__all__ and len({*js.__all__}) == len(js.__all__)


def test_every_public_object_is_in_all():
    """The tools are there when they are first used: they are in `dir`."""
    found = {
        name
        for name in dir(js)
        if not name.startswith("_") and not isinstance(getattr(js, name), types.ModuleType)
    }
    assert found - {"TYPE_CHECKING"} == {*js.__all__}


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_lives_in_the_package(name):
    cls = CLASSES[name]
    assert (cls.__module__, cls.__qualname__) == ("jaxsched", name)
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_pickles_name_the_package_and_no_room_of_it():
    values = [getattr(js, name)(**given) for name, given in ARGUMENTS.items() if "fn" not in given]
    values = [v for v in values if not any(m._is_traced for m in v._walk())]
    values += [js.ReduceLROnPlateau(0.1), js.Finding("a", "b", "c"), js.Comparison(True)]
    for value in values:
        text = pickle.dumps(value)
        assert pickle.loads(text) == value
        if b"lr_lambda" not in text:
            assert b"jaxsched._" not in text, value


PLAIN = {float, int, str, bool, type(None), js.Schedule, np.ndarray, js.Finding, Ellipsis}


def names_in(hint):
    """The classes that an annotation names."""
    inner = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return {*map(type, inner)}
    if getattr(origin, "__name__", "") == "Callable":
        return set()  # what it takes and returns is anything
    return {hint} if not inner else set().union(*map(names_in, inner))


@pytest.mark.parametrize("name", CLASSES)
def test_annotations_at_run_time_are_plain(name):
    hints = typing.get_type_hints(CLASSES[name])
    fields = getattr(CLASSES[name], "__dataclass_fields__", {})
    assert fields.keys() <= hints.keys()
    for field in fields:
        assert names_in(hints[field]) <= PLAIN, (field, hints[field])


def test_annotations_say_what_is_kept():
    hints = typing.get_type_hints(js.MultiStepLR)
    assert (hints["base_lr"], hints["milestones"]) == (float, tuple[int, ...])
    assert typing.get_type_hints(js.CyclicLR)["step_size_down"] == int | None
    assert typing.get_type_hints(js.SequentialLR)["schedulers"] == tuple[js.Schedule, ...]
    assert typing.get_type_hints(js.per_epoch)["steps_per_epoch"] == int | tuple[int, ...]
    assert typing.get_type_hints(js.RecordedLR)["values"] is np.ndarray


# from_torch's needs torch: docs/pages/port.md has it, and a test of the torch leg.
WITHOUT_EXAMPLES = {"Finding", "Schedule", "from_torch"}
LATE = {"Comparison"}
"""Classes that are no names of `jaxsched` before their first use, so that pytest does not see them.
"""


def test_pytest_finds_the_example_of_every_public_name():
    """A class is found where its `__module__` says, and a tool in its own module."""
    found, finder = set(), doctest.DocTestFinder(exclude_empty=True)
    for module in [js.__name__, *(m.name for m in pkgutil.walk_packages(js.__path__, "jaxsched."))]:
        if not module.endswith("__main__"):
            tests = finder.find(importlib.import_module(module), module)
            found |= {test.name.rpartition(".")[2] for test in tests if test.examples}
    assert (
        found & {*js.__all__} == {*js.__all__} - WITHOUT_EXAMPLES - LATE
    )  # helpers have some, too


@pytest.mark.parametrize("name", LATE)
def test_the_example_of_a_class_that_is_imported_late_runs(name):
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DebugRunner(verbose=False)
    (test,) = finder.find(PUBLIC[name], name, module=False, globs={})
    assert test.examples
    runner.run(test)


def test_every_public_name_has_an_example():
    for name in {*js.__all__} - WITHOUT_EXAMPLES:
        assert ">>> " in inspect.getdoc(PUBLIC[name]), name
