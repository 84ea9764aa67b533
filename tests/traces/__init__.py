"""Learning rates that torch gave, over every count, as exact doubles.

`cases.py` is the table of cases, `generate.py` runs torch on it and writes one JSON file a class:

    {"torch": "2.13.0", "class": "StepLR", "cases": [
    {"name": ..., "kwargs": {...}, "lr": [["0x1.999999999999ap-4", 30], ...]},
    ...

The values are run-length encoded: [value as float.hex(), how many counts in a row]. CyclicLR and
OneCycleLR have "momentum" beside "lr". Reading needs no torch.

`train.py` and `groups.py` train a `network.py` in torch, for mlp.json and groups.json, which
`generate.py` writes, too.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def load(class_name: str, key: str = "lr") -> Iterator[tuple[str, dict, np.ndarray]]:
    """The stored (name, kwargs, values) of a class; values[n] is torch's after n steps.

    `kwargs` are those of the jaxsched class, as `cases.construct` takes them; `key` is "lr" or
    "momentum".
    """
    for case in json.loads((FOLDER / f"{class_name}.json").read_text())["cases"]:
        values, times = zip(*case[key])
        yield case["name"], case["kwargs"], np.repeat([*map(float.fromhex, values)], times)
