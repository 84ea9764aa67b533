"""A run goes on from optax's state alone: nothing of a schedule is saved.

As a program, `python -m tests.test_resume FOLDER START STOP` runs some updates of a run in a
process of its own.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import injected, linear
from tests.traces import load

ROOT = Path(__file__).parents[1]
EPOCH, LAST = 5, 20  # in updates
X = np.random.default_rng(0).integers(-8, 9, (LAST, 8, 3)).astype(np.float32) / 8
Y = np.random.default_rng(1).normal(size=(LAST, 8)).astype(np.float32)


def multistep():
    schedule = js.per_epoch(js.MultiStepLR(0.1, [2, 3], gamma=0.5), EPOCH)
    return optax.chain(optax.add_decayed_weights(0.1), injected(schedule, momentum=0.9))


def one_cycle():
    schedule = js.OneCycleLR(0.1, LAST, pct_start=0.525)  # its peak is at update 9.5
    return optax.inject_hyperparams(optax.adamw)(learning_rate=schedule, b1=schedule.momentum)


def warmup():
    decay = js.per_epoch(js.StepLR(0.1, 1, gamma=0.3), EPOCH)
    schedule = js.SequentialLR([js.LinearLR(0.1, total_iters=10), decay], [10])
    return injected(schedule)


def accumulated():  # two batches an update: saved in the middle of one, too
    schedule = js.MultiStepLR(0.1, [EPOCH, EPOCH + 2], gamma=0.5)
    return optax.MultiSteps(injected(schedule), 2)


def plateau():
    schedule = js.ReduceLROnPlateau(0.1, factor=0.5, patience=0, cooldown=1)
    return injected(schedule, momentum=0.9)


METRICS = [2.0, 2.5, 1.0, 1.5]
"""What a plateau is told after each epoch: the second and the last are bad."""


def initial(tx):
    params = {"w": jnp.array([0.3, -0.2, 0.1]), "b": jnp.array(0.5)}
    return {"params": params, "opt_state": tx.init(params)}


@functools.cache
def program(make):
    """The program of a run, as each start of it compiles it: a fresh optimizer and its step."""
    tx = make()

    def loss(params, x, y):
        return jnp.square(x @ params["w"] + params["b"] - y).mean()

    @jax.jit
    def step(run, x, y):
        value, grads = jax.value_and_grad(loss)(run["params"], x, y)
        updates, state = tx.update(grads, run["opt_state"], run["params"])
        return {"params": optax.apply_updates(run["params"], updates), "opt_state": state}, value

    return tx, step


def train(make, run, start, stop):
    _, step = program(make)
    losses, lrs, runs = [], [], []
    with jax.numpy_dtype_promotion("standard"):  # optax's own
        for n in range(start, stop):
            run, loss = step(run, X[n], Y[n])
            losses.append(float(loss))
            lrs += js.get_last_lr(run["opt_state"])
            if make is plateau and (n + 1) % EPOCH == 0:
                run["opt_state"] = js.observe(run["opt_state"], METRICS[n // EPOCH])
            runs.append(run)
    return losses, lrs, runs


@functools.cache
def uninterrupted(make):
    return train(make, initial(program(make)[0]), 0, LAST)


def assert_same_run(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert jax.tree.structure(got) == jax.tree.structure(expected)


def save(path, run):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, run)


def restore(path, like):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, like)


SAVED_AFTER = {
    7: "in an epoch",
    9: "one before a milestone",
    10: "at a milestone",
    11: "one after a milestone",
}


@pytest.mark.parametrize(
    ("make", "saved_after"),
    [
        pytest.param(
            make,
            count,
            id=f"{make.__name__}, {where}",
            marks=() if count == 10 and make is multistep else pytest.mark.slow,
        )
        for make in (multistep, one_cycle, warmup, accumulated, plateau)
        for count, where in SAVED_AFTER.items()
    ],
)
def test_saved_by_orbax_it_goes_on_to_the_last_bit(tmp_path, make, saved_after):
    losses, lrs, runs = uninterrupted(make)
    assert lrs[9] != lrs[11]  # one later where two batches are an update
    save(tmp_path / "run", runs[saved_after - 1])
    resumed = restore(tmp_path / "run", initial(make()))
    assert_same_run(resumed, runs[saved_after - 1])
    got_losses, got_lrs, got_runs = train(make, resumed, saved_after, LAST)
    assert got_losses == losses[saved_after:]
    assert got_lrs == lrs[saved_after:]
    assert_same_run(got_runs, runs[saved_after:])


def test_the_schedule_is_the_programs_and_not_the_checkpoints(tmp_path):
    def other():
        schedule = js.per_epoch(js.MultiStepLR(0.7, [1, 2], gamma=0.1), EPOCH)
        return optax.chain(optax.add_decayed_weights(0.1), injected(schedule, momentum=0.9))

    save(tmp_path / "run", uninterrupted(multistep)[2][6])
    resumed = restore(tmp_path / "run", initial(other()))
    _, lrs, _ = train(other, resumed, 7, 12)
    assert lrs == [0.07, 0.07, 0.07, 0.007, 0.007]


def set_counts(state, updates):
    """README's recipe: every count in an optimizer state, in nnx.Variables too."""

    def set_count(path, leaf):
        return jnp.full_like(leaf, updates) if ".count" in jax.tree_util.keystr(path) else leaf

    return jax.tree.map_with_path(set_count, state)


def sgd(lr):
    return optax.sgd(lr, momentum=0.9)


def chain(lr):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(lr))


def two_injected(lr):
    tx = injected(lr)
    scale = optax.inject_hyperparams(optax.scale)(step_size=lambda count: 1.0 + 0 * count)
    return optax.chain(tx, scale)


def adamw(lr):
    return optax.adamw(lr, weight_decay=0.0)


def injected_adamw(lr):
    return optax.inject_hyperparams(optax.adamw)(learning_rate=lr, weight_decay=0.0)


def multisteps(lr):
    return optax.MultiSteps(injected(lr), 1)


def if_finite(lr):
    return optax.apply_if_finite(injected(lr), 3)


def groups(lr):
    return optax.partition({"a": sgd(lr), "b": injected_adamw(lr)}, {"w": "a", "b": "b"})


def torchs():
    """A schedule, the updates done before torch stopped, and the lr that torch used next."""
    for name, kwargs, lrs in load("MultiStepLR"):
        if name == "ResNet-50 on ImageNet":
            schedule = js.MultiStepLR(**kwargs)
            for last_epoch in (29, 30):
                yield schedule, last_epoch, lrs[last_epoch]
                yield js.per_epoch(schedule, EPOCH), last_epoch * EPOCH, lrs[last_epoch]


SLOW = [chain, two_injected, injected_adamw, if_finite, groups]  # of which the others have a part
ALL = [sgd, injected, adamw, multisteps]
ALL += [slow_case(make) for make in SLOW]


@pytest.mark.parametrize("make", ALL)
def test_from_torch_only_last_epoch_is_needed(make):
    params = {"w": jnp.ones(3), "b": jnp.array(2.0)}
    grads = jax.tree.map(lambda p: 0.1 * p, params)

    def first(lr, done):  # what the first update adds
        tx = make(lr)
        return tx.update(grads, set_counts(tx.init(params), done), params)[0]

    some = [*torchs()][::3]  # before and at a milestone, in either unit
    with jax.numpy_dtype_promotion("standard"):
        updates = jax.jit(lambda: [(first(s, done), first(1.0, done)) for s, done, _ in some])()
    for (schedule, _, lr), (got, unscaled) in zip(some, updates, strict=True):
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(unscaled), strict=True):
            np.testing.assert_allclose(
                np.divide(a, b), np.full(a.shape, lr), rtol=1e-6, err_msg=repr(schedule)
            )


def test_from_torch_to_a_train_state_and_an_nnx_optimizer():
    schedule, done, lr = list(torchs())[3]
    with jax.numpy_dtype_promotion("standard"):
        params = {"w": jnp.zeros(1)}
        state = TrainState.create(apply_fn=None, params=params, tx=injected(schedule))
        apply = jax.jit(lambda state: state.apply_gradients(grads={"w": jnp.ones(1)}))
        state = apply(set_counts(state, done))
        assert state.params["w"] == -np.float32(lr)

        model = linear()
        optimizer = nnx.Optimizer(model, injected(schedule), wrt=nnx.Param)
        optimizer.opt_state = set_counts(optimizer.opt_state, done)

        @nnx.jit
        def step(model, optimizer):
            optimizer.update(model, nnx.grad(lambda model: model.bias[0])(model))

        step(model, optimizer)
        assert model.bias[0] == -np.float32(lr)


def test_from_torch_adams_count_belongs_to_its_moments():
    """With the moments all goes on as it was; without them a shifted schedule does."""
    schedule = js.StepLR(0.1, 5, gamma=0.5)
    params, tx = {"w": jnp.zeros(8)}, injected_adamw(schedule)
    with jax.numpy_dtype_promotion("standard"):
        state, update = tx.init(params), jax.jit(tx.update)
        for y in Y[:12]:
            _, state = update({"w": y}, state, params)
        moments = state.inner_state[0]  # torch's exp_avg and exp_avg_sq
        fresh = set_counts(tx.init(params), 12)
        fresh = optax.tree_utils.tree_set(fresh, mu=moments.mu, nu=moments.nu)
        got, expected = (update({"w": Y[12]}, s, params) for s in (fresh, state))
        assert_same_run(got, expected)

        shifted = adamw(lambda count: schedule(count + 12))
        first, _ = jax.jit(shifted.update)({"w": Y[12]}, shifted.init(params), params)
        np.testing.assert_allclose(first["w"], -0.1 * 0.25 * np.sign(Y[12]), rtol=1e-5)


def exact():
    """A run whose gradients are exact sums of binary fractions, in whatever order they are added.

    So that a batch may be split over any number of devices and the weights be the same to the bit.
    """
    tx, _ = program(multistep)

    def loss(params, x):
        return (x @ params["w"]).mean() + params["b"] * x.mean()

    @jax.jit
    def step(run, x):
        value, grads = jax.value_and_grad(loss)(run["params"], x)
        updates, state = tx.update(grads, run["opt_state"], run["params"])
        return {"params": optax.apply_updates(run["params"], updates), "opt_state": state}, value

    return tx, step


def main(folder, start, stop):
    """Goes on from FOLDER/START if it is there, on all devices; writes FOLDER/STOP and a .npz."""
    mesh = Mesh(jax.devices(), ("data",))
    replicated = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    tx, step = exact()
    run = jax.device_put(initial(tx), replicated)
    if start:
        run = restore(folder / str(start), run)
    losses, lrs, weights = [], [], []
    for n in range(start, stop):
        run, loss = step(run, jax.device_put(X[n], split))
        losses.append(loss)
        lrs += js.get_last_lr(run["opt_state"])
        weights.append(np.append(run["params"]["w"], run["params"]["b"]))
    save(folder / str(stop), run)
    np.savez(folder / f"{stop}.npz", loss=losses, lr=lrs, weights=weights)


@pytest.mark.slow
def test_restarted_with_other_devices_weights_and_lrs_are_the_same_to_the_last_bit(tmp_path):
    def run(folder, devices, *stops):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        line = [sys.executable, "-m", "tests.test_resume", str(tmp_path / folder), *map(str, stops)]
        process = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return np.load(tmp_path / folder / f"{stops[-1]}.npz")

    whole = run("whole", 1, 0, LAST)
    parts = [run("parts", 1, 0, 7), run("parts", 4, 7, 10), run("parts", 2, 10, LAST)]
    for name in ("lr", "weights"):
        got = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(got, whole[name])
    losses = np.concatenate([part["loss"] for part in parts])
    np.testing.assert_allclose(losses, whole["loss"], rtol=1e-5, atol=1e-6)
    assert len(set(whole["lr"])) == 3


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
