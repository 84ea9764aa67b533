"""Where people put a schedule: each test reads the lr that was applied from what was updated."""

import functools
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import Mesh, PartitionSpec as P

import jaxsched as js
from tests.schedules import injected, linear

SCHEDULE = js.per_epoch(js.MultiStepLR(0.5, [1, 3], gamma=0.25), 2)  # exact in binary fractions
LRS = [0.5, 0.5, 0.125, 0.125, 0.125, 0.125, 0.03125, 0.03125]
TX = injected(SCHEDULE)


def falls(values):
    """By how much each value is below the one before: the lr, where the gradient is 1."""
    return (-np.diff(np.array(values, np.float32))).tolist()


@pytest.mark.parametrize("tx", [TX, optax.sgd(SCHEDULE)], ids=["injected", "sgd"])
def test_nnx_optimizer_with_donated_buffers(tx):
    model = linear()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit(donate_argnames=("model", "optimizer"))
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: model.bias[0])(model))

    values = [0.0]
    for _ in LRS:
        step(model, optimizer)
        values.append(float(model.bias[0]))
    assert falls(values) == LRS


def test_nnx_optimizer_where_rejected_updates_count_as_steps():
    model = linear()
    tx = optax.apply_if_finite(TX, max_consecutive_errors=9)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, scale):
        optimizer.update(model, nnx.grad(lambda model: scale * model.bias[0])(model))

    values = [0.0]
    for scale in (1, np.nan, 1, np.inf, np.nan, 1, 1):
        step(model, optimizer, jnp.float32(scale))
        values.append(float(model.bias[0]))
    assert falls(values) == [0.5, 0.0, 0.5, 0.0, 0.0, 0.125, 0.125]
    assert optimizer.step[...] == 7


def test_train_state_where_multisteps_makes_several_steps_an_update():
    tx = optax.MultiSteps(TX, every_k_schedule=3)
    state = TrainState.create(apply_fn=None, params={"w": jnp.zeros(())}, tx=tx)
    step = jax.jit(lambda state: state.apply_gradients(grads={"w": jnp.ones(())}))
    values = [0.0]
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(12):
            state = step(state)
            values.append(float(state.params["w"]))
    assert falls(values) == [0, 0, 0.5, 0, 0, 0.5, 0, 0, 0.125, 0, 0, 0.125]
    assert (int(state.step), int(state.opt_state.gradient_step)) == (12, 4)


def test_schedule_free_over_a_base_optimizer_with_the_schedule():
    tx = optax.contrib.schedule_free(TX, learning_rate=SCHEDULE, b1=0.9)
    params = {"w": jnp.zeros(())}
    state, values = tx.init(params), [0.0]
    for _ in LRS:
        updates, state = jax.jit(tx.update)({"w": jnp.ones(())}, state, params)
        params = optax.apply_updates(params, updates)
        values.append(float(state.z["w"]))  # the sequence that plain SGD would give
    assert falls(values) == LRS


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [optax.contrib.prodigy, optax.contrib.acprop, optax.contrib.ademamix, optax.contrib.muon],
)
def test_contrib_optimizers_scale_their_updates_by_the_schedule(make):
    params = jnp.full(4, 0.5)  # a vector, for which muon has an Adam

    # The update with the schedule over the update with learning rate 1, parameters held.
    def run(lr):
        tx = make(lr)
        state, got = tx.init(params), []
        for _ in LRS:
            update, state = jax.jit(tx.update)(params, state, params)
            got.append(update)
        return np.array(got)

    # Strict promotion fails in optax's own.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ratios = run(SCHEDULE) / run(1.0)
    np.testing.assert_allclose(ratios.T, np.broadcast_to(LRS, ratios.T.shape), rtol=1e-5)


@pytest.mark.slow
def test_numpyro_svi():
    import numpyro
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.optim import optax_to_numpyro

    def model():  # its loss is x, the gradient 1
        numpyro.factor("loss", -numpyro.param("x", 0.0))

    svi = SVI(model, lambda: None, optax_to_numpyro(TX), Trace_ELBO())
    state, values = svi.init(jax.random.key(0)), [0.0]
    for _ in LRS:
        state, _ = jax.jit(svi.update)(state)
        values.append(float(svi.get_params(state)["x"]))
    assert falls(values) == LRS
    assert js.get_last_lr(state.optim_state) == LRS[-1:]

    losses = svi.run(jax.random.key(0), len(LRS), progress_bar=False).losses
    assert falls(losses) == LRS[:-1]


def test_equinox_filter_jit_loop():
    model = eqx.nn.Linear(1, 1, key=jax.random.key(0))
    state = TX.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit(donate="all")
    def step(model, state):
        grads = eqx.filter_grad(lambda model: model.bias[0])(model)
        updates, state = TX.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state

    values = [float(model.bias[0])]
    for _ in LRS:
        model, state = step(model, state)
        values.append(float(model.bias[0]))
    np.testing.assert_allclose(falls(values), LRS, rtol=1e-6)


def test_equinox_takes_a_schedule_as_an_argument():
    compiled = []

    @eqx.filter_jit
    def step(schedule, state):
        compiled.append(schedule)
        return optax.sgd(schedule).update(jnp.ones(()), state)

    state, got = optax.sgd(SCHEDULE).init(jnp.zeros(())), []
    for _ in LRS:
        schedule = js.per_epoch(js.MultiStepLR(0.5, [1, 3], gamma=0.25), 2)
        update, state = step(schedule, state)
        got.append(-float(update))
    assert got == LRS
    assert len(compiled) == 1  # equal schedules are one program


def test_shard_map():
    devices = jax.devices()
    mesh = Mesh(np.array(devices), ("data",))
    specs = {"in_specs": (P(), P(), P("data")), "out_specs": (P(), P())}

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    @functools.partial(jax.shard_map, mesh=mesh, **specs)
    def step(params, state, batch):
        grads = jax.grad(lambda w: jax.lax.pmean((w * batch).mean(), "data"))(params)
        updates, state = TX.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = jnp.float32(0)
    state, values = TX.init(params), [0.0]
    batch = jnp.tile(jnp.array([0.0, 2.0]), len(devices))  # the mean is 1
    for _ in LRS:
        params, state = step(params, state, batch)
        values.append(float(params))
    assert falls(values) == LRS
    assert js.get_last_lr(state) == LRS[-1:]


@pytest.mark.parametrize("tx", [TX, optax.sgd(SCHEDULE, momentum=0.0)], ids=["injected", "sgd"])
def test_donated_buffers(tx):
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = tx.update(jnp.ones(3), state, params)
        return optax.apply_updates(params, updates), state

    params = jnp.zeros(3)
    state, values = tx.init(params), [0.0]
    for _ in LRS:
        old = params
        params, state = step(params, state)
        assert old.is_deleted()
        values.append(float(params[0]))
    assert falls(values) == LRS


def test_a_scan_over_epochs_of_scans_over_updates():
    def update(carry, grad):
        params, state = carry
        updates, state = TX.update(grad, state, params)
        return (optax.apply_updates(params, updates), state), updates

    def epoch(carry, grads):
        carry, updates = jax.lax.scan(update, carry, grads)
        return carry, (updates, js.get_last_lr(carry[1])[0])

    params = jnp.float32(0)
    run = jax.jit(lambda grads: jax.lax.scan(epoch, (params, TX.init(params)), grads)[1])
    updates, lrs = run(jnp.ones((4, 2)))
    assert (-updates).ravel().tolist() == LRS
    assert lrs.tolist() == LRS[::2]


def test_a_gradient_through_checkpointed_updates():
    """d(sum of lrs)/d(base_lr), through a training run that keeps no intermediate values."""

    def run(base_lr):
        tx = optax.sgd(js.per_epoch(js.MultiStepLR(base_lr, [1, 3], gamma=0.25), 2))

        @jax.checkpoint
        def update(carry, _):
            params, state = carry
            updates, state = tx.update(jnp.ones(()), state, params)
            return (optax.apply_updates(params, updates), state), updates

        params = jnp.float32(0)
        (params, _), updates = jax.lax.scan(update, (params, tx.init(params)), length=len(LRS))
        return params, updates

    slope, updates = jax.jit(jax.grad(run, has_aux=True))(jnp.float32(0.5))
    assert (-updates).tolist() == LRS
    assert slope == -sum(LRS) / 0.5


# -- counts that are not plain arrays -----------------------------------------------------------


def test_the_step_of_an_nnx_optimizer_is_a_count():
    model = linear()
    optimizer = nnx.Optimizer(model, TX, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        lr = SCHEDULE(optimizer.step)
        optimizer.update(model, nnx.grad(lambda model: model.bias[0])(model))
        return lr

    got = []
    for _ in LRS:
        outside = SCHEDULE(optimizer.step)
        inside = step(model, optimizer)
        assert outside.dtype == inside.dtype == jnp.float32
        assert [float(outside)] == [float(inside)] == js.get_last_lr(optimizer)
        got.append(float(inside))
    assert got == LRS


def test_a_variable_of_floats_is_no_count():
    with pytest.raises(TypeError, match="`count` must be an integer.*`smooth_epochs`"):
        SCHEDULE(nnx.Variable(jnp.float32(2)))


@pytest.mark.slow
def test_keras_takes_a_schedule_and_its_iterations_are_a_count():
    code = """
import keras, numpy as np, jax.numpy as jnp, jaxsched as js

class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule):
        self.schedule = schedule
    def __call__(self, step):
        return self.schedule(step)

schedule = js.per_epoch(js.MultiStepLR(0.5, [1, 3], gamma=0.25), 2)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
optimizer = keras.optimizers.SGD(Schedule(schedule))
model.compile(optimizer, loss=lambda target, output: keras.ops.mean(output))  # gradient 1
weights = []
for step in range(8):
    assert schedule(optimizer.iterations) == schedule(step)
    before = model.get_weights()[0].item()
    model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    weights.append(before - model.get_weights()[0].item())
np.testing.assert_allclose(weights, schedule(np.arange(8)), atol=1e-6)
"""
    env = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


# -- under x64, with float32 parameters ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [SCHEDULE, js.ReduceLROnPlateau(0.5)])
def test_numpyros_stable_update_under_x64(schedule):
    import numpyro
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.optim import optax_to_numpyro

    def model():
        x = numpyro.param("x", jnp.float32(0.0))
        numpyro.factor("loss", -x.astype(float))  # numpyro compares the loss with a float64 NaN

    svi = SVI(model, lambda: None, optax_to_numpyro(injected(schedule)), Trace_ELBO())
    with jax.enable_x64(True):
        state = svi.init(jax.random.key(0))
        for _ in LRS:
            state, _ = jax.jit(svi.stable_update)(state)
        assert svi.get_params(state)["x"].dtype == jnp.float32
    lrs = LRS if schedule is SCHEDULE else [0.5] * len(LRS)
    assert svi.get_params(state)["x"] == -sum(lrs)


@pytest.mark.parametrize("tx", [TX, optax.sgd(SCHEDULE)], ids=["injected", "sgd"])
def test_float32_parameters_stay_float32_under_x64(tx):
    with jax.enable_x64(True):
        model = linear()
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        values = [0.0]

        @nnx.jit
        def step(model, optimizer):
            optimizer.update(model, nnx.grad(lambda model: model.bias[0])(model))

        for _ in LRS:
            step(model, optimizer)
            values.append(float(model.bias[0]))
        assert model.bias[...].dtype == jnp.float32
    assert falls(values) == LRS
