"""Trains a small network in torch and stores its data, its losses and its weights in mlp.json.

    python tests/traces/train.py    rewrites mlp.json

`python -m pytest -m torch` trains again and compares.

Everything is float32. Weights are as torch holds them, (outputs, inputs): Flax's kernels are
their transposes. `batches` are the rows of `x` and `y` in each update, five updates an epoch;
`lr` is what each update used.
"""

import json
from pathlib import Path
from random import Random

import numpy as np
import torch

FILE = Path(__file__).parent / "mlp.json"
EXAMPLES, INPUTS, HIDDEN, CLASSES = 100, 8, 16, 4
EPOCHS, BATCH_SIZE = 10, 20


def make() -> dict:
    """What mlp.json should hold."""
    random = Random("mlp")  # not torch's generator, whose numbers may change

    def normal(rows, columns, deviation):
        return [[round(random.gauss(0, deviation), 3) for _ in range(columns)] for _ in range(rows)]

    x = normal(EXAMPLES, INPUTS, 1)
    teacher = normal(CLASSES, INPUTS, 1)
    y = [int(np.argmax(np.array(teacher) @ row)) for row in x]
    batches = []
    for _ in range(EPOCHS):
        order = random.sample(range(EXAMPLES), EXAMPLES)
        batches += [order[i : i + BATCH_SIZE] for i in range(0, EXAMPLES, BATCH_SIZE)]
    initial = {
        "hidden.weight": normal(HIDDEN, INPUTS, 0.35),
        "hidden.bias": normal(1, HIDDEN, 0.1)[0],
        "output.weight": normal(CLASSES, HIDDEN, 0.25),
        "output.bias": normal(1, CLASSES, 0.1)[0],
    }

    model = torch.nn.Sequential()
    model.add_module("hidden", torch.nn.Linear(INPUTS, HIDDEN))
    model.add_module("tanh", torch.nn.Tanh())
    model.add_module("output", torch.nn.Linear(HIDDEN, CLASSES))
    model.load_state_dict({name: torch.tensor(value) for name, value in initial.items()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.3)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    losses, lrs = [], []
    for update, batch in enumerate(batches, start=1):
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(_shortest(loss))
        lrs.append(optimizer.param_groups[0]["lr"])
        if update * BATCH_SIZE % EXAMPLES == 0:
            scheduler.step()
    final = {name: _shortest(value) for name, value in model.state_dict().items()}
    return {
        "torch": torch.__version__.split("+")[0],
        "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "StepLR": {"step_size": 2, "gamma": 0.3},
        "x": x,
        "y": y,
        "batches": batches,
        "initial": initial,
        "loss": losses,
        "lr": lrs,
        "final": final,
    }


def _shortest(tensor: torch.Tensor):
    """Nested lists of the shortest decimals that give the same float32."""

    def shorten(value):
        return [*map(shorten, value)] if isinstance(value, list) else float(str(np.float32(value)))

    return shorten(tensor.detach().tolist())


def same(made: dict, stored: dict) -> bool:
    """Equal but for float32 sums, which another processor may add in another order."""
    if {**made, "loss": 0, "final": 0} != {**stored, "loss": 0, "final": 0}:
        return False
    pairs = [(made["loss"], stored["loss"])]
    pairs += [(made["final"][name], stored["final"][name]) for name in stored["final"]]
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


if __name__ == "__main__":
    made = make()
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in made)
    FILE.write_text(f"{{\n{lines}\n}}\n")
