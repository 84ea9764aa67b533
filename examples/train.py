"""Trains a small convolutional network on handwritten digits, lowering the lr in steps.

    python examples/train.py
    python examples/train.py --schedule plateau --early-stopping 8 --out runs/plateau
    python examples/train.py --resume

What torch writes as `SGD`, `MultiStepLR` and one `scheduler.step()` an epoch is here one value,
`js.per_epoch(js.MultiStepLR(...), updates)`, given to optax in place of a number. A checkpoint
holds the model and the optimizer's state, and with it all that a schedule has to remember.

The digits come with scikit-learn (1,797 images of 8 x 8 pixels): nothing is downloaded. The same
program runs on one device, on many and on many hosts; every batch is split over all devices.
"""

import argparse
import contextlib
import csv
import json
import math
from pathlib import Path
from textwrap import fill

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from flax.training.early_stopping import EarlyStopping
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from tqdm import tqdm

import jaxsched as js


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.linear = nnx.Linear(2 * 2 * 64, 10, rngs=rngs)

    def __call__(self, images):  # (batch, 8, 8, 1) -> (batch, 10)
        x = nnx.max_pool(nnx.relu(self.conv1(images)), (2, 2), strides=(2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        return self.linear(x.reshape(len(x), -1))


def loss_and_accuracy(model, images, labels):
    logits = model(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, (logits.argmax(-1) == labels).mean()


@nnx.jit(donate_argnames=("model", "optimizer"))
def train_step(model, optimizer, images, labels):
    grad = nnx.value_and_grad(loss_and_accuracy, has_aux=True)
    (loss, _), grads = grad(model, images, labels)
    optimizer.update(model, grads)
    return loss


eval_step = nnx.jit(loss_and_accuracy)


def load_data():
    from sklearn.datasets import load_digits  # its import takes longer than jax's
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    labels = labels.astype(np.int32)
    return train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)


def to_devices(arrays, sharding):
    # Each host is asked only for the rows that its own devices hold.
    return [jax.make_array_from_callback(a.shape, sharding, a.__getitem__) for a in arrays]


def make_schedule(args):
    """The lr by epochs, which count from 0, or by the test loss after each of them."""
    if args.schedule == "multistep":
        return js.MultiStepLR(args.lr, args.milestones, args.gamma)
    if args.schedule == "step":
        return js.StepLR(args.lr, args.step_size, args.gamma)
    if args.schedule == "plateau":
        return js.ReduceLROnPlateau(args.lr, factor=args.gamma, patience=args.patience)
    return js.MultiStepLR(args.lr, milestones=[])  # constant


def main():
    parser = make_parser()
    args = parser.parse_args()
    if args.distributed:
        jax.distributed.initialize()  # before anything else asks JAX for its devices
    is_main = jax.process_index() == 0
    mesh = Mesh(jax.devices(), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    replicated = NamedSharding(mesh, PartitionSpec())

    train_images, test_images, train_labels, test_labels = load_data()
    test_set = to_devices([test_images, test_labels], replicated)
    if args.batch_size > len(train_labels):
        parser.error(f"argument --batch-size: there are {len(train_labels)} training images")
    if args.batch_size % mesh.size:
        parser.error(f"argument --batch-size: must be a multiple of the {mesh.size} devices")
    updates = js.steps_per_epoch(len(train_labels), args.batch_size, drop_last=True)
    schedule = make_schedule(args)
    is_plateau = isinstance(schedule, js.ReduceLROnPlateau)
    in_updates = None if is_plateau else js.per_epoch(schedule, updates)

    @nnx.jit(out_shardings=replicated)
    def create():
        model = Net(nnx.Rngs(args.seed))
        if in_updates is not None:
            sgd = optax.sgd(in_updates, momentum=args.momentum)
        else:  # a plateau has a state, which inject_hyperparams keeps, with the lr
            inject = optax.inject_hyperparams(optax.sgd)
            sgd = inject(learning_rate=schedule, momentum=args.momentum)
        # As in torch, the weight decay goes through the momentum.
        tx = optax.chain(optax.add_decayed_weights(args.weight_decay), sgd)
        return model, nnx.Optimizer(model, tx, wrt=nnx.Param)

    model, optimizer = create()

    folder = args.out.absolute() / "checkpoints"
    keep_last = ocp.CheckpointManagerOptions(max_to_keep=1)
    arguments = {k: getattr(args, k) for k in ("batch_size", "momentum", "weight_decay", "seed")}
    arguments["schedule"] = repr(schedule)
    asked = folder / "arguments.json"
    try:
        checkpoints = ocp.CheckpointManager(folder, options=keep_last)
        done, rows = checkpoints.latest_step() or 0, []  # epochs, and what they gave
        if done and args.overwrite:
            for step in checkpoints.all_steps():
                checkpoints.delete(step)
            done = 0
        elif done and not args.resume:
            choice = "--resume goes on, --overwrite deletes them, or give another"
            parser.error(f"argument --out: {folder} has the checkpoints of a run: {choice}")
        if done and asked.exists() and not args.override:
            if changed := differences(asked, arguments):
                parser.error(f"{asked}: the run had another {changed}. --override takes these")
        if is_main:
            with replace(asked) as file:
                json.dump(arguments, file, indent=1)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    early_stopping = EarlyStopping(patience=args.early_stopping)
    if done:
        like = ocp.args.StandardRestore(nnx.state((model, optimizer)))
        nnx.update((model, optimizer), checkpoints.restore(done, args=like))
        if (args.out / "metrics.csv").exists():  # else only the checkpoints were brought here
            with (args.out / "metrics.csv").open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < done]
        for row in rows:
            early_stopping = early_stopping.update(float(row["test_loss"]))

    total, initial = args.epochs * updates, done * updates
    hidden = None if is_main else True  # None: hidden where stderr is no terminal
    bar = tqdm(total=total, initial=initial, unit=" updates", disable=hidden)
    for epoch in range(done, args.epochs):
        if early_stopping.should_stop:
            break
        # Seeded by the epoch, so that a resumed run sees the batches it would have seen.
        order = np.random.default_rng([args.seed, epoch]).permutation(len(train_labels))
        losses = []
        for i in range(updates):
            batch = order[i * args.batch_size : (i + 1) * args.batch_size]
            images, labels = to_devices([train_images[batch], train_labels[batch]], split)
            losses.append(train_step(model, optimizer, images, labels))
            bar.update()
        test_loss, test_accuracy = eval_step(model, *test_set)
        (lr,) = js.get_last_lr(optimizer, in_updates)  # the one that the last update used
        row = {
            "epoch": epoch,
            "lr": np.float32(lr),  # prints as 0.005; a float would as 0.004999999888241291
            "train_loss": np.mean(jax.device_get(losses)),
            "test_loss": np.float32(test_loss),
            "test_accuracy": np.float32(test_accuracy),
        }
        rows.append(row)
        early_stopping = early_stopping.update(row["test_loss"])
        if is_plateau:
            js.observe(optimizer, row["test_loss"])
        if is_main:
            write_rows(args.out / "metrics.csv", rows)
            bar.write(as_line(row))
        state = nnx.state((model, optimizer))
        checkpoints.save(epoch + 1, args=ocp.args.StandardSave(state))
    checkpoints.close()
    bar.close()
    if is_main and rows:
        plot(rows, args.out / "curves.png", title=str(schedule))
        print(f"wrote {args.out}/metrics.csv and {args.out}/curves.png")


def as_line(row):
    """A row in at most 80 columns."""
    epoch, *others, (_, accuracy) = row.items()
    values = [f"{name} {value:<8.3g}" for name, value in others]
    return "  ".join(["{} {:<3}".format(*epoch), *values, f"accuracy {accuracy:.4g}"])


@contextlib.contextmanager
def replace(path):
    """A file to write; an interrupted run leaves the old one or the new."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        yield file
    partial.replace(path)


def write_rows(path, rows):
    with replace(path) as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def differences(path, arguments):
    """Those arguments that are others in the file, as text."""
    before = json.loads(path.read_text())
    pairs = ((name, before.get(name), value) for name, value in arguments.items())
    return "; ".join(f"{name}: {then} and not {now}" for name, then, now in pairs if then != now)


def plot(rows, path, title):
    table = np.array([list(row.values()) for row in rows], np.float32)  # text where resumed
    _, lr, train_loss, test_loss, accuracy = table.T
    edges = np.arange(len(rows) + 1) + int(table[0, 0])  # epoch 0 is measured at 1
    figure = Figure(figsize=(7, 7), layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True, height_ratios=[3, 3, 2])
    top.set(title=fill(title, 80), ylabel="loss", yscale="log")
    top.plot(edges[1:], train_loss, label="train", color="tab:gray")
    top.plot(edges[1:], test_loss, label="test", color="tab:blue")
    top.legend(frameon=False)
    middle.set(ylabel="test accuracy")
    middle.plot(edges[1:], accuracy, color="tab:blue")
    middle.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bottom.set(ylabel="learning rate", yscale="log", xlabel="epochs")
    bottom.margins(y=0.2)
    bottom.yaxis.set_major_formatter("{x:g}")
    bottom.stairs(lr, edges, baseline=None, color="tab:red", linewidth=2)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    falls = [i for i in range(1, len(rows)) if lr[i] != lr[i - 1]]
    for i in [0, *falls] if len(falls) < 6 else []:
        bottom.annotate(f"{lr[i]:.3g}", (edges[i], lr[i]), (4, 4), textcoords="offset points")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for i in falls:
            axes.axvline(edges[i], color="tab:red", alpha=0.6, linewidth=1, linestyle=":")
    figure.savefig(path, dpi=150)


def number(kind, least, below=math.inf):
    """An argparse type: a number >= `least` and < `below`."""

    def parse(text):
        value = kind(text)
        if not least <= value < below:
            raise argparse.ArgumentTypeError(f"must be >= {least} and < {below}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value" with it
    return parse


def make_parser():
    parser = argparse.ArgumentParser(
        description="Train a small convolutional network on scikit-learn's handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    natural, positive, real = number(int, 0), number(int, 1), number(float, 0)

    add = parser.add_argument_group("learning rate (epochs count from 0)").add_argument
    kinds = ["multistep", "step", "plateau", "constant"]
    add("--schedule", choices=kinds, default="multistep", help="how the lr falls")
    add("--lr", type=real, default=0.05, help="learning rate of epoch 0")
    epochs_help = "multistep: epochs at which the lr falls"
    add("--milestones", type=natural, nargs="*", default=[15, 25], help=epochs_help)
    add("--step-size", type=positive, default=10, help="step: epochs from one fall to the next")
    add("--gamma", type=real, default=0.1, help="what each fall multiplies the lr by")
    patience_help = (
        "plateau: epochs in a row without a better test loss, more than these are a fall"
    )
    add("--patience", type=natural, default=3, help=patience_help)

    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=positive, default=30, help="passes over the training images")
    early_help = "stop after more than so many epochs in a row without a better test loss"
    add("--early-stopping", type=natural, default=math.inf, metavar="EPOCHS", help=early_help)
    add("--batch-size", type=positive, default=64, help="images in one update, over all devices")
    add("--momentum", type=number(float, 0, 1), default=0.9, help="momentum of SGD")
    add("--weight-decay", type=real, default=5e-4, help="L2 penalty, as in torch's SGD")
    add("--seed", type=number(int, 0, 2**32), default=0, help="for initial weights and shuffling")

    add = parser.add_argument_group("run").add_argument
    out_help = "folder for metrics.csv, curves.png and checkpoints, one for all hosts"
    add("--out", type=Path, default="runs/digits", help=out_help)
    add("--resume", action="store_true", help="go on from the last checkpoint there, if any")
    add("--override", action="store_true", help="go on although the arguments have changed")
    add("--overwrite", action="store_true", help="delete the checkpoints that are there")
    add("--distributed", action="store_true", help="run as one of many hosts")
    return parser


if __name__ == "__main__":
    main()
