"""What the trainings in torch share: two linear layers and a tanh, in float32.

Weights are as torch holds them, (outputs, inputs): Flax's kernels are their transposes.
"""

from random import Random

import jax
import numpy as np
import torch


def normal(random: Random, rows: int, columns: int, deviation: float) -> list[list[float]]:
    """A table of numbers; not from torch's generator, whose numbers may change."""
    return [[round(random.gauss(0, deviation), 3) for _ in range(columns)] for _ in range(rows)]


def make(initial: dict) -> torch.nn.Sequential:
    """The network with these weights, {"first.weight": ..., "second.weight": ..., biases}."""
    model = torch.nn.Sequential()
    first, second = (name for name in initial if name.endswith("weight"))
    for name in (first, second):
        outputs, inputs = np.shape(initial[name])
        model.add_module(name.removesuffix(".weight"), torch.nn.Linear(inputs, outputs))
        if name == first:
            model.add_module("tanh", torch.nn.Tanh())
    model.load_state_dict({name: torch.tensor(value) for name, value in initial.items()})
    return model


def update(model, optimizer, inputs, labels) -> torch.Tensor:
    """One optimizer update; gives the loss before it."""
    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def shortest(tensor: torch.Tensor):
    """Nested lists of the shortest decimals that give the same float32."""
    return jax.tree.map(lambda value: float(str(np.float32(value))), tensor.detach().tolist())


def same(made: dict, stored: dict, measured: list[str]) -> bool:
    """Equal, but for float32 sums in `measured`: another processor may add in another order."""
    blank = dict.fromkeys(measured)
    a, b = (jax.tree.leaves([training[key] for key in measured]) for training in (made, stored))
    return {**made, **blank} == {**stored, **blank} and np.allclose(a, b, rtol=1e-5, atol=1e-6)
