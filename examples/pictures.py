"""Draws the pictures of README and the pages, one SVG a class, and `by_hand.svg`.

    python examples/pictures.py
    python examples/pictures.py --out pictures

A schedule called with a NumPy array of counts gives the whole curve, in double, without JAX.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
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


PICTURES = {  # name: schedule, counts, a second schedule drawn thin and its name
    "StepLR": (js.StepLR(1, 30, gamma=0.5), 120, None),
    "MultiStepLR": (js.MultiStepLR(1, [60, 100], gamma=0.4), 140, None),
    "ConstantLR": (js.ConstantLR(1, factor=0.3, total_iters=30), 120, None),
    "LinearLR": (js.LinearLR(1, start_factor=0.1, total_iters=600), 1200, None),
    "ExponentialLR": (js.ExponentialLR(1, gamma=0.997), 1200, None),
    "PolynomialLR": (js.PolynomialLR(1, total_iters=1000, power=2), 1200, None),
    "CosineAnnealingLR": (COSINE, 2001, None),
    "CosineAnnealingWarmRestarts": (js.CosineAnnealingWarmRestarts(1, 300, T_mult=2), 2100, None),
    "CyclicLR": (CYCLES, 2401, (CYCLES.momentum, "momentum")),
    "OneCycleLR": (ONE_CYCLE, 2200, (ONE_CYCLE.momentum, "momentum")),
    "LambdaLR": (js.LambdaLR(1, noam), 2000, None),
    "MultiplicativeLR": (js.MultiplicativeLR(1, lambda count: 0.8, horizon=12), 16, None),
    "SWALR": (js.SWALR(1, swa_lr=0.3, anneal_epochs=600), 1200, None),
    "SequentialLR": (js.SequentialLR([WARMUP, DECAY], [500]), 2200, None),
    "ChainedScheduler": (js.ChainedScheduler([WARMUP, DECAY]), 2200, None),
    "RecordedLR": (js.RecordedLR(RECORDED), 22, None),
    "per_epoch": (
        js.per_epoch(EPOCHS, 200),
        1600,
        (js.smooth_epochs(EPOCHS, 200), "smooth_epochs"),
    ),
    "smooth_epochs": (
        js.smooth_epochs(EPOCHS, 200),
        1600,
        (js.per_epoch(EPOCHS, 200), "per_epoch"),
    ),
    "clamp": (js.clamp(COSINE, 1000), 2001, (COSINE, "alone")),
}


BLUE, ORANGE, GREY = "#3b8bd9", "#d1721b", "#808080"  # on white and on black


def canvas(height, rows=1):
    """Axes without a frame around them, `height` pixels high and 560 wide."""
    figure = Figure(figsize=(560 / 96, height / 96), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(colors=GREY, labelsize=9)
    return figure, axes


def save(figure, path):
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})


def draw(schedule, counts, second, path):
    """Writes the curve of a schedule with a peak of 1."""
    figure, (axes,) = canvas(150)
    axes.set(xlim=(0, counts - 1), ylim=(0, 1.1), yticks=[0, 0.5, 1])
    count = np.arange(counts)
    style = "steps-post" if counts < 200 else "default"  # else a step is narrower than a pixel
    if second is not None:
        other, name = second
        axes.plot(count, other(count), drawstyle=style, color=ORANGE, linewidth=1.2, label=name)
        figure.legend(frameon=False, labelcolor=GREY, fontsize=9, loc="outside upper right")
    axes.plot(count, schedule(count), drawstyle=style, color=BLUE, linewidth=2.2)
    save(figure, path)


def draw_by_hand(path):
    """Writes the end of an epoch of 1,171 updates: optax's staircase under jit, and StepLR."""
    count = jnp.arange(1165, 1178)
    figure, axes = canvas(260, rows=2)
    lines = {
        "by hand, optax.exponential_decay(staircase=True)": (
            optax.exponential_decay(0.1, 1171, 0.1, staircase=True),
            ORANGE,
        ),
        "jaxsched, js.StepLR(0.1, 1171)": (js.StepLR(0.1, 1171), BLUE),
    }
    for ax, (text, (schedule, color)) in zip(axes, lines.items(), strict=True):
        lrs = np.array([jax.jit(schedule)(n) for n in count])
        late = int(count[lrs < 0.05][0]) - 1171
        ending = f"{late} update late" if late else "exact"
        ax.plot(count, lrs, "o-", drawstyle="steps-post", color=color, linewidth=2, markersize=5)
        ax.axvline(1171, color=GREY, linewidth=1, linestyle="dotted")
        ax.set_title(f"{text}: {ending}", color=color, fontsize=11, loc="left")
        ax.set(ylim=(0, 0.115), yticks=[0.01, 0.1], xticks=range(1165, 1178, 2))
    axes[-1].set_xlabel("update (the second epoch begins at 1171)", color=GREY, fontsize=10)
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(description="Draw the pictures of README's table.")
    default = Path(__file__).parent / "pictures"
    parser.add_argument("--out", type=Path, default=default, help="folder for the SVG files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "jaxsched"  # the same ids in every run
    matplotlib.rcParams["svg.fonttype"] = "none"  # text, in the reader's font
    for name, (schedule, counts, second) in PICTURES.items():
        draw(schedule, counts, second, out / f"{name}.svg")
    draw_by_hand(out / "by_hand.svg")
    print(f"wrote {len(PICTURES) + 1} pictures to {out}")


if __name__ == "__main__":
    main()
