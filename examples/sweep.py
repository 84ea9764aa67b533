"""Trains many models at once, each with a learning rate, gamma and milestones of its own.

    python examples/sweep.py
    python examples/sweep.py --models 64 --epochs 20 --seed 1 --out runs/sweep64
    python examples/sweep.py --devices all

A schedule is a pytree: many of them, stacked, are one that holds arrays, and `jax.vmap` over it
trains all models in one compiled program. They start from the same weights and see the same
batches, so that only their schedules differ. `--devices all` gives each device its share of them.
"""

import argparse
import csv
import dataclasses
import time
from functools import partial
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec as P
from matplotlib.figure import Figure
from train import load_data, loss_and_accuracy, number

import jaxsched as js


def draw_schedules(rng, models, epochs):
    """One for each model, in epochs: lr from 0.003 to 1, gamma from 0.03 to 1, two milestones."""
    lrs, gammas = np.geomspace(0.003, 1, models), np.geomspace(0.03, 1, models)
    return [
        js.MultiStepLR(float(f"{lr:.3g}"), rng.integers(1, epochs + 1, 2), float(f"{gamma:.3g}"))
        for lr, gamma in zip(lrs, rng.permutation(gammas), strict=True)
    ]


@jax.jit
@partial(jax.vmap, in_axes=(0, None, None, None, None))
def train(schedule, key, batches, train_set, test_set):
    """Test loss and accuracy after each epoch; `batches` are the rows of each update."""
    rngs = nnx.Rngs(key)
    model = nnx.Sequential(nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs))
    graph, params = nnx.split(model)
    tx = optax.sgd(js.per_epoch(schedule, batches.shape[1]), momentum=0.9)

    def loss(params, images, labels):
        return loss_and_accuracy(nnx.merge(graph, params), images.reshape(-1, 64), labels)

    def update(carry, rows):
        params, state = carry
        grads, _ = jax.grad(loss, has_aux=True)(params, *(array[rows] for array in train_set))
        updates, state = tx.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, batches):
        carry, _ = jax.lax.scan(update, carry, batches)
        return carry, loss(carry[0], *test_set)

    return jax.lax.scan(epoch, (params, tx.init(params)), batches)[1]


def main():
    parser = make_parser()
    args = parser.parse_args()
    train_images, test_images, train_labels, test_labels = load_data()
    updates = js.steps_per_epoch(len(train_labels), args.batch_size, drop_last=True)
    rng = np.random.default_rng(args.seed)
    schedules = draw_schedules(rng, args.models, args.epochs)
    stacked = js.stack(schedules)
    order = [rng.permutation(len(train_labels)) for _ in range(args.epochs)]
    batches = np.array(order)[:, : updates * args.batch_size].reshape(args.epochs, updates, -1)
    sets = (train_images, train_labels), (test_images, test_labels)

    begin = time.perf_counter()
    train_all = train
    if args.devices == "all":
        mesh = Mesh(jax.devices(), ("models",))
        if args.models % mesh.size:
            parser.error(f"argument --models: must be a multiple of the {mesh.size} devices")
        # Nothing has to be sent between devices. So what is checked of that is not needed.
        share = partial(jax.shard_map, mesh=mesh, out_specs=P("models"), check_vma=False)
        train_all = jax.jit(share(train, in_specs=(P("models"), P(), P(), P(), P())))
    data = jax.random.key(args.seed), batches, *sets
    found = train_all(stacked, *data)
    losses, accuracies = jax.device_get(found)
    seconds, devices = time.perf_counter() - begin, len(found[0].sharding.device_set)
    print(f"{args.models} models, trained at once on {devices} device(s) in {seconds:.1f} s:\n")

    ranking = np.lexsort((losses[:, -1], -accuracies[:, -1]))  # of equal accuracy the lower loss
    table = [["lr", "gamma", "milestones", "test_loss", "test_accuracy"]]
    for i in ranking:
        lr, milestones, gamma = dataclasses.astuple(schedules[i])
        table.append([lr, gamma, " ".join(map(str, milestones)), losses[i, -1], accuracies[i, -1]])
    for row in table:
        print("".join(f"{v if isinstance(v, str) else format(v, '.4g'):<12}" for v in row))
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "sweep.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    plot(schedules, losses, ranking[0], args.out / "sweep.png")
    print(f"\nwon: {schedules[ranking[0]]}\nwrote {args.out}/sweep.csv and {args.out}/sweep.png")


def plot(schedules, losses, winner, path):
    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    top.set(title=f"won: {schedules[winner]}", ylabel="test loss", yscale="log")
    bottom.set(ylabel="learning rate", yscale="log", xlabel="epochs")
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(schedules)))  # by lr
    edges = np.arange(losses.shape[1] + 1)  # epoch 0 lies between 0 and 1, and is measured at 1
    for i, schedule in enumerate(schedules):
        color, width = ("tab:red", 3) if i == winner else (colors[i], 1.3)
        top.plot(edges[1:], losses[i], color=color, linewidth=width)
        bottom.stairs(schedule(edges[:-1]), edges, baseline=None, color=color, linewidth=width)
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def make_parser():
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=style
    )
    add, positive = parser.add_argument, number(int, 1)
    add("--models", type=positive, default=16, help="how many schedules to try")
    add("--epochs", type=positive, default=30, help="passes over the training images")
    add("--batch-size", type=number(int, 1, 1438), default=64, help="images in one update")
    add("--seed", type=number(int, 0, 2**32), default=0, help="for schedules, weights, shuffling")
    add("--devices", choices=["one", "all"], default="one", help="where the models are trained")
    add("--out", type=Path, default="runs/sweep", help="folder for sweep.csv and sweep.png")
    return parser


if __name__ == "__main__":
    main()
