"""torch's parameter groups are optax.partition: rates and decays of their own, torch's weights."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import injected

STORED = json.loads((Path(__file__).parent / "traces" / "groups.json").read_text())
LRS = np.float32([STORED["lr"]["backbone"], STORED["lr"]["head"]]).T.tolist()
X, Y = np.float32(STORED["x"]), np.int32(STORED["y"])
SIZE = STORED["batch_size"]
UPDATES = js.steps_per_epoch(len(X), SIZE, drop_last=False)
EPOCHS = len(LRS) // UPDATES


def sgd(lr):
    schedule = js.per_epoch(js.MultiStepLR(lr, **STORED["MultiStepLR"]), UPDATES)
    momentum = STORED["sgd"]["momentum"]
    return injected(schedule, momentum=momentum)


def is_weight(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def name_of_layer(params):
    return jax.tree.map_with_path(lambda path, _: path[0].key, params)


def optimizer(labels):
    lr, decay = STORED["sgd"]["lr"], STORED["sgd"]["weight_decay"]
    return optax.chain(
        optax.add_decayed_weights(decay, mask=is_weight),
        optax.partition({"backbone": sgd(lr / 10), "head": sgd(lr)}, labels),
    )


def optimizer_with_a_decay_in_each_group(labels):
    lr, decay = STORED["sgd"]["lr"], STORED["sgd"]["weight_decay"]

    def group(lr):
        return optax.chain(optax.add_decayed_weights(decay, mask=is_weight), sgd(lr))

    return optax.partition({"backbone": group(lr / 10), "head": group(lr)}, labels)


def batches():
    for _ in range(EPOCHS):
        for i in range(0, len(X), SIZE):
            yield X[i : i + SIZE], Y[i : i + SIZE]


def assert_torchs(weights, lrs):
    assert np.float32(lrs).tolist() == LRS
    assert len({lr for pair in lrs for lr in pair}) == 6  # three of each group
    for name, expected in STORED["weights"].items():
        got = np.array([update[name] for update in weights])
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("make", "labels"),
    [
        (optimizer, name_of_layer),
        slow_case(optimizer_with_a_decay_in_each_group, {"backbone": "backbone", "head": "head"}),
    ],
)
def test_every_weight_after_every_update_is_torchs(make, labels):
    params = {}
    for name, value in STORED["initial"].items():
        layer, kind = name.split(".")
        params.setdefault(layer, {})[kind] = jnp.asarray(value, jnp.float32)

    def loss(params, x, y):
        hidden = jnp.tanh(x @ params["backbone"]["weight"].T + params["backbone"]["bias"][None])
        logits = hidden @ params["head"]["weight"].T + params["head"]["bias"][None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    tx = make(labels)

    @jax.jit
    def step(params, state, x, y):
        updates, state = tx.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    weights, lrs = [], []
    with jax.numpy_dtype_promotion("standard"):  # optax adds decay of another dtype
        for x, y in batches():
            params, state = step(params, state, x, y)
            weights.append(
                {f"{a}.{b}": value for a, layer in params.items() for b, value in layer.items()}
            )
            lrs.append(js.get_last_lr(state))  # labels sorted: backbone, head
    assert_torchs(weights, lrs)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.backbone = nnx.Linear(5, 4, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.tanh(self.backbone(x)))


@pytest.mark.slow
def test_so_they_are_in_flax():
    model = Model(nnx.Rngs(0))
    layers = {"backbone": model.backbone, "head": model.head}
    for name, layer in layers.items():
        layer.kernel[...] = jnp.asarray(STORED["initial"][f"{name}.weight"], jnp.float32).T
        layer.bias[...] = jnp.asarray(STORED["initial"][f"{name}.bias"], jnp.float32)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    weights, lrs = [], []
    # Flax adds a bias of another rank.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        nnx_optimizer = nnx.Optimizer(model, optimizer(name_of_layer), wrt=nnx.Param)
        for x, y in batches():
            step(model, nnx_optimizer, x, y)
            now = {f"{name}.weight": np.array(layer.kernel).T for name, layer in layers.items()}
            now |= {f"{name}.bias": np.array(layer.bias) for name, layer in layers.items()}
            weights.append(now)
            lrs.append(js.get_last_lr(nnx_optimizer))
    assert_torchs(weights, lrs)


@pytest.mark.torch
def test_torch_here_still_trains_so():
    from tests.traces import groups, network

    assert network.same(groups.make(), STORED, ["weights"])
