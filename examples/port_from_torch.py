"""Ports a training run from torch to JAX, and proves that it is the same one.

    python examples/port_from_torch.py

1. `train_in_torch` is the script that there is: a small network on handwritten digits, SGD with
   momentum and weight decay, a warmup and then MultiStepLR, one scheduler.step() an epoch. It logs
   the learning rate of each epoch to a CSV file.
2. `jaxsched.from_torch` makes the schedule out of torch's scheduler.
3. `jaxsched.compare` compares it with the log, and `jaxsched.check` looks for mistakes.
4. `train_in_jax` is the port. It starts from the same weights and takes the same batches.
5. Both have the same weights at the end. Both train in double precision: in float32 the two differ
   by their rounding, which grows from update to update and would hide a small mistake.

It needs torch, scikit-learn (for the digits) and flax.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]
from flax import nnx
from sklearn.datasets import load_digits
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.optim.lr_scheduler import (  # pyright: ignore[reportMissingImports]
    LinearLR,
    MultiStepLR,
    SequentialLR,
)

import jaxsched as js

BATCH_SIZE = 128
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def batches(images, labels, epoch):
    """The batches of an epoch, the same ones for both; the rest of the images is left out."""
    order = np.random.default_rng(epoch).permutation(len(images))
    for start in range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        yield images[chosen], labels[chosen]


# -- what there is: a training script in torch ----------------------------------------------------


def torch_model():
    model = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )
    return model.double()


def torch_optimizer(model):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    warmup = LinearLR(sgd, start_factor=0.1, total_iters=5)
    decay = MultiStepLR(sgd, milestones=[10, 15])  # counts from the end of the warmup
    return sgd, SequentialLR(sgd, [warmup, decay], milestones=[5])


def train_in_torch(model, images, labels, epochs, log):
    optimizer, scheduler = torch_optimizer(model)
    loss_fn = nn.CrossEntropyLoss()
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "lr", "loss"])
        for epoch in range(epochs):
            losses = []
            for x, y in batches(images, labels, epoch):
                optimizer.zero_grad()
                loss = loss_fn(model(torch.from_numpy(x)[:, None]), torch.from_numpy(y))
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            writer.writerow([epoch, scheduler.get_last_lr()[0], np.mean(losses)])
            scheduler.step()
    return scheduler


# -- the port -------------------------------------------------------------------------------------


class Net(nnx.Module):
    def __init__(self):
        double = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
        self.conv1 = nnx.Conv(1, 16, kernel_size=(3, 3), **double)
        self.conv2 = nnx.Conv(16, 32, kernel_size=(3, 3), **double)
        self.linear = nnx.Linear(2 * 2 * 32, 10, **double)

    def __call__(self, images):  # (batch, 8, 8, 1) -> (batch, 10)
        x = nnx.max_pool(nnx.relu(self.conv1(images)), (2, 2), strides=(2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        return self.linear(x.reshape(len(x), -1))


def weights_of(model):
    """torch's weights in the layout of Flax, whose images are (height, width, channels)."""
    w = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    linear = w["7.weight"].reshape(10, 32, 2, 2)
    return {
        "conv1": {"kernel": w["0.weight"].transpose(2, 3, 1, 0), "bias": w["0.bias"]},
        "conv2": {"kernel": w["3.weight"].transpose(2, 3, 1, 0), "bias": w["3.bias"]},
        "linear": {"kernel": linear.transpose(2, 3, 1, 0).reshape(-1, 10), "bias": w["7.bias"]},
    }


@nnx.jit
def train_step(model, optimizer, images, labels):
    def loss_fn(model):
        logits = model(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def train_in_jax(schedule, weights, images, labels, epochs):
    model = Net()
    nnx.update(model, nnx.State(weights))
    tx = optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY),  # before the momentum, as in torch
        optax.sgd(schedule, momentum=MOMENTUM),
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    lrs = []
    for epoch in range(epochs):
        for x, y in batches(images, labels, epoch):
            train_step(model, optimizer, jnp.asarray(x)[..., None], jnp.asarray(y))
        lrs += js.get_last_lr(optimizer, schedule)
    return nnx.to_pure_dict(nnx.state(model, nnx.Param)), lrs


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=25)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    updates = js.steps_per_epoch(len(images), BATCH_SIZE, drop_last=True)

    torch.manual_seed(0)
    model = torch_model()
    first_weights = weights_of(model)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "torch.csv"
        scheduler = train_in_torch(model, images, labels, args.epochs, log)

        decay = js.from_torch(scheduler)  # in epochs, as torch steps it
        print(f"the schedule: {decay}")
        comparison = js.compare(decay, log)
        print(f"with torch's log: {comparison}")
    schedule = js.per_epoch(decay, updates)  # in updates, as optax counts
    for finding in js.check(schedule, args.epochs * updates, steps_per_epoch=updates):
        print(f"check: {finding}")

    weights, lrs = train_in_jax(schedule, first_weights, images, labels, args.epochs)
    print(f"with the run in JAX: {js.compare(decay, lrs)}")

    for layer, arrays in weights_of(model).items():
        for name, torchs in arrays.items():
            ours = np.asarray(weights[layer][name])
            moved = np.abs(torchs - first_weights[layer][name]).max()
            differ = np.abs(ours - torchs).max()
            print(f"{f'{layer}.{name}':13}  moved by up to {moved:.4f}, differs by {differ:.1e}")
            if not differ <= 1e-9 * moved:
                raise SystemExit(f"{layer}.{name} is not what torch's training made")
    print("the weights are the same")


if __name__ == "__main__":
    main()
