"""In Flax: training follows the same training in torch, and Flax's own programs take a schedule."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn, nnx
from flax.training.dynamic_scale import DynamicScale
from flax.training.train_state import TrainState
from jax.sharding import NamedSharding, PartitionSpec as P

import jaxsched as js
from tests.schedules import injected

STORED = json.loads((Path(__file__).parent / "traces" / "mlp.json").read_text())


class MLP(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(8, 16, rngs=rngs)
        self.output = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
        return self.output(nnx.tanh(self.hidden(x)))


def test_losses_lrs_and_weights_are_those_of_torch():
    weights = {name: np.float32(value) for name, value in STORED["initial"].items()}
    model = MLP(nnx.Rngs(0))
    for name, layer in (("hidden", model.hidden), ("output", model.output)):
        layer.kernel[...] = jnp.asarray(weights[f"{name}.weight"].T)
        layer.bias[...] = jnp.asarray(weights[f"{name}.bias"])

    sgd = STORED["sgd"]
    schedule = js.per_epoch(js.StepLR(sgd["lr"], **STORED["StepLR"]), steps_per_epoch=5)
    tx = optax.chain(
        optax.add_decayed_weights(sgd["weight_decay"]), injected(schedule, momentum=sgd["momentum"])
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss_fn(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, grads)
        return loss

    x, y = np.float32(STORED["x"]), np.int32(STORED["y"])
    losses, lrs = [], []
    # Flax adds a bias of another rank, optax adds decay of another dtype.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for batch in STORED["batches"]:
            losses.append(float(step(model, optimizer, x[batch], y[batch])))
            lrs += js.get_last_lr(optimizer)

    assert np.float32(lrs).tolist() == np.float32(STORED["lr"]).tolist()
    assert len(set(lrs)) >= 4  # at least 3 decays
    np.testing.assert_allclose(losses, STORED["loss"], rtol=1e-4)
    for name, layer in (("hidden", model.hidden), ("output", model.output)):
        for got, key in ((layer.kernel[...].T, "weight"), (layer.bias[...], "bias")):
            expected = np.array(STORED["final"][f"{name}.{key}"])
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


@pytest.mark.torch
def test_torch_here_still_trains_so():
    from tests.traces import network, train

    assert network.same(train.make(), STORED, ["loss", "final"])


# -- Flax's programs, with their learning rates replaced ----------------------------------------


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(2)(x)


class State(TrainState):
    batch_stats: Any
    dynamic_scale: Any


def imagenets(steps_per_epoch):
    """examples/imagenet: a warmup from 0 and a cosine, whose lengths the configuration has in
    floats."""
    warmup_epochs, num_epochs, base_lr = 2.0, 6.0, 0.5
    warmup, rest = (n * steps_per_epoch for n in (warmup_epochs, num_epochs - warmup_epochs))
    ours = js.SequentialLR(
        [
            js.LinearLR(base_lr, start_factor=0, total_iters=warmup),
            js.clamp(js.CosineAnnealingLR(base_lr, T_max=rest), rest),
        ],
        milestones=[warmup],
    )
    theirs = optax.join_schedules(
        [optax.linear_schedule(0.0, base_lr, warmup), optax.cosine_decay_schedule(base_lr, rest)],
        [warmup],
    )
    return ours, theirs


def train_step(state, x, y, learning_rate_fn):
    """That of examples/imagenet."""

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, new = state.apply_fn(variables, x, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, new["batch_stats"]

    lr = learning_rate_fn(state.step)
    grad_fn = state.dynamic_scale.value_and_grad(loss_fn, has_aux=True)
    dynamic_scale, is_finite, (_, batch_stats), grads = grad_fn(state.params)
    new = state.apply_gradients(grads=grads, batch_stats=batch_stats, dynamic_scale=dynamic_scale)
    keep = functools.partial(jnp.where, is_finite)
    return new.replace(
        opt_state=jax.tree.map(keep, new.opt_state, state.opt_state),
        params=jax.tree.map(keep, new.params, state.params),
    ), lr


@pytest.fixture
def standard_promotion():  # Flax's own do not pass under the strict ones
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("x64", [False, True])
def test_imagenet(x64, standard_promotion):
    ours, theirs = imagenets(steps_per_epoch=5)
    plateau = js.ReduceLROnPlateau(0.5)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    y = np.arange(8) % 2

    def run(schedule, tx):
        model = Network()
        variables = model.init(jax.random.key(0), x)
        state = State.create(apply_fn=model.apply, tx=tx, dynamic_scale=DynamicScale(), **variables)
        step, lrs = jax.jit(functools.partial(train_step, learning_rate_fn=schedule)), []
        for _ in range(35):
            state, lr = step(state, x, y)
            lrs.append(float(lr))
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        return lrs, state

    with jax.enable_x64(x64):
        sgd = functools.partial(optax.sgd, momentum=0.9, nesterov=True)
        lrs, state = run(ours, sgd(ours))
        expected, expected_state = run(theirs, sgd(theirs))
        np.testing.assert_allclose(lrs, expected, rtol=1e-5, atol=1e-8)
        for a, b in zip(*map(jax.tree.leaves, (state.params, expected_state.params)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3)
        assert lrs[0] == 0.0 == lrs[-1]
        # Injected, as a plateau has to be.
        _, injected = run(ours, optax.inject_hyperparams(sgd)(learning_rate=ours))
        for a, b in zip(*map(jax.tree.leaves, (state.params, injected.params)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
        _, listening = run(ours, optax.inject_hyperparams(sgd)(learning_rate=plateau))
        assert js.get_last_lr(js.observe(listening, 1.0)) == [0.5]


def rsqrt(count, warmup=10):
    """examples/lm1b has `rsqrt_schedule`, after a warmup; here by Python's own functions."""
    return min(count, warmup) / warmup / math.sqrt(max(count, warmup))


@pytest.mark.slow
def test_lm1b(standard_promotion):
    """A TrainState of AdamW, its parameters on a mesh, and learning_rate_fn(state.step) logged."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), devices=jax.devices("cpu")[:8])
    schedule = js.LambdaLR(0.5, rsqrt, horizon=40)
    tx = optax.adamw(schedule, b1=0.9, b2=0.98, eps=1e-9, weight_decay=0.1)
    params = {"kernel": jnp.ones((8, 2))}
    params = jax.device_put(params, NamedSharding(mesh, P("data", "model")))

    @jax.jit
    def step(state):
        lr = schedule(state.step)
        return state.apply_gradients(grads=state.params), lr

    with jax.set_mesh(mesh):
        state, lrs = TrainState.create(apply_fn=None, params=params, tx=tx), []
        for _ in range(40):
            state, lr = step(state)
            lrs.append(float(lr))
    assert lrs == [float(np.float32(0.5 * rsqrt(count))) for count in range(40)]
    assert state.params["kernel"].sharding.is_equivalent_to(params["kernel"].sharding, 2)


@pytest.mark.slow
def test_mnist(standard_promotion):
    """examples/mnist: an nnx.Optimizer, with the schedule as it is."""
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    schedule = js.per_epoch(js.StepLR(0.5, 1, gamma=0.5), 3)
    optimizer = nnx.Optimizer(model, optax.adamw(schedule, 0.9, weight_decay=0.0), wrt=nnx.Param)
    metrics = nnx.MultiMetric(lr=nnx.metrics.Average("lr"))

    @nnx.jit
    def step(model, optimizer, metrics):
        metrics.update(lr=schedule(optimizer.step))
        optimizer.update(model, nnx.grad(lambda model: jnp.sum(model.kernel[...]))(model))

    for epoch in range(3):
        before = model.kernel[...]
        for _ in range(3):
            step(model, optimizer, metrics)
        # Adam's update is the learning rate where the gradient stays.
        np.testing.assert_allclose(before - model.kernel[...], 3 * 0.5 ** (epoch + 1), rtol=1e-4)
        np.testing.assert_allclose(metrics.compute()["lr"], 0.5 ** (epoch + 1))
        metrics.reset()
