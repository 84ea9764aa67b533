"""get_last_lr: what the last update used, wherever optax and flax keep it, or count for it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js
from tests.schedules import injected, linear
from tests.test_wrappers import OPTIMIZERS

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


def after_each(named, n):
    """The states of all of them, by the number of updates: one program."""

    @jax.jit
    def update(states):
        return {name: named[name].update(GRADS, s, PARAMS)[1] for name, s in states.items()}

    found = [{name: tx.init(PARAMS) for name, tx in named.items()}]
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(n):
            found.append(update(found[-1]))
    return found


def test_it_is_the_lr_that_the_last_update_used():
    # Before any update: what the first one will use.
    got = [js.get_last_lr(after(TX, n)) for n in range(6)]
    assert got == [[0.5], [0.5], [0.5], [0.25], [0.25], [0.125]]
    assert all(type(lr) is float for (lr,) in got)


def test_through_wrappers():
    wrapped = [
        optax.chain(optax.clip_by_global_norm(1.0), optax.chain(TX, optax.identity())),
        optax.apply_if_finite(TX, 3),
        optax.masked(TX, {"a": True, "b": False}),
        optax.inject_hyperparams(lambda scale: optax.chain(optax.scale(scale), TX))(2.0),
        optax.contrib.schedule_free(TX, learning_rate=0.1),
    ]
    *_, states = after_each(dict(enumerate(wrapped)), 3)
    assert [js.get_last_lr(state) for state in states.values()] == [[0.25]] * 5


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
    model = linear()
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
    init = jax.vmap(lambda lr: injected(js.StepLR(lr, 2)).init(PARAMS))
    states = jax.jit(init)(jnp.array([0.5, 0.25]))
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


# -- with the schedule, from the count --------------------------------------------------------


def weights(lr, momentum):
    """Whose updates are the learning rates, with a momentum beside."""
    return optax.chain(optax.trace(momentum), optax.scale(0.0), optax.scale_by_learning_rate(lr))


COUNTING = {
    "sgd": optax.sgd(SCHEDULE),
    "injected": injected(SCHEDULE),
    "injected momentum": optax.inject_hyperparams(optax.sgd)(0.1, momentum=SCHEDULE),
    "chain": optax.chain(optax.clip(1.0), optax.chain(optax.adam(SCHEDULE), optax.identity())),
    "decay": optax.adamw(SCHEDULE, weight_decay=js.ConstantLR(0.1)),
    "apply_if_finite": optax.apply_if_finite(optax.sgd(SCHEDULE), 3),
    "masked": optax.masked(optax.sgd(SCHEDULE), {"a": True, "b": False}),
    "inside injected": optax.inject_hyperparams(
        lambda scale: optax.chain(optax.scale(scale), optax.sgd(SCHEDULE))
    )(2.0),
    "beside a plateau": optax.chain(optax.sgd(SCHEDULE), injected(js.ReduceLROnPlateau(0.1))),
    "both injected": optax.inject_hyperparams(weights)(SCHEDULE, js.StepLR(0.9, 3)),
    "schedule_free": optax.contrib.schedule_free(optax.sgd(SCHEDULE), SCHEDULE, b1=0.9),
}


def test_with_the_schedule_it_is_its_value_at_the_count_before():
    for expected, states in zip((0.5, 0.5, 0.5, 0.25, 0.25, 0.125), after_each(COUNTING, 5)):
        for name, state in states.items():
            (lr,) = js.get_last_lr(state, SCHEDULE)
            assert (type(lr), lr) == (float, expected), name


TAKE_NO_SCHEDULE = {"optimistic_adam", "rprop", "scale_by_rprop", "sm3"}
TAKE_MORE = {"_deprecated_dpsgd", "dpsgd", "lbfgs", "schedule_free"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - TAKE_NO_SCHEDULE - TAKE_MORE))
def test_with_the_schedule_from_every_optimizer_of_optax(name):
    """Those that have two counts for one schedule give two values."""
    schedule = js.RecordedLR([0.1, 0.2, 0.3, 0.4])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        tx = OPTIMIZERS[name](schedule)
        state = tx.init(PARAMS)
        extra = {"value": 1.0, "grad": GRADS, "value_fn": lambda *_: 1.0, "obj_fn": lambda *_: 1.0}
        update = optax.with_extra_args_support(tx).update
        for n in range(3):
            assert {*js.get_last_lr(state, schedule)} == {schedule(max(n - 1, 0))}
            _, state = update(GRADS, state, PARAMS, **extra)
    assert {*js.get_last_lr(state, schedule)} == {0.3}


def test_with_the_schedule_through_multisteps_it_follows_the_updates():
    tx = optax.MultiSteps(optax.sgd(SCHEDULE), every_k_schedule=3)
    with jax.numpy_dtype_promotion("standard"):
        assert js.get_last_lr(after(tx, 8), SCHEDULE) == [0.5]
        assert js.get_last_lr(after(tx, 9), SCHEDULE) == [0.25]


def test_with_the_schedule_each_group_has_its_count():
    groups = {"head": optax.sgd(SCHEDULE), "backbone": optax.adam(js.StepLR(0.25, 3))}
    tx = optax.partition(groups, {"a": "head", "b": "backbone"})
    with jax.numpy_dtype_promotion("standard"):
        assert js.get_last_lr(after(tx, 3), SCHEDULE) == [0.25, 0.25]


def test_with_the_schedule_it_gives_torchs_double_and_the_momentum():
    schedule = js.OneCycleLR(0.1, total_steps=10)
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=schedule.momentum)
    state = after(tx, 4)
    assert js.get_last_lr(state, schedule) == [schedule(3)] != js.get_last_lr(state)
    assert js.get_last_lr(state, schedule.momentum) == [schedule.momentum(3)]
    theirs = optax.exponential_decay(0.1, 2, 0.5)
    assert js.get_last_lr(after(optax.sgd(theirs), 5), theirs) == [float(str(theirs(4)))]


def test_with_the_schedule_from_a_train_state_and_an_nnx_optimizer():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=optax.sgd(SCHEDULE))
    model = linear()
    optimizer = nnx.Optimizer(model, optax.sgd(SCHEDULE), wrt=nnx.Param)
    for _ in range(3):
        state = state.apply_gradients(grads=GRADS)
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    assert js.get_last_lr(state, SCHEDULE) == js.get_last_lr(optimizer, SCHEDULE) == [0.25]


def test_with_the_schedule_under_jit_and_for_vmapped_states_it_gives_arrays():
    tx = optax.sgd(SCHEDULE)
    state = after(tx, 3)
    (lr,) = jax.jit(lambda state: js.get_last_lr(state, SCHEDULE))(state)
    assert isinstance(lr, jax.Array) and lr == 0.25
    states = jax.vmap(lambda _: state)(jnp.arange(3))
    (lrs,) = js.get_last_lr(states, SCHEDULE)
    assert lrs.tolist() == [0.25] * 3
    (lr,) = js.get_last_lr(state, js.StepLR(jnp.float32(0.5), 2, gamma=0.5))
    assert lr == 0.25 and type(lr) is float


@pytest.mark.parametrize(
    ("state", "schedule", "error", "message"),
    [
        (optax.sgd(0.1).init(PARAMS), SCHEDULE, ValueError, "a count that drives .* got none"),
        (optax.adam(0.1).init(PARAMS), SCHEDULE, ValueError, "got none: give the state"),
        (injected(0.1).init(PARAMS), SCHEDULE, ValueError, "got none: give the state"),
        (injected(js.ReduceLROnPlateau(0.1)).init(PARAMS), SCHEDULE, ValueError, "got none"),
        (SCHEDULE, optax.sgd(0.1).init(PARAMS), TypeError, "`schedule` must be a callable"),
        (SCHEDULE, SCHEDULE, TypeError, r"got the schedule itself: StepLR\("),
        (optax.sgd(SCHEDULE), SCHEDULE, TypeError, r"give its state, tx.init\(params\)"),
        (TX.init(PARAMS), js.ReduceLROnPlateau(0.1), TypeError, "what has a state"),
        (TX.init(PARAMS), 0.1, TypeError, "`schedule` must be a callable"),
    ],
)
def test_with_the_schedule_what_has_no_count_is_refused(state, schedule, error, message):
    with pytest.raises(error, match=message):
        js.get_last_lr(state, schedule)


# -- what inject_hyperparams took for a schedule ----------------------------------------------


def is_matrix(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize(
    "read",
    [js.get_last_lr, lambda s: js.get_last_lr(s, SCHEDULE), lambda s: js.set_count(s, 3)],
    ids=["get_last_lr", "with the schedule", "set_count"],
)
def test_a_mask_that_was_injected_is_noticed(read):
    make = optax.inject_hyperparams(optax.add_decayed_weights)
    tx = optax.chain(make(0.1, mask=is_matrix), injected(SCHEDULE))
    for n in (0, 1):
        with pytest.raises(ValueError, match='as `mask`: .* static_args=."mask",'):
            read(after(tx, n))
    model = linear()
    with pytest.raises(ValueError, match="called it with a count"):
        read(nnx.Optimizer(model, tx, wrt=nnx.Param))


def test_a_mask_that_was_not_injected_is_not():
    make = optax.inject_hyperparams(optax.add_decayed_weights, static_args=("mask",))
    for mask in (is_matrix, {"a": True, "b": False}, None):
        tx = optax.chain(make(0.1, mask=mask), injected(SCHEDULE))
        assert js.get_last_lr(after(tx, 1)) == [0.5]
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=SCHEDULE, momentum=0.9, nesterov=True)
    assert js.get_last_lr(after(tx, 1)) == [0.5]
