"""Runs the torch code of the cookbook's recipes, and stores the learning rates that it gave.

    python tests/traces/cookbook.py    rewrites cookbook.json

The torch code is that of the page itself, docs/pages/cookbook.md: what a reader sees is what runs.
Values are run-length encoded, as in the other files of this folder. Reading needs no torch.
"""

import csv
import json
import math
import re
import tempfile
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "cookbook.json"
PAGE = Path(__file__).parents[2] / "docs" / "pages" / "cookbook.md"


class Block(NamedTuple):
    """One fenced block of Python on a page."""

    heading: str
    title: str
    """"" for what runs as it stands, else what the fence says: "torch", for example."""
    code: str
    line: int
    """Of the code's first line, from 0."""


_BLOCK = re.compile(
    r'^```(?:python(?: title="([^"\n]*)")?|\{code-cell\} python)\n(.*?)^```$|^#+ ([^\n]*)$',
    re.MULTILINE | re.DOTALL,
)


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, in order, each with the heading that it is under."""
    found, heading = [], ""
    for match in _BLOCK.finditer(text):
        title, code, new_heading = match.groups()
        if new_heading is not None:
            heading = new_heading
        else:
            line = text.count("\n", 0, match.start(2))
            found.append(Block(heading, title or "", code, line))
    return found


UPDATES = 100
"""In an epoch, for the recipes that do something after each update and after each epoch."""
VAL_LOSSES = [2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, *4 * [0.75], 0.4, *10 * [0.75]]
"""One an epoch: no cut in the 500 updates of the warmup, then four, if nothing stops them."""
EPS = ("lr, min_lr, eps = 0.1, 2e-3, 1e-6", "lr, min_lr, eps = 0.1, 0.0, 1e-2")
"""The same recipe with an eps that stops the second cut."""


def batches():
    """Inputs and targets in small fractions, the same for torch and JAX."""
    for i in range(48):
        x = [[(7 * i + 3 * j + 5 * k) % 11 / 4 - 1 for k in range(3)] for j in range(2)]
        yield x, [[(5 * i + 2 * j) % 7 - 2.0] for j in range(2)]


INITIAL = {"weight": [[0.5, -0.25, 1.0]], "bias": [0.125]}


def make() -> dict:
    """What cookbook.json should hold."""
    import torch

    code: dict[str, list[str]] = {}
    for block in blocks(PAGE.read_text()):
        if block.title == "torch":
            code.setdefault(block.heading, []).append(block.code)

    def run(text: str, names: dict) -> dict:
        model = torch.nn.Linear(3, 1)
        model.load_state_dict({name: torch.tensor(value) for name, value in INITIAL.items()})
        modules = {"torch": torch, "math": math, "csv": csv}
        for name, value in (vars(torch.optim.lr_scheduler) | modules | {"model": model}).items():
            names.setdefault(name, value)
        exec(compile(text, "<cookbook>", "exec"), names)
        return names

    def begin(heading: str, index: int = 0) -> dict:
        return run(code[heading][index], {})

    def lr(names: dict) -> float:
        return names["optimizer"].param_groups[0]["lr"]

    def stepped(heading: str, counts: int, *schedulers: str) -> list[float]:
        names = begin(heading)
        names["optimizer"].step()  # changes nothing without a gradient; torch warns without it
        lrs = [lr(names)]
        for _ in range(counts - 1):
            for scheduler in schedulers or ["scheduler"]:
                names[scheduler].step()
            lrs.append(lr(names))
        return lrs

    def in_two_units(names: dict, update: str, epoch: str, metrics: list) -> list[float]:
        names["optimizer"].step()
        lrs = []
        for metric in metrics:
            for _ in range(UPDATES):
                lrs.append(lr(names))
                names[update].step()
            names[epoch].step(*metric)
        return lrs

    two, plateau = "Two `.step()` on one optimizer", "Warmup, then plateau"
    val_losses = [[loss] for loss in VAL_LOSSES]
    made = {
        "ResNet with warmup": stepped("ResNet with warmup", 200 * 391),
        "ResNet, one step an epoch": stepped("ResNet, one step an epoch", 90),
        "Hugging Face: linear with warmup": stepped("Hugging Face: linear with warmup", 1101),
        "Hugging Face: cosine with warmup": stepped("Hugging Face: cosine with warmup", 1101),
        "Hugging Face: constant with warmup": stepped("Hugging Face: constant with warmup", 1101),
        "Noam": stepped("Noam", 2000),
        "Warmup, stable, decay (WSD)": stepped("Warmup, stable, decay (WSD)", 1101),
        plateau: in_two_units(begin(plateau), "warmup", "plateau", val_losses),
        f"{plateau}: eps": in_two_units(
            run(code[plateau][0].replace(*EPS), {}), "warmup", "plateau", val_losses
        ),
        two: stepped(two, 120, "scheduler1", "scheduler2"),
        f"{two}: two units": in_two_units(begin(two, 1), "scheduler1", "scheduler2", 12 * [[]]),
    }

    def keep() -> None:
        lrs.append(lr(names))
        weights.append([*names["model"].weight[0].tolist(), names["model"].bias.item()])

    def told():  # the loop is the page's, and this is what it asks for batches
        for x, y in batches():
            keep()
            yield torch.tensor(x), torch.tensor(y)

    heading, lrs, weights = "Gradient clipping and accumulation", [], []
    names = {"batches": told(), "loss_fn": torch.nn.functional.mse_loss}
    run(code[heading][0], names)
    keep()
    made[heading] = lrs

    heading = "Save and restore with Orbax"
    define, save, restore = code[heading]
    with tempfile.TemporaryDirectory() as folder:
        lrs, names = [], run(define, {})
        for part in (save, restore):
            for _ in range(5):
                names["optimizer"].step()
                lrs.append(lr(names))
                names["scheduler"].step()
            if part is save:
                run(save, names | {"path": Path(folder) / "run.pt"})
                names = run(restore, begin(heading) | {"path": Path(folder) / "run.pt"})
        made[heading] = lrs
    made["Early stopping"] = begin("Early stopping")["lrs"]

    heading = "Log to TensorBoard and CSV"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lr.csv"
        run(code[heading][0], {"path": path})
        made[heading] = [float(row["lr"]) for row in csv.DictReader(path.read_text().splitlines())]

    return {
        "torch": torch.__version__.split("+")[0],
        "weights": weights,
        **{name: _runs(values) for name, values in made.items()},
    }


def _runs(values: list[float]) -> list[list]:
    return [[text, len([*run])] for text, run in groupby(float(v).hex() for v in values)]


if __name__ == "__main__":
    made = make()
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in made)
    FILE.write_text(f"{{\n{lines}\n}}\n")
