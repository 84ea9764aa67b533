"""Updates of examples/resnet.py: images a second, and what the schedule adds to an update.

python -m benchmarks.training     prints the rows, of the device that JAX finds first
"""

import sys
from pathlib import Path

import jax
import numpy as np
import optax

import jaxsched as js
from benchmarks.table import Row, at_most, seconds, table
from benchmarks.timing import versus

MANY, BATCH = 20, 128
SCHEDULE = js.per_epoch(js.MultiStepLR(0.1, [82, 123]), 391)


def updates(depth, schedule, number=1, dispatches=1):
    """A function that does so many dispatches of `number` updates."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import resnet
    import resnet_parts

    line = ["--depth", str(depth), "--width", "16", "--batch-size", str(BATCH)]
    args = resnet.make_parser().parse_args(line)
    program = resnet.Program(args, resnet_parts.digits(), jax.devices()[:1], schedule)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, BATCH, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, (number, BATCH))
    state = program.initial()

    def run():
        nonlocal state
        for _ in range(dispatches):
            batches = [jax.device_put(a, program.split_many) for a in (images, labels)]
            state, metrics, _ = program.updates(state, batches)
        return jax.block_until_ready(metrics)

    return run


def rows():
    found, speed = {}, {}
    for depth in (8, 20):
        constant = updates(depth, optax.constant_schedule(0.1))
        found[f"ResNet-{depth}"] = versus(updates(depth, SCHEDULE), constant, 31, burst=0)
        if depth == 8 or jax.default_backend() != "cpu":  # unrolled there: minutes to compile
            sides = updates(depth, SCHEDULE, 1, MANY), updates(depth, SCHEDULE, MANY)
            times = versus(*sides, 5, burst=0)
            speed[depth] = [MANY * BATCH / t for t in (times.ours, times.theirs)]
    device = jax.devices()[0].device_kind.upper()
    what = f"examples/resnet.py, {device}, images of 32 x 32, batch {BATCH}"
    ratio = f"{what}: an update with the schedule, over one with a constant lr"
    images = f"images a second with 1 and with {MANY} updates in a dispatch"
    return [
        at_most(ratio, 1.02, found, seconds, 3),
        *(
            Row(f"{what}, ResNet-{depth}: {images}", f"{one:.0f}, {many:.0f}", "", None)
            for depth, (one, many) in speed.items()
        ),
    ]


if __name__ == "__main__":
    print(table(rows()))
