"""Runs torch's loops of docs/pages/recipes.md, and stores the learning rates of every update.

    python -m tests.traces.recipes    rewrites recipes.json

The loops are those of the page itself: what a reader sees is what runs. Kept are, for each
optimizer and each of its groups, the learning rate and the momentum (Adam's first beta) at every
call of its `step`, and the weights at the end, in double. Reading needs no torch.
"""

import json
import math
import warnings
from itertools import groupby
from pathlib import Path

import numpy as np

from tests.traces.cookbook import blocks

FILE = Path(__file__).parent / "recipes.json"
PAGE = Path(__file__).parents[2] / "docs" / "pages" / "recipes.md"
LOADER = range(13)
BATCHES = [math.inf if i in (3, 11, 12, 29) else i for i in range(60)]
"""Four of them have gradients that are no numbers."""
SIZES = {"0": {"weight": (2, 3), "bias": (2,)}, "1": {"weight": (2,), "bias": (2,)}}
SIZES["2"] = {"weight": (1, 2), "bias": (1,)}
WITH_ADAM = {
    "SGD(model.parameters(), lr=0.1, momentum=0.9)": "Adam(model.parameters(), lr=0.1)",
    '["momentum"]': '["betas"][0]',
}
"""The same recipe of OneCycleLR with another optimizer."""


def initial():
    """The first weights, layer by layer."""

    def one(size):
        return np.linspace(-0.5, 1.0, math.prod(size)).reshape(size)

    return {name: {key: one(n) for key, n in layer.items()} for name, layer in SIZES.items()}


def loops():
    """The names and the codes of torch's loops."""
    code = {}
    for block in blocks(PAGE.read_text()):
        if block.title == "torch":
            name = block.heading
            code[f"{name}: updates" if name in code else name] = block.code
    name = "OneCycle with momentum"
    code[f"{name}: Adam"] = code[name]
    for sgd, adam in WITH_ADAM.items():
        assert sgd in code[name]
        code[f"{name}: Adam"] = code[f"{name}: Adam"].replace(sgd, adam)
    return code


def run(code):
    """What a loop did: a list for each optimizer, and the weights of each network at the end."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def network():
        linear, layer_norm = torch.nn.Linear, torch.nn.LayerNorm
        made = torch.nn.Sequential(linear(3, 2), layer_norm(2), linear(2, 1)).double()
        state = {f"{a}.{b}": torch.tensor(v) for a, p in initial().items() for b, v in p.items()}
        made.load_state_dict(state)
        return made

    def compute_loss(model, batch):
        def one(p):
            waves = torch.sin(batch + torch.arange(p.numel(), dtype=p.dtype).reshape(p.shape))
            return torch.sum(0.15 * p**2 + p * waves)

        return sum(map(one, model.parameters()))

    seen = {}

    def keep(optimizer, *_):
        groups = seen.setdefault(id(optimizer), [([], []) for _ in optimizer.param_groups])
        for (lrs, momenta), group in zip(groups, optimizer.param_groups, strict=True):
            lrs.append(float(group["lr"]))
            momenta.append(float(group["momentum"] if "momentum" in group else group["betas"][0]))

    networks = {name: network() for name in ("model", "generator", "discriminator")}
    names = vars(torch.optim.lr_scheduler) | {"torch": torch, "math": math, "np": np} | networks
    names |= {"compute_loss": compute_loss, "loader": LOADER, "batches": BATCHES}
    hook = register_optimizer_step_pre_hook(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a scheduler before the optimizer
            exec(compile(code, "<recipe>", "exec"), names)
    finally:
        hook.remove()
    if "swa_model" in names:
        networks["swa_model"] = names["swa_model"].module
    weights = {
        name: [value for p in made.parameters() for value in p.detach().flatten().tolist()]
        for name, made in networks.items()
        if any(p.grad is not None for p in made.parameters()) or name == "swa_model"
    }
    groups = [{"lr": _runs(lrs), "momentum": _runs(m)} for g in seen.values() for lrs, m in g]
    log = {"log": names["log"]} if "log" in names else {}
    return {"groups": groups, "weights": weights} | log


def _runs(values):
    return [[text, len([*run])] for text, run in groupby(float(v).hex() for v in values)]


def make():
    """What recipes.json should hold."""
    return {name: run(code) for name, code in loops().items()}


if __name__ == "__main__":
    made = make()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(made[name])}" for name in made)
    FILE.write_text(f"{{\n{lines}\n}}\n")
