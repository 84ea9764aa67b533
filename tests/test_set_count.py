"""set_count: the counts that drive schedules, and no others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js
from tests.schedules import linear

SCHEDULE = js.per_epoch(js.MultiStepLR(0.5, [1, 3], gamma=0.25), 2)  # exact in binary fractions
PARAMS = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def sgd(schedule=SCHEDULE):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)


WRAPPERS = {
    "sgd": lambda: optax.sgd(SCHEDULE),
    "injected": sgd,
    "chain": lambda: optax.chain(optax.clip(9.0), optax.chain(sgd(), optax.identity())),
    "named_chain": lambda: optax.named_chain(("clip", optax.clip(9.0)), ("sgd", sgd())),
    "apply_if_finite": lambda: optax.apply_if_finite(sgd(), 3),
    "masked": lambda: optax.masked(sgd(), {"a": True, "b": False}),
    "partition": lambda: optax.partition({0: sgd(), 1: optax.set_to_zero()}, {"a": 0, "b": 1}),
    "flatten": lambda: optax.flatten(sgd()),
    "twice injected": lambda: optax.inject_hyperparams(
        lambda scale: optax.chain(optax.scale(scale), sgd())
    )(1.0),
}


def first_lr(tx, state):
    """Where the gradient is 1."""
    updates, _ = jax.jit(tx.update)(GRADS, state, PARAMS)
    return -float(updates["a"][0])


def test_the_next_update_uses_the_lr_of_the_count():
    made = {name: make() for name, make in WRAPPERS.items()}
    start = {name: tx.init(PARAMS) for name, tx in made.items()}

    @jax.jit
    def first_lrs(states):
        """Where the gradient is 1."""
        return {n: -made[n].update(GRADS, s, PARAMS)[0]["a"][0] for n, s in states.items()}

    for count in (0, 1, 2, 5, 6, 100):
        there = {name: js.set_count(state, count) for name, state in start.items()}
        assert jax.tree.structure(there) == jax.tree.structure(start)
        for before, after in zip(jax.tree.leaves(start), jax.tree.leaves(there), strict=True):
            assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert first_lrs(there) == dict.fromkeys(made, SCHEDULE(count))
        jitted = jax.jit(js.set_count)(start["chain"], count)
        assert jax.tree.leaves(jitted) == jax.tree.leaves(there["chain"])
    assert first_lrs(start) == dict.fromkeys(made, SCHEDULE(0))  # untouched


def test_all_that_run_go_on_as_if_never_stopped():
    tx = optax.chain(optax.add_decayed_weights(SCHEDULE), sgd())
    state, states = tx.init(PARAMS), []
    for _ in range(8):
        states.append(state)
        _, state = jax.jit(tx.update)(GRADS, state, PARAMS)
    for count, state in enumerate(states):
        np.testing.assert_array_equal(
            first_lr(tx, js.set_count(states[0], count)), first_lr(tx, state)
        )


def test_adams_count_belongs_to_its_moments():
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=SCHEDULE, b1=0.5)
    state = js.set_count(tx.init(PARAMS), 6)
    assert state.count == 6
    assert state.inner_state[0].count == 0
    with jax.numpy_dtype_promotion("standard"):
        assert first_lr(tx, state) == pytest.approx(SCHEDULE(6), rel=1e-6)

    tx = optax.adam(SCHEDULE)
    state = js.set_count(tx.init(PARAMS), 6)
    assert state[0].count == 0 and state[1].count == 6


def test_multisteps_counts_updates():
    tx = optax.MultiSteps(sgd(), every_k_schedule=2)
    state = js.set_count(tx.init(PARAMS), 6)
    assert (int(state.gradient_step), int(state.mini_step)) == (6, 0)
    with jax.numpy_dtype_promotion("standard"):
        update = jax.jit(tx.update)
        updates, state = update(GRADS, update(GRADS, state, PARAMS)[1], PARAMS)
    assert -updates["a"][0] == SCHEDULE(6)


def test_schedule_free():
    tx = optax.contrib.schedule_free(sgd(), SCHEDULE, b1=0.9)
    state = js.set_count(tx.init(PARAMS), 6)
    assert state.base_optimizer_state.count == 6
    assert state.step_count == 7  # optax counts there from 1


def test_a_train_state_comes_back_as_one():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=sgd())
    there = js.set_count(state, 6)
    assert isinstance(there, TrainState) and there.step == 0
    assert -there.apply_gradients(grads=GRADS).params["a"][0] == SCHEDULE(6)


@pytest.mark.parametrize(("make", "jit"), [(sgd, True), (lambda: optax.adam(SCHEDULE), False)])
def test_an_nnx_optimizer_is_set_in_place(make, jit):
    model = linear()
    optimizer = nnx.Optimizer(model, make(), wrt=nnx.Param)
    if jit:
        nnx.jit(lambda optimizer: js.set_count(optimizer, 6) and None)(optimizer)
    else:
        assert js.set_count(optimizer, 6) is optimizer
    before = model.bias[0]
    with jax.numpy_dtype_promotion("standard"):
        nnx.jit(lambda m, o: o.update(m, nnx.grad(lambda m: m.bias[0])(m)))(model, optimizer)
    np.testing.assert_allclose(before - model.bias[0], SCHEDULE(6), rtol=1e-5)


def test_vmapped_states_are_set_alike_or_each():
    tx = sgd()
    states = jax.vmap(lambda _: tx.init(PARAMS))(jnp.arange(3))
    assert js.set_count(states, 6).count.tolist() == [6, 6, 6]
    assert js.set_count(states, jnp.array([0, 2, 6])).count.tolist() == [0, 2, 6]


def test_a_plateau_keeps_its_memory():
    tx = optax.chain(sgd(js.ReduceLROnPlateau(1.0)), sgd())
    state = js.set_count(js.observe(tx.init(PARAMS), 3.0), 6)
    assert optax.tree_utils.tree_get(state, "best") == 3.0


@pytest.mark.parametrize(
    ("state", "count", "message"),
    [
        (sgd().init(PARAMS), -1, "`count` must be an integer >= 0, got -1"),
        (sgd().init(PARAMS), 2.5, "`count` must be an integer >= 0, got 2.5"),
        (optax.sgd(0.1).init(PARAMS), 3, "`opt_state` must hold a count .* got none"),
        (optax.adam(0.1).init(PARAMS), 3, "`opt_state` must hold a count .* got none"),
        (
            optax.contrib.prodigy(SCHEDULE).init(PARAMS),
            3,
            r"got ProdigyState, whose count belongs to its moments.* schedule\(count \+ n\)",
        ),
        (sgd().init(PARAMS), jnp.array([1, 2]), r"`count` must be one .* \(\), got .* \(2,\)"),
        (SCHEDULE, 3, r"`opt_state` must be an optimizer state.* the schedule itself: per_epoch\("),
        (sgd(), 3, r"`opt_state` must be an optimizer state.* give its state, tx.init\(params\)"),
    ],
)
def test_what_it_cannot_set(state, count, message):
    with pytest.raises((TypeError, ValueError), match=message):
        js.set_count(state, count)
