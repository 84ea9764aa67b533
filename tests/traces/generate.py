"""Runs torch on the table of cases and stores what it gave.

    python -m tests.traces.generate    rewrites the JSON files in this folder

`python -m pytest -m torch` makes them again and compares.
"""

import json
from itertools import groupby
from typing import Any

import torch

from tests.traces import FOLDER, groups, objects, plateau, train
from tests.traces.cases import CASES, Case, construct


def scheduler(class_name: str, kwargs: dict) -> Any:
    """torch's scheduler for the `kwargs` of a case, with an optimizer that has done a step."""
    base_lr = next(_find("base_lr", kwargs), 0.1)  # OneCycleLR has none, and sets its own
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr, momentum=0.9)

    def make(name, kwargs):
        if name != "CyclicLR":  # the rest take base_lr from the optimizer
            kwargs.pop("base_lr", None)
        kwargs.pop("horizon", None)  # jaxsched's own
        if name == "ChainedScheduler":
            return torch.optim.lr_scheduler.ChainedScheduler(**kwargs)
        room = torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler
        return getattr(room, name)(optimizer, **kwargs)

    made = construct(make, class_name, kwargs)
    optimizer.step()  # changes nothing without a gradient, but torch warns if it is left out
    return made


def trace(class_name: str, case: Case) -> dict[str, list[float]]:
    """lr and momentum after the scheduler's construction, and after each of its steps."""
    made = scheduler(class_name, case.kwargs)
    group = made.optimizer.param_groups[0]
    values = {"lr": [group["lr"]], "momentum": [group["momentum"]]}
    for _ in range(case.counts - 1):
        made.step()
        values["lr"].append(group["lr"])
        values["momentum"].append(group["momentum"])
    if class_name not in ("CyclicLR", "OneCycleLR"):
        del values["momentum"]
    return values


def make(class_name: str) -> dict:
    """What the JSON file of a class should hold."""
    listens = class_name == "ReduceLROnPlateau"
    cases = []
    for case in plateau.CASES if listens else CASES[class_name]:
        values = plateau.trace(case) if listens else trace(class_name, case)
        runs = {key: _runs(v) for key, v in values.items()}
        cases.append({"name": case.name, "kwargs": case.kwargs, **runs})
    return {"torch": torch.__version__.split("+")[0], "class": class_name, "cases": cases}


def _runs(values: list[float]) -> list[list]:
    return [[text, len([*run])] for text, run in groupby(float(v).hex() for v in values)]


def _find(key: str, kwargs: dict):
    """The argument's values, among the members' as well."""
    if key in kwargs:
        yield kwargs[key]
    for _, member in kwargs.get("schedulers", []):
        yield from _find(key, member)


def to_text(made: dict) -> str:
    """JSON with one line a case."""
    cases = ",\n".join(json.dumps(case) for case in made["cases"])
    head = json.dumps({**made, "cases": []})
    return f"{head.removesuffix(']}')}\n{cases}\n]}}\n"


if __name__ == "__main__":
    for class_name in [*CASES, "ReduceLROnPlateau"]:
        (FOLDER / f"{class_name}.json").write_text(to_text(make(class_name)))
    for training in (train, groups, objects):
        made = training.make()
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in made)
        training.FILE.write_text(f"{{\n{lines}\n}}\n")
