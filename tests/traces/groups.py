"""Trains two parameter groups in torch and stores the weights after each update in groups.json.

    python tests/traces/groups.py    rewrites groups.json

`python -m pytest -m torch` trains again and compares.

The recipe for fine-tuning: the backbone learns at a tenth of the head's rate, biases do not decay.
torch's groups hold everything that is set for them, so that two rates and two decays are four.
The decay is a hundred times the usual, to show in the weights. Everything is float32; weights are
as torch holds them, (outputs, inputs); `lr` is what each update used.
"""

import json
from pathlib import Path
from random import Random

import numpy as np
import torch

FILE = Path(__file__).parent / "groups.json"
INPUTS, HIDDEN, CLASSES = 5, 4, 3
EPOCHS, UPDATES, BATCH_SIZE = 8, 3, 8
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
MULTI_STEP = {"milestones": [2, 5], "gamma": 0.3}


def make() -> dict:
    """What groups.json should hold."""
    random = Random("groups")  # not torch's generator, whose numbers may change

    def normal(rows, columns, deviation):
        return [[round(random.gauss(0, deviation), 3) for _ in range(columns)] for _ in range(rows)]

    x = normal(UPDATES * BATCH_SIZE, INPUTS, 1)
    y = [random.randrange(CLASSES) for _ in x]
    initial = {
        "backbone.weight": normal(HIDDEN, INPUTS, 0.5),
        "backbone.bias": normal(1, HIDDEN, 0.5)[0],
        "head.weight": normal(CLASSES, HIDDEN, 0.5),
        "head.bias": normal(1, CLASSES, 0.5)[0],
    }

    model = torch.nn.Sequential()
    model.add_module("backbone", torch.nn.Linear(INPUTS, HIDDEN))
    model.add_module("tanh", torch.nn.Tanh())
    model.add_module("head", torch.nn.Linear(HIDDEN, CLASSES))
    model.load_state_dict({name: torch.tensor(value) for name, value in initial.items()})
    lr = SGD["lr"]
    groups = [
        {"params": [model.backbone.weight], "lr": lr / 10},
        {"params": [model.backbone.bias], "lr": lr / 10, "weight_decay": 0},
        {"params": [model.head.weight]},
        {"params": [model.head.bias], "weight_decay": 0},
    ]
    optimizer = torch.optim.SGD(groups, **SGD)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, **MULTI_STEP)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    lrs, weights = {"backbone": [], "head": []}, {name: [] for name in initial}
    for _ in range(EPOCHS):
        for i in range(0, len(x), BATCH_SIZE):
            batch = slice(i, i + BATCH_SIZE)
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            backbone, _, head, _ = (group["lr"] for group in optimizer.param_groups)
            lrs["backbone"].append(backbone)
            lrs["head"].append(head)
            for name, value in model.state_dict().items():
                weights[name].append(_shortest(value))
        scheduler.step()
    return {
        "torch": torch.__version__.split("+")[0],
        "sgd": SGD,
        "MultiStepLR": MULTI_STEP,
        "x": x,
        "y": y,
        "batch_size": BATCH_SIZE,
        "initial": initial,
        "lr": lrs,
        "weights": weights,
    }


def _shortest(tensor: torch.Tensor):
    """Nested lists of the shortest decimals that give the same float32."""

    def shorten(value):
        return [*map(shorten, value)] if isinstance(value, list) else float(str(np.float32(value)))

    return shorten(tensor.tolist())


def same(made: dict, stored: dict) -> bool:
    """Equal but for float32 sums, which another processor may add in another order."""
    if {**made, "weights": 0} != {**stored, "weights": 0}:
        return False
    pairs = [(made["weights"][name], stored["weights"][name]) for name in stored["initial"]]
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


if __name__ == "__main__":
    made = make()
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in made)
    FILE.write_text(f"{{\n{lines}\n}}\n")
