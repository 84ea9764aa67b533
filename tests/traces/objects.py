"""What torch's schedulers keep: their attributes and their optimizer's groups, for objects.json.

So `from_torch` is tested without torch, on stand-ins that have the same. `generate.py` writes the
file; `python -m pytest -m torch` compares it.
"""

import functools
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

from tests.traces import FOLDER
from tests.traces.functions import FUNCTIONS

FILE = FOLDER / "objects.json"
STEPS = (0, 9, 25)
"""After how many of its steps a scheduler is written down."""
EVERY = 6
"""Of the cases of a class, as of its traces, one in so many."""
UNUSED = (
    "dampening",
    "weight_decay",
    "nesterov",
    "maximize",
    "foreach",
    "fused",
    "differentiable",
    "params",
)


def make() -> dict:
    """What objects.json should hold: of each class and case, the object after some steps."""
    from tests.traces import generate, plateau
    from tests.traces.cases import CASES

    made = {}
    for class_name, cases in CASES.items():
        for case in cases[::EVERY]:
            scheduler = generate.scheduler(class_name, case.kwargs)
            steps = [(count, ()) for count in range(min(case.counts, 10))]
            made[f"{class_name}: {case.name}"] = _written(scheduler, steps)
    for case in plateau.CASES[::EVERY]:
        steps = [(0, ()), *((i + 1, (metric,)) for i, metric in enumerate(case.metrics))]
        made[f"ReduceLROnPlateau: {case.name}"] = _written(plateau.scheduler(case.kwargs), steps)
    return made


def _written(scheduler: Any, steps: list) -> dict:
    found = {}
    for count, arguments in steps:
        if count:
            scheduler.step(*arguments)
        if count in STEPS:
            found[count] = json.loads(json.dumps(_write(scheduler)))  # the object goes on
    return found


def _write(value: Any) -> Any:
    if isinstance(value, functools.partial):
        return {"partial": [value.func.__name__, *value.args]}
    if isinstance(value, Counter):
        return {"Counter": sorted(value.elements())}
    if isinstance(value, (list, tuple)):
        return [_write(x) for x in value]
    if isinstance(value, dict):
        return {key: _write(x) for key, x in value.items()}
    if hasattr(value, "param_groups"):
        groups = [{k: x for k, x in g.items() if k not in UNUSED} for g in value.param_groups]
        return {"param_groups": _write(groups), "defaults": {"lr": value.defaults["lr"]}}
    if hasattr(value, "optimizer"):
        attributes = {k: _write(x) for k, x in vars(value).items() if not _is_own(x)}
        return {"class": [type(value).__module__, type(value).__name__], "attributes": attributes}
    return value


def _is_own(value: Any) -> bool:
    """A function of torch's, which no reader needs."""
    function = value.func if isinstance(value, functools.partial) else value
    return callable(function) and function not in FUNCTIONS.values()


def read(written: Any) -> Any:
    """The stand-in that has those attributes, in a class with the name of torch's."""
    if isinstance(written, list):
        return [read(x) for x in written]
    if not isinstance(written, dict):
        return written
    if "partial" in written:
        name, *arguments = written["partial"]
        return functools.partial(FUNCTIONS[name], *arguments)
    if "Counter" in written:
        return Counter(written["Counter"])
    if "class" in written:
        module, name = written["class"]
        made = type(name, (), {"__module__": module})()
        vars(made).update(read(written["attributes"]))
        return made
    values = {key: read(x) for key, x in written.items()}
    return SimpleNamespace(**values) if "param_groups" in written else values


def load() -> dict[str, dict[str, Any]]:
    """By "class: case", what was written by the number of steps; for `read`."""
    return json.loads(FILE.read_text())
