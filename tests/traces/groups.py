"""Trains two parameter groups in torch: the weights after each update, for groups.json.

The recipe for fine-tuning: the backbone learns at a tenth of the head's rate, biases do not decay.
torch's groups hold everything that is set for them, so that two rates and two decays are four.
The decay is a hundred times the usual, to show in the weights. `lr` is what each update used.
"""

from pathlib import Path
from random import Random

import torch

from tests.traces import network

FILE = Path(__file__).parent / "groups.json"
INPUTS, HIDDEN, CLASSES = 5, 4, 3
EPOCHS, UPDATES, BATCH_SIZE = 8, 3, 8
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
MULTI_STEP = {"milestones": [2, 5], "gamma": 0.3}


def make() -> dict:
    """What groups.json should hold."""
    random = Random("groups")
    x = network.normal(random, UPDATES * BATCH_SIZE, INPUTS, 1)
    y = [random.randrange(CLASSES) for _ in x]
    initial = {
        "backbone.weight": network.normal(random, HIDDEN, INPUTS, 0.5),
        "backbone.bias": network.normal(random, 1, HIDDEN, 0.5)[0],
        "head.weight": network.normal(random, CLASSES, HIDDEN, 0.5),
        "head.bias": network.normal(random, 1, CLASSES, 0.5)[0],
    }

    model = network.make(initial)
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
            network.update(model, optimizer, inputs[batch], labels[batch])
            backbone, _, head, _ = (group["lr"] for group in optimizer.param_groups)
            lrs["backbone"].append(backbone)
            lrs["head"].append(head)
            for name, value in model.state_dict().items():
                weights[name].append(network.shortest(value))
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
