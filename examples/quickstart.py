"""Trains a small Flax NNX network on handwritten digits: `python examples/quickstart.py`."""

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import jaxsched as js

images, labels = load_digits(return_X_y=True)
images = images.astype(np.float32) / 16
batch_size = 64
updates = js.steps_per_epoch(len(images), batch_size, drop_last=True)

# In torch: SGD(model.parameters(), lr=0.1, momentum=0.9), then MultiStepLR(optimizer, [5, 15]).
schedule = js.per_epoch(js.MultiStepLR(0.1, milestones=[5, 15]), updates)
tx = optax.sgd(schedule, momentum=0.9)

rngs = nnx.Rngs(0)
model = nnx.Sequential(nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, images, labels):
    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)  # counts the updates: no scheduler.step()
    return loss


rng = np.random.default_rng(0)
for epoch in range(20):
    batches = rng.permutation(len(images))[: updates * batch_size].reshape(updates, -1)
    losses = [train_step(model, optimizer, images[batch], labels[batch]) for batch in batches]
    (lr,) = js.get_last_lr(optimizer, schedule)  # the one that the last update used
    print(f"epoch {epoch:2}  loss {np.mean(jax.device_get(losses)):.4f}  lr {lr:g}")
