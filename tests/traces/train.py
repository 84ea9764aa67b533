"""Trains a small network in torch: its data, its losses and its weights, for mlp.json.

`batches` are the rows of `x` and `y` in each update, five updates an epoch; `lr` is what each
update used.
"""

from pathlib import Path
from random import Random

import numpy as np
import torch

from tests.traces import network

FILE = Path(__file__).parent / "mlp.json"
EXAMPLES, INPUTS, HIDDEN, CLASSES = 100, 8, 16, 4
EPOCHS, BATCH_SIZE = 10, 20


def make() -> dict:
    """What mlp.json should hold."""
    random = Random("mlp")
    x = network.normal(random, EXAMPLES, INPUTS, 1)
    teacher = network.normal(random, CLASSES, INPUTS, 1)
    y = [int(np.argmax(np.array(teacher) @ row)) for row in x]
    batches = []
    for _ in range(EPOCHS):
        order = random.sample(range(EXAMPLES), EXAMPLES)
        batches += [order[i : i + BATCH_SIZE] for i in range(0, EXAMPLES, BATCH_SIZE)]
    initial = {
        "hidden.weight": network.normal(random, HIDDEN, INPUTS, 0.35),
        "hidden.bias": network.normal(random, 1, HIDDEN, 0.1)[0],
        "output.weight": network.normal(random, CLASSES, HIDDEN, 0.25),
        "output.bias": network.normal(random, 1, CLASSES, 0.1)[0],
    }

    model = network.make(initial)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.3)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    losses, lrs = [], []
    for update, batch in enumerate(batches, start=1):
        loss = network.update(model, optimizer, inputs[batch], labels[batch])
        losses.append(network.shortest(loss))
        lrs.append(optimizer.param_groups[0]["lr"])
        if update * BATCH_SIZE % EXAMPLES == 0:
            scheduler.step()
    final = {name: network.shortest(value) for name, value in model.state_dict().items()}
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
