"""Draws the pictures of README's table, one small SVG a class.

    python examples/pictures.py
    python examples/pictures.py --out pictures

A schedule called with a NumPy array of counts gives the whole curve, in double, without JAX.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import jaxsched as js

RECORDED = [0.5, 1, 1, 1, 0.6, 0.6, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.2, 0.05]
WARMUP = js.LinearLR(1, start_factor=0.01, total_iters=500)
DECAY = js.MultiStepLR(1, [900, 1500], gamma=0.4)
CYCLES = js.CyclicLR(0.1, max_lr=1, step_size_up=400, mode="triangular2")
ONE_CYCLE = js.OneCycleLR(1, total_steps=2000)
COSINE = js.CosineAnnealingLR(1, T_max=1000)
EPOCHS = js.ExponentialLR(1, gamma=0.7)


def noam(count):
    return min((count + 1) ** -0.5, (count + 1) * 400**-1.5) * 400**0.5


PICTURES = {  # name: schedule, counts, a second schedule drawn thin
    "StepLR": (js.StepLR(1, 30, gamma=0.5), 120, None),
    "MultiStepLR": (js.MultiStepLR(1, [60, 100], gamma=0.4), 140, None),
    "ConstantLR": (js.ConstantLR(1, factor=0.3, total_iters=30), 120, None),
    "LinearLR": (js.LinearLR(1, start_factor=0.1, total_iters=600), 1200, None),
    "ExponentialLR": (js.ExponentialLR(1, gamma=0.997), 1200, None),
    "PolynomialLR": (js.PolynomialLR(1, total_iters=1000, power=2), 1200, None),
    "CosineAnnealingLR": (COSINE, 2001, None),
    "CosineAnnealingWarmRestarts": (js.CosineAnnealingWarmRestarts(1, 300, T_mult=2), 2100, None),
    "CyclicLR": (CYCLES, 2401, CYCLES.momentum),
    "OneCycleLR": (ONE_CYCLE, 2200, ONE_CYCLE.momentum),
    "LambdaLR": (js.LambdaLR(1, noam), 2000, None),
    "MultiplicativeLR": (js.MultiplicativeLR(1, lambda count: 0.8, horizon=12), 16, None),
    "SWALR": (js.SWALR(1, swa_lr=0.3, anneal_epochs=600), 1200, None),
    "SequentialLR": (js.SequentialLR([WARMUP, DECAY], [500]), 2200, None),
    "ChainedScheduler": (js.ChainedScheduler([WARMUP, DECAY]), 2200, None),
    "RecordedLR": (js.RecordedLR(RECORDED), 22, None),
    "per_epoch": (js.per_epoch(EPOCHS, 200), 1600, js.smooth_epochs(EPOCHS, 200)),
    "smooth_epochs": (js.smooth_epochs(EPOCHS, 200), 1600, js.per_epoch(EPOCHS, 200)),
    "clamp": (js.clamp(COSINE, 1000), 2001, COSINE),
}


def draw(schedule, counts, second, path):
    """Writes the curve without axes, in colours that show on white and on black."""
    figure = Figure(figsize=(200 / 96, 80 / 96))  # 200 x 80 px
    axes = figure.add_axes((0.02, 0.04, 0.96, 0.92))
    axes.axis("off")
    axes.axhline(0, color="#8a8a8a", linewidth=0.8)
    axes.set(xlim=(0, counts - 1), ylim=(-0.05, 1.1))
    count = np.arange(counts)
    style = "steps-post" if counts < 200 else "default"  # else a step is narrower than a pixel
    if second is not None:
        axes.plot(count, second(count), drawstyle=style, color="#d1721b", linewidth=1)
    axes.plot(count, schedule(count), drawstyle=style, color="#3b8bd9", linewidth=1.8)
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})


def main():
    parser = argparse.ArgumentParser(description="Draw the pictures of README's table.")
    default = Path(__file__).parent / "pictures"
    parser.add_argument("--out", type=Path, default=default, help="folder for the SVG files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "jaxsched"  # the same ids in every run
    for name, (schedule, counts, second) in PICTURES.items():
        draw(schedule, counts, second, out / f"{name}.svg")
    print(f"wrote {len(PICTURES)} pictures to {out}")


if __name__ == "__main__":
    main()
