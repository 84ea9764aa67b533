"""Which learning rate does an update get? optax and jaxsched under jit, beside torch.

    python -m benchmarks.accuracy

1. Boundaries: for 100 epoch lengths (1,001 to 2,981 updates, every 20th) and the first 100 epochs
   of each, is the learning rate halved at the epoch's first update, or one update late?
2. Traces: of the values in torch's stored StepLR and MultiStepLR traces, how many come out as
   float32(torch's double), to the last bit? Traces that no float32 schedule could follow are
   left out: a base_lr beyond 1e-8 to 10, a milestone past 2**31, values below 1.18e-38.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsched as js

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from traces import load  # noqa: E402

LENGTHS = range(1001, 3000, 20)
EPOCHS = np.arange(1, 101)


def late_boundaries(make):
    """For each epoch length, how many of the boundaries are one update late."""
    late = []
    for length in LENGTHS:
        schedule = jax.jit(make(length))
        lrs = np.array([schedule(jnp.int32(epoch * length)) for epoch in EPOCHS])
        late.append(int((lrs > 0.5 ** (EPOCHS - 0.5)).sum()))
    return late


def bit_identical(make, class_name):
    """How many float32 values are torch's to the last bit, and how many there are."""
    same = total = 0
    for _, kwargs, torch in load(class_name):
        fits = (
            1e-8 <= kwargs["base_lr"] <= 10 and max(kwargs.get("milestones", []), default=0) < 2**31
        )
        normal = torch >= np.finfo(np.float32).tiny
        if fits and torch.max() < 1e38:
            got = np.asarray(jax.jit(jax.vmap(make(**kwargs)))(jnp.arange(len(torch))))
            same += int((got == torch.astype(np.float32))[normal].sum())
            total += int(normal.sum())
    return same, total


def optax_step(base_lr, step_size, gamma=0.1):
    return optax.exponential_decay(base_lr, step_size, gamma, staircase=True)


def optax_multi_step(base_lr, milestones, gamma=0.1):
    scales = {m: gamma ** milestones.count(m) for m in milestones}  # a dict holds one of each
    return optax.piecewise_constant_schedule(base_lr, scales)


def main():
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}\n")
    print("| | epoch lengths with a late boundary | late boundaries |")
    print("|---|---|---|")
    for name, make in (
        ("optax.exponential_decay", lambda n: optax.exponential_decay(1.0, n, 0.5, staircase=True)),
        ("jaxsched.StepLR", lambda n: js.StepLR(1.0, n, 0.5)),
    ):
        late = late_boundaries(make)
        tried = len(LENGTHS) * len(EPOCHS)
        lengths = sum(map(bool, late))
        print(f"| {name} | {lengths} of {len(LENGTHS)} | {sum(late) / tried:.1%} of {tried:,} |")

    print("\n| | float32 as torch's, to the last bit |")
    print("|---|---|")
    for name, class_name, make in (
        ("optax.exponential_decay", "StepLR", optax_step),
        ("jaxsched.StepLR", "StepLR", js.StepLR),
        ("optax.piecewise_constant_schedule", "MultiStepLR", optax_multi_step),
        ("jaxsched.MultiStepLR", "MultiStepLR", js.MultiStepLR),
    ):
        same, total = bit_identical(make, class_name)
        print(f"| {name} | {same / total:.2%} of {total:,} |")


if __name__ == "__main__":
    main()
