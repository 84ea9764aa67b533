"""get_last_lr: what the last update used, wherever optax and flax keep it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js
from tests.schedules import injected

SCHEDULE = js.StepLR(0.5, 2, gamma=0.5)
PARAMS = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
TX = injected(SCHEDULE, momentum=0.9)


def partitioned():
    groups = {"head": TX, "backbone": injected(js.StepLR(0.25, 3, gamma=0.5))}
    return optax.partition(groups, {"a": "head", "b": "backbone"})


def after(tx, n):
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for _ in range(n):
        _, state = update(GRADS, state, PARAMS)
    return state


def test_it_is_the_lr_that_the_last_update_used():
    # Before any update: what the first one will use.
    got = [js.get_last_lr(after(TX, n)) for n in range(6)]
    assert got == [[0.5], [0.5], [0.5], [0.25], [0.25], [0.125]]
    assert all(type(lr) is float for (lr,) in got)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.clip_by_global_norm(1.0), optax.chain(tx, optax.identity())),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.masked(tx, {"a": True, "b": False}),
        lambda tx: optax.inject_hyperparams(lambda scale: optax.chain(optax.scale(scale), tx))(2.0),
        lambda tx: optax.contrib.schedule_free(tx, learning_rate=0.1),
    ],
)
def test_through_wrappers(wrap):
    with jax.numpy_dtype_promotion("standard"):
        assert js.get_last_lr(after(wrap(TX), 3)) == [0.25]


def test_through_multisteps_it_follows_the_updates():
    tx = optax.MultiSteps(TX, every_k_schedule=3)
    with jax.numpy_dtype_promotion("standard"):
        assert js.get_last_lr(after(tx, 8)) == [0.5]
        assert js.get_last_lr(after(tx, 9)) == [0.25]


def test_partition_gives_one_lr_a_group_labels_sorted():
    assert js.get_last_lr(after(partitioned(), 3)) == [0.25, 0.25]
    assert js.get_last_lr(after(partitioned(), 6)) == [0.125, 0.125]
    assert js.get_last_lr(after(partitioned(), 5)) == [0.125, 0.125]
    assert js.get_last_lr(after(partitioned(), 1)) == [0.25, 0.5]


def test_a_train_state():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=TX)
    for _ in range(3):
        state = state.apply_gradients(grads=GRADS)
    assert js.get_last_lr(state) == js.get_last_lr(state.opt_state) == [0.25]


def test_an_nnx_optimizer():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, TX, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
        return js.get_last_lr(optimizer)

    for expected in (0.5, 0.5, 0.25):
        (inside,) = step(model, optimizer)
        assert inside == expected
        assert js.get_last_lr(optimizer) == js.get_last_lr(optimizer.opt_state) == [expected]


def test_under_jit_and_for_vmapped_states_it_gives_arrays():
    (lr,) = jax.jit(js.get_last_lr)(after(TX, 3))
    assert isinstance(lr, jax.Array)
    assert lr == 0.25
    states = jax.vmap(lambda lr: injected(js.StepLR(lr, 2)).init(PARAMS))(jnp.array([0.5, 0.25]))
    (lrs,) = js.get_last_lr(states)
    np.testing.assert_array_equal(lrs, [0.5, 0.25])


@pytest.mark.parametrize("state", [optax.sgd(0.1).init(PARAMS), (), {}, None], ids=repr)
def test_where_nothing_was_injected_it_says_what_to_do(state):
    with pytest.raises(ValueError, match="wrap the optimizer in optax.inject_hyperparams"):
        js.get_last_lr(state)


def test_hyperparameters_of_other_names_are_listed():
    tx = optax.chain(
        optax.inject_hyperparams(optax.scale)(step_size=SCHEDULE),
        optax.inject_hyperparams(optax.trace)(decay=0.9),
    )
    with pytest.raises(ValueError, match='"learning_rate"; found: decay, step_size'):
        js.get_last_lr(tx.init(PARAMS))


@pytest.mark.parametrize("number", [0.05, np.float64(0.05), np.float32(0.05), jnp.float32(0.05), 1])
def test_after_the_override_that_optax_documents(number):
    tx = injected(0.5)
    state = tx.init(PARAMS)
    state.hyperparams["learning_rate"] = number
    (lr,) = js.get_last_lr(state)
    assert type(lr) is float and lr in (0.05, 1.0)
    updates, state = jax.jit(tx.update)(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [np.float32(number)]
    assert updates["a"][0] == -np.float32(number)


def test_outer_learning_rates_come_before_inner_ones():
    def outer(learning_rate):
        return optax.chain(optax.scale(learning_rate), injected(js.ConstantLR(0.25, 1.0)))

    tx = optax.inject_hyperparams(outer)(learning_rate=js.ConstantLR(0.5, 1.0))
    both = optax.chain(tx, injected(js.ConstantLR(0.125, 1.0)))
    assert js.get_last_lr(both.init(PARAMS)) == [0.5, 0.25, 0.125]
