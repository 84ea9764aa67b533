"""The page of recipes: each gives the learning rates and the weights of torch's loop."""

import functools
import json
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.traces import recipes
from tests.traces.cookbook import blocks
from tests.traces.recipes import BATCHES, LOADER

pytestmark = pytest.mark.slow

STORED = json.loads(recipes.FILE.read_text())


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        with jax.numpy_rank_promotion("allow"):
            yield


def page_code(name):
    """A recipe's own code, after the lines that all start with."""
    return "".join(
        block.code
        for block in blocks(recipes.PAGE.read_text())
        if block.heading in ("Recipes", name.split(":")[0])
        and not block.title
        and not block.code.startswith(">>> ")
    )


@functools.cache
def recipe(name):
    """The names that it leaves behind."""
    names = {}
    with jax.enable_x64(False):
        exec(compile(page_code(name), name, "exec"), names)
    return names


def stored(name, group=0, key="lr"):
    values, times = zip(*STORED[name]["groups"][group][key], strict=True)
    return np.repeat([*map(float.fromhex, values)], times)


def first():
    return jax.tree.map(jnp.asarray, recipes.initial())


def assert_weights(params, name, network="model", by=1e-12):
    flat = np.concatenate([np.ravel(params[i][k]) for i in "012" for k in ("weight", "bias")])
    before = np.concatenate([np.ravel(v) for p in recipes.initial().values() for v in p.values()])
    np.testing.assert_allclose(flat, STORED[name]["weights"][network], rtol=0, atol=by)
    assert np.min(np.abs(flat - before)) > 1e-5


def train(tx, batches):
    """The weights after these batches."""
    compute_loss = recipe("nanoGPT")["compute_loss"]

    def update(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(compute_loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = first()
    batches = jnp.asarray(batches, float)
    return jax.jit(lambda carry: jax.lax.scan(update, carry, batches))((params, tx.init(params)))[0]


def epochs(count):
    return [*LOADER] * count


SCHEDULES = {  # recipe: for each of torch's groups the name of the schedule on the page
    "nanoGPT": ["schedule", "schedule"],
    "The trapezoid": ["schedule"],
    "Layer-wise decay": ["0", "1", "2"],
    "Two optimizers, one count later": ["schedule", "schedule"],
    "YOLO's warmup of three groups": ["falls", "rises", "rises"],
    "SWA": ["schedule"],
    "OneCycle with momentum": ["schedule"],
    "OneCycle with momentum: Adam": ["schedule"],
    "Accumulation with leftovers": ["schedule"],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_gives_torchs_learning_rate_at_every_update(name):
    names = recipe(name)
    assert len(SCHEDULES[name]) == len(STORED[name]["groups"])
    for group, key in enumerate(SCHEDULES[name]):
        schedule = names[key] if key in names else names["schedules"][key]
        assert_torchs(schedule, stored(name, group))


def assert_torchs(schedule, expected):
    counts = np.arange(len(expected))
    with jax.enable_x64(False):
        got = jax.jit(schedule)(jnp.asarray(counts))
    np.testing.assert_array_equal(got, np.float32(expected))
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-11, atol=1e-17)


@pytest.mark.parametrize(
    ("name", "momentum"),
    [
        ("YOLO's warmup of three groups", lambda names: names["momenta"]),
        ("OneCycle with momentum", lambda names: names["schedule"].momentum),
        ("OneCycle with momentum: Adam", lambda names: names["schedule"].momentum),
    ],
)
def test_and_torchs_momentum(name, momentum):
    for group in range(len(STORED[name]["groups"])):
        assert_torchs(momentum(recipe(name)), stored(name, group, "momentum"))


@pytest.mark.parametrize(
    ("name", "key", "batches", "network"),
    [
        ("Layer-wise decay", "tx", epochs(20), "model"),
        ("YOLO's warmup of three groups", "tx", epochs(20), "model"),
        ("nanoGPT", "tx", range(250), "model"),
        ("The trapezoid", "tx", range(200), "model"),
        ("Two optimizers, one count later", "tx", epochs(20), "generator"),
        ("OneCycle with momentum: Adam", "adam", epochs(20), "model"),
    ],
)
def test_the_optimizer_gives_torchs_weights(name, key, batches, network):
    params, _ = train(recipe(name)[key], batches)
    assert_weights(params, name, network)


def test_iterations_of_any_length_have_torchs_learning_rates():
    params, lrs = recipe("PPO")["train"](first())
    expected = stored("PPO")
    np.testing.assert_allclose(lrs, expected, rtol=1e-15)
    lengths = np.unique(expected, return_counts=True)[1]
    assert len(lengths) == 40 and len({*lengths}) >= 4
    assert_weights(params, "PPO")


def test_swa_gives_torchs_learning_rates_and_its_mean():
    averaged, lrs = recipe("SWA")["train"](first())
    np.testing.assert_allclose(np.repeat(lrs, len(LOADER)), stored("SWA"), rtol=1e-11)
    assert_weights(averaged, "SWA", "swa_model")


def test_the_log_of_onecycle_is_torchs():
    names = recipe("OneCycle with momentum")
    params, log = names["train"](first(), names["tx"], 260)
    np.testing.assert_allclose(log, STORED["OneCycle with momentum"]["log"], rtol=1e-11)
    assert_weights(params, "OneCycle with momentum")


def accumulate(drop):
    names, params = recipe("Accumulation with leftovers"), first()
    tx, state, lrs = names["tx"], names["tx"].init(first()), []
    grad = jax.jit(jax.grad(names["compute_loss"]))
    update = jax.jit(tx.update)
    for _ in range(24):
        state = names["drop_what_is_left"](state) if drop else state
        for batch in LOADER:
            updates, state = update(grad(params, batch), state, params)
            if int(state.mini_step) == 0:
                lrs += js.get_last_lr(state, names["schedule"])
            params = optax.apply_updates(params, updates)
    return params, state, lrs


def test_what_is_left_of_an_epoch_is_dropped():
    params, state, lrs = accumulate(drop=True)
    np.testing.assert_array_equal(lrs, stored("Accumulation with leftovers"))
    assert int(state.gradient_step) == 72
    assert_weights(params, "Accumulation with leftovers", by=1e-7)  # added in float32


def test_what_is_not_dropped_is_carried_on():
    params, state, _ = accumulate(drop=False)
    assert int(state.gradient_step) == 24 * 13 // 4
    with pytest.raises(AssertionError):
        assert_weights(params, "Accumulation with leftovers", by=1e-3)


@pytest.mark.parametrize(
    ("name", "key", "counts"),
    [
        ("fp16 with skipped updates", "tx", [n for n, b in enumerate(BATCHES) if b < 99]),
        ("fp16 with skipped updates: updates", "only_updates", range(56)),
    ],
)
def test_what_counts_where_updates_are_skipped(name, key, counts):
    names = recipe(name)
    params, state = train(names[key], BATCHES)
    assert_weights(params, name)
    assert js.get_last_lr(state, names["schedule"]) == [names["schedule"](counts[-1])]
    np.testing.assert_allclose([names["schedule"](n) for n in counts], stored(name), rtol=1e-13)


FUNCTIONS = {  # recipe: its numbers, where its function ends, torch's learning rate of it
    "nanoGPT": (
        "learning_rate, min_lr, warmup_iters, lr_decay_iters = 6e-4, 6e-5, 20, 200",
        "learning_rate, min_lr, warmup_iters, lr_decay_iters = {a!r}, {b!r}, {m}, {m} + {n}",
        "groups",
        lambda names, count: names["get_lr"](count),
    ),
    "The trapezoid": (
        "warmup_iters, warmdown_iters, num_iterations = 20, 60, 200",
        "warmup_iters, warmdown_iters, num_iterations = {m} + 1, {n}, {m} + 1 + {n} + {k}",
        "optimizer",
        lambda names, count: 0.02 * names["get_lr"](min(count, names["num_iterations"])),
    ),
    "Two optimizers, one count later": (
        "n_epochs, n_epochs_decay = 10, 10",
        "n_epochs, n_epochs_decay = {m}, {n}",
        "networks",
        lambda names, count: (
            2e-4
            * names["lambda_rule"](
                min(count // 13 + 1, names["n_epochs"] + names["n_epochs_decay"])
            )
        ),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@hypothesis.given(
    st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), *3 * [st.integers(1, 2000)], st.data()
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_and_with_other_numbers(name, a, b, m, n, k, data):
    line, other, end, lr = FUNCTIONS[name]
    other = other.format(a=a, b=b, m=m, n=n, k=k)
    torchs, ours = recipes.loops()[name], page_code(name)
    assert line in torchs and line in ours
    names = {"math": math}
    exec(torchs.replace(line, other).partition(f"\n{end}")[0], names)
    made = {}
    exec(ours.replace(line, other), made)
    last = 13 * (m + n + k)
    near = [m - 1, m, m + 1, m + n - 1, m + n, m + n + 1, m + k, m + k + 1, m + n + k + 1]
    counts = data.draw(st.lists(st.integers(0, last) | st.sampled_from([0, *near]), min_size=20))
    expected = [lr(names, count) for count in counts]
    got = [made["schedule"](count) for count in counts]
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-17)


def test_every_recipe_has_a_test():
    assert [*recipes.loops()] == [*STORED]
    assert {*STORED} - {*SCHEDULES} == {
        "PPO",
        "fp16 with skipped updates",
        "fp16 with skipped updates: updates",
    }


@functools.cache
def made():
    return recipes.make()


@pytest.mark.torch
@pytest.mark.parametrize("name", STORED)
def test_torch_here_still_gives_the_stored_values(name):
    got, kept = made()[name], STORED[name]
    assert got["groups"] == kept["groups"]
    for network, weights in kept["weights"].items():
        np.testing.assert_allclose(got["weights"][network], weights, rtol=1e-12, atol=1e-14)
