"""Trains a small Flax Linen network on handwritten digits: `python examples/linen.py`."""

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

import jaxsched as js

images, labels = load_digits(return_X_y=True)
images = images.astype(np.float32) / 16
batch_size = 64
updates = js.steps_per_epoch(len(images), batch_size, drop_last=True)

# In torch: SGD(model.parameters(), lr=0.1, momentum=0.9), then MultiStepLR(optimizer, [5, 15]).
schedule = js.per_epoch(js.MultiStepLR(0.1, milestones=[5, 15]), updates)
tx = optax.sgd(schedule, momentum=0.9)

model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])
params = model.init(jax.random.key(0), images[:1])
state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)


@jax.jit
def train_step(state, images, labels):
    def loss_fn(params):
        logits = state.apply_fn(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss  # counts the updates: no scheduler.step()


rng = np.random.default_rng(0)
for epoch in range(20):
    losses = []
    for batch in rng.permutation(len(images))[: updates * batch_size].reshape(updates, -1):
        state, loss = train_step(state, images[batch], labels[batch])
        losses.append(loss)
    (lr,) = js.get_last_lr(state, schedule)  # the one that the last update used
    print(f"epoch {epoch:2}  loss {np.mean(jax.device_get(losses)):.4f}  lr {lr:g}")
