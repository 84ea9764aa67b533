"""The page of optimizers: each chain of optax gives the weights that torch gave."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.traces import optimizers
from tests.traces.optimizers import INITIAL, SCHEDULE, UPDATES, gradient

STORED = json.loads(optimizers.FILE.read_text())
ROWS = optimizers.rows()


def run(tx):
    """The weights after 10, 25 and 50 updates."""
    state, kept, weights = tx.init(jnp.asarray(INITIAL)), [], jnp.asarray(INITIAL)
    update = jax.jit(tx.update)
    for i in range(UPDATES):
        updates, state = update(jnp.asarray(gradient(np.asarray(weights), i)), state, weights)
        weights = optax.apply_updates(weights, updates)
        if i + 1 in (10, 25, 50):
            kept.append(np.asarray(weights))
    return np.array(kept)


@pytest.mark.parametrize(
    "torchs", [pytest.param(t, marks=pytest.mark.slow if i % 4 else ()) for i, t in enumerate(ROWS)]
)
def test_the_chain_gives_torchs_weights(torchs):
    code, by = ROWS[torchs]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        got = run(eval(code, {"optax": optax, "schedule": SCHEDULE}))
    difference = np.max(np.abs(got - STORED[torchs]))
    # Where they differ, they do: a chain that is exact after all belongs among the others.
    assert (1e-12 < difference <= by) if by else difference <= 1e-12
    assert np.min(np.abs(got[-1] - INITIAL)) > 1e-6


@pytest.mark.parametrize("other", ["rmsprop", "adamw"])
def test_the_defaults_of_optax_give_others(other):
    torchs = {"rmsprop": "RMSprop(params, lr, momentum=0.9)", "adamw": "AdamW(params, lr)"}[other]
    tx = {
        "rmsprop": lambda: optax.rmsprop(
            SCHEDULE, decay=0.99, eps=1e-8, eps_in_sqrt=False, momentum=0.9
        ),
        "adamw": lambda: optax.adamw(SCHEDULE),
    }[other]()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        assert np.max(np.abs(run(tx) - STORED[torchs])) > 1e-6


@pytest.mark.torch
def test_the_average_of_the_weights_is_torchs():
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    code = re.search(r"(?ms)^import jax.numpy.*?(?=^```)", optimizers.PAGE.read_text()).group()
    names = {}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        exec(code, names)
    ema_here, params = np.asarray(names["ema"]), np.asarray(names["params"])
    model = torch.nn.Linear(1, 1).double()
    model.weight.data, model.bias.data = (
        torch.tensor([[1.0]]).double(),
        torch.tensor([-2.0]).double(),
    )
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, 10, gamma=0.5)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    for _ in range(20):
        sgd.zero_grad()
        (sum((p**2).sum() for p in model.parameters()) / 2).backward()
        sgd.step()
        scheduler.step()
        ema.update_parameters(model)
    torchs = [ema.module.weight.item(), ema.module.bias.item()]
    np.testing.assert_allclose(ema_here, torchs, rtol=1e-12)
    assert np.min(np.abs(ema_here - params)) > 0.01


def test_every_row_is_stored():
    assert list(STORED) == list(ROWS) and len(ROWS) >= 15


@pytest.mark.torch
def test_torch_here_still_gives_the_stored_weights():
    made = optimizers.make()
    assert made.keys() == STORED.keys()
    for code, kept in made.items():
        np.testing.assert_allclose(kept, STORED[code], rtol=1e-12)
