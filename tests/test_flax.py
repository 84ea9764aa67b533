"""Training in Flax follows the same training in torch."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsched as js

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
        optax.add_decayed_weights(sgd["weight_decay"]),
        optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=sgd["momentum"]),
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

    assert lrs == np.float32(STORED["lr"]).tolist()
    assert len(set(lrs)) >= 4  # at least 3 decays
    np.testing.assert_allclose(losses, STORED["loss"], rtol=1e-4)
    for name, layer in (("hidden", model.hidden), ("output", model.output)):
        for got, key in ((layer.kernel[...].T, "weight"), (layer.bias[...], "bias")):
            expected = np.array(STORED["final"][f"{name}.{key}"])
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


@pytest.mark.torch
def test_torch_here_still_trains_so():
    from traces import network, train

    assert network.same(train.make(), STORED, ["loss", "final"])
