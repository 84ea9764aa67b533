"""Runs torch's optimizers of docs/pages/optimizers.md, and stores what they gave.

    python -m tests.traces.optimizers    rewrites optimizers.json

The calls are those of the page's tables. Kept are the weights after 10, 25 and 50 updates, and the
optimizer's state after 25. Reading needs no torch.
"""

import json
import re
from pathlib import Path

import numpy as np

import jaxsched as js

FILE = Path(__file__).parent / "optimizers.json"
PAGE = Path(__file__).parents[2] / "docs" / "pages" / "optimizers.md"
SCHEDULE = js.StepLR(0.01, 10, gamma=0.5)
UPDATES = 50
INITIAL = np.array([[0.5, -0.25, 1.0], [0.3, 0.7, -0.9]])


def rows():
    """torch's call, optax's chain, and how far apart their weights may be, 0 where equal."""
    found = re.findall(r"(?m)^\| `(.*?)` \| `(.*?)` \| ([\w.-]*) \|", PAGE.read_text())
    return [(torchs, ours, 0.0 if by == "equal" else float(by)) for torchs, ours, by in found]


def moments():
    """torch's call, and the names of its moments with those of optax."""
    return dict(re.findall(r'(?m)^\| `(.*?)` \| `(\w+=".*?)` \|$', PAGE.read_text()))


def gradient(weights, update):
    return 0.3 * weights + np.sin(np.arange(6.0).reshape(2, 3) + update)


def make():
    """The weights after 10, 25 and 50 updates of each, and the moments after 25."""
    import torch

    made = {}
    for code in dict.fromkeys(torchs for torchs, _, _ in rows()):
        weights = torch.nn.Parameter(torch.tensor(INITIAL))
        optimizer = eval(code, vars(torch.optim) | {"params": [weights], "lr": 0.1})
        kept, state = [], {}
        for update in range(UPDATES):
            optimizer.param_groups[0]["lr"] = SCHEDULE(update)
            weights.grad = torch.tensor(gradient(weights.detach().numpy(), update))
            optimizer.step()
            if update + 1 in (10, 25, 50):
                kept.append(weights.detach().numpy().tolist())
            if update + 1 == 25:
                found = optimizer.state[weights].items()
                state = {name: value.tolist() for name, value in found if value is not None}
        made[code] = {"weights": kept, "state": state}
    return made


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(code)}: {json.dumps(kept)}" for code, kept in make().items())
    FILE.write_text(f"{{\n{lines}\n}}\n")
