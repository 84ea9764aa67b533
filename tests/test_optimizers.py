"""The page of optimizers: each chain of optax gives the weights that torch gave."""

import functools
import inspect
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.traces import optimizers
from tests.traces.cookbook import blocks
from tests.traces.optimizers import INITIAL, SCHEDULE, UPDATES, gradient

pytestmark = pytest.mark.slow

STORED = json.loads(optimizers.FILE.read_text())
ROWS = optimizers.rows()
MOMENTS = optimizers.moments()


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        with jax.numpy_rank_promotion("allow"):
            yield


@functools.cache
def page():
    """The names that the page's code leaves behind."""
    code = [block.code for block in blocks(optimizers.PAGE.read_text()) if not block.title]
    names = {"schedule": SCHEDULE}
    exec("".join(text for text in code if not text.startswith(">>> ")), names)
    return names


def make(code):
    if "bias_correction_nu" in code:
        if "bias_correction_nu" not in inspect.signature(optax.scale_by_amsgrad).parameters:
            pytest.skip("this optax has no bias_correction_nu")
    return eval(code, page())


def run(tx, params=None, state=None, updates=range(UPDATES)):
    """The weights after 10, 25 and 50 updates, those that are reached."""
    params = {"w": jnp.asarray(INITIAL)} if params is None else params
    state = tx.init(params) if state is None else state
    kept = []

    @jax.jit
    def update(grads, state, params):
        changes, state = tx.update(grads, state, params)
        return optax.apply_updates(params, changes), state

    for i in updates:
        grads = {"w": jnp.asarray(gradient(np.asarray(params["w"]), i))}
        params, state = update(grads, state, params)
        if i + 1 in (10, 25, 50):
            kept.append(np.asarray(params["w"]))
    return np.array(kept)


@pytest.mark.parametrize(("torchs", "code", "by"), ROWS)
def test_the_chain_gives_torchs_weights(torchs, code, by):
    got = run(make(code))
    difference = np.max(np.abs(got - STORED[torchs]["weights"]))
    # Where they differ, they do: a chain that is exact after all belongs among the others.
    assert (1e-12 < difference <= by) if by else difference <= 1e-12
    assert np.min(np.abs(got[-1] - INITIAL)) > 1e-6


@pytest.mark.parametrize("torchs", MOMENTS)
def test_with_torchs_moments_the_run_goes_on(torchs):
    tx = make(next(ours for name, ours, _ in ROWS if name == torchs))
    _, weights, expected = STORED[torchs]["weights"]
    params = {"w": jnp.asarray(weights)}
    state = {"w": {name: np.asarray(value) for name, value in STORED[torchs]["state"].items()}}

    def difference(updates, **names):
        opt_state = page()["with_moments"](tx.init(params), state, updates, **names)
        return np.max(np.abs(run(tx, params, opt_state, range(25, UPDATES)) - expected))

    names = eval(f"dict({MOMENTS[torchs]})")
    assert difference(25, **names) <= 1e-12
    assert difference(24, **names) > 1e-6
    for name in names:  # each of them is needed
        less = difference(25, **{n: ours for n, ours in names.items() if n != name})
        assert not less <= 1e-9  # a NaN, too
    with pytest.raises(ValueError, match="has no moment"):
        difference(25, **dict.fromkeys(names, "moment"))


@pytest.mark.parametrize("other", ["rmsprop", "adamw"])
def test_the_defaults_of_optax_give_others(other):
    torchs = {"rmsprop": "RMSprop(params, lr, momentum=0.9)", "adamw": "AdamW(params, lr)"}[other]
    tx = {
        "rmsprop": lambda: optax.rmsprop(
            SCHEDULE, decay=0.99, eps=1e-8, eps_in_sqrt=False, momentum=0.9
        ),
        "adamw": lambda: optax.adamw(SCHEDULE),
    }[other]()
    assert np.max(np.abs(run(tx) - STORED[torchs]["weights"])) > 1e-6


@pytest.mark.torch
def test_the_average_of_the_weights_is_torchs():
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    section = optimizers.PAGE.read_text().partition("## Averaged weights (EMA)")[2]
    code = re.search(r"(?ms)^import jax.numpy.*?(?=^```)", section).group()
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
    assert [*STORED] == [*dict.fromkeys(torchs for torchs, _, _ in ROWS)] and len(ROWS) >= 26
    assert {*MOMENTS} <= {*STORED} and len(MOMENTS) >= 12


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["scale_by_nadam", "scale_by_adagrad"])
def test_the_lines_of_the_page_keep_types(name, dtype):
    with jax.enable_x64(False):
        tx = optax.chain(page()[name](), optax.scale_by_learning_rate(SCHEDULE))
        params = {"w": jnp.ones(3, dtype)}
        state = tx.init(params)
        updates, later = jax.jit(tx.update)(params, state, params)
        assert updates["w"].dtype == dtype
        assert [x.dtype for x in jax.tree.leaves(later)] == [
            x.dtype for x in jax.tree.leaves(state)
        ]


@pytest.mark.torch
def test_torch_here_still_gives_the_stored_weights():
    made = optimizers.make()
    assert made.keys() == STORED.keys()
    for code, kept in made.items():
        np.testing.assert_allclose(kept["weights"], STORED[code]["weights"], rtol=1e-12)
        assert kept["state"].keys() == STORED[code]["state"].keys()
