"""observe: a plateau is told its metric wherever optax and flax keep the state."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js
from tests.marks import slow_case
from tests.plateaus import CASES, GRADS, LRS, METRICS, PARAMS, PLATEAU, standard
from tests.schedules import injected, linear

TX = injected(PLATEAU)


# -- in optax ----------------------------------------------------------------------------------


def epochs(tx, metrics=METRICS, updates=2, observe=js.observe):
    """The lr of each epoch's last update, and of one more: read from the update itself."""
    state, got, added = tx.init(PARAMS), [], GRADS
    update = jax.jit(tx.update)
    for metric in [*metrics, None]:
        for _ in range(updates):
            added, state = update(GRADS, state, PARAMS)
        got.append(-float(added["a"][0]))
        if metric is not None:
            state = observe(state, metric)
    return got


@pytest.mark.parametrize(
    "jit",
    [lambda f: f, slow_case(jax.jit)],
    ids=["outside jit", "inside jit"],
)
def test_told_once_an_epoch_it_is_torch(jit):
    assert epochs(TX, observe=jit(js.observe)) == LRS
    kwargs, metrics, lrs = CASES["random 1"]
    got = epochs(injected(js.ReduceLROnPlateau(**kwargs)), metrics.tolist(), 1, jit(js.observe))
    np.testing.assert_array_equal(np.float32(got), lrs.astype(np.float32))


def test_told_once_an_update_it_is_torch():
    got = []

    @jax.jit
    def step(state, metric):
        # `value` is for line searches and the like.
        return TX.update(GRADS, state, PARAMS, metric=metric, value=-metric)

    state = TX.init(PARAMS)
    for metric in [*METRICS, 1.0]:
        added, state = step(state, metric)
        got.append(-float(added["b"][0]))
    assert got == LRS


def test_in_a_scan_over_epochs_with_bfloat16_parameters():
    params = jnp.zeros(2, jnp.bfloat16)

    def epoch(state, metric):
        added, state = TX.update(params + 1, state, params)
        return js.observe(state, metric), -added[0]

    with standard:
        _, got = jax.jit(lambda m: jax.lax.scan(epoch, TX.init(params), m))(jnp.array(METRICS))
    assert got.tolist() == LRS[:-1]


def test_multisteps_passes_on_the_metric_of_the_last_of_its_batches():
    tx = optax.MultiSteps(TX, every_k_schedule=2)
    state = tx.init(PARAMS)
    update = jax.jit(lambda state, metric: tx.update(GRADS, state, PARAMS, metric=metric)[1])
    with standard:
        for metric in (9.0, 1.0, 9.0, 2.0):
            state = update(state, jnp.float32(metric))
    plateau = state.inner_opt_state.hyperparams_states["learning_rate"]
    assert (plateau.best, plateau.num_bad_epochs) == (1, 1)


def test_only_metric_is_listened_to():
    state = jax.jit(TX.update)(GRADS, TX.init(PARAMS), PARAMS)[1]
    told = TX.update(GRADS, state, PARAMS, value=1.0, loss=2.0, grad=GRADS)[1]
    assert told.hyperparams_states["learning_rate"] is state.hyperparams_states["learning_rate"]


def test_through_wrappers():
    wrapped = [
        optax.chain(optax.clip_by_global_norm(9.0), optax.chain(TX, optax.identity())),
        optax.apply_if_finite(TX, 3),
        optax.masked(TX, {"a": True, "b": False}),
        optax.inject_hyperparams(lambda scale: optax.chain(optax.scale(scale), TX))(1.0),
        optax.MultiSteps(TX, every_k_schedule=2),
        optax.partition({"head": TX, "rest": optax.sgd(0.1)}, {"a": "head", "b": "rest"}),
    ]

    @jax.jit
    def update(states):
        both = [tx.update(GRADS, s, PARAMS) for tx, s in zip(wrapped, states, strict=True)]
        return [-added["a"][0] for added, _ in both], [state for _, state in both]

    told = jax.jit(lambda states, metric: [js.observe(state, metric) for state in states])
    states, got = [tx.init(PARAMS) for tx in wrapped], []
    with standard:
        for metric in [*METRICS, 0.0]:
            lrs, states = update(update(states)[1])
            got.append([float(lr) for lr in lrs])
            states = told(states, metric)
    assert got == [[lr] * 6 for lr in LRS]


def test_in_a_partition_every_group_is_told():
    groups = {"head": TX, "backbone": injected(js.ReduceLROnPlateau(0.25, patience=0))}
    tx = optax.partition(groups, {"a": "backbone", "b": "head"})
    state = tx.init(PARAMS)
    for metric in (1.0, 2.0, 2.0):
        state = js.observe(state, metric)
    added, state = tx.update(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [np.float32(0.25 * 0.1 * 0.1), 0.25]
    assert -added["b"][0] == 0.25
    assert -added["a"][0] == np.float32(0.25 * 0.1 * 0.1)


def test_apply_if_finite_rejects_the_update_and_not_the_metric():
    tx = optax.apply_if_finite(TX, 3)
    state = tx.init(PARAMS)
    bad = jax.tree.map(lambda x: x * np.float32(np.nan), GRADS)
    for metric in (1.0, 2.0, 2.0):
        _, state = jax.jit(tx.update)(bad, state, PARAMS)
        state = js.observe(state, metric)
    added, _ = jax.jit(tx.update)(GRADS, state, PARAMS)
    assert -added["a"][0] == 0.25


def test_get_last_lr_shows_a_cut_after_the_next_update():
    tx = injected(dataclasses.replace(PLATEAU, patience=0))
    state = js.observe(js.observe(tx.init(PARAMS), 1.0), 2.0)
    assert js.get_last_lr(state) == [0.5]
    _, state = tx.update(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [0.25]


def test_a_train_state_comes_back_as_one():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=TX)
    for metric in METRICS[:4]:
        state = state.apply_gradients(grads=GRADS)
        told = js.observe(state, metric)
        assert type(told) is TrainState and told.tx is state.tx
        state = told
    state = state.apply_gradients(grads=GRADS)
    assert js.get_last_lr(state) == [0.25]
    assert state.step == 5


def test_donated_buffers():
    def step(params, state, metric):
        added, state = TX.update(GRADS, state, params)
        return optax.apply_updates(params, added), js.observe(state, metric)

    step = jax.jit(step, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, PARAMS)
    state = TX.init(params)
    for metric in METRICS:
        params, state = step(params, state, metric)
    assert js.get_last_lr(state) == LRS[-2:-1]


def test_vmapped_states_listen_each_to_its_own_metric():
    metrics = jnp.array([[1.0, 2.0, 2.0], [3.0, 2.0, 1.0]])

    def run(metrics):
        state = TX.init(PARAMS)
        for metric in metrics:
            state = js.observe(state, metric)
        return TX.update(GRADS, state, PARAMS)

    added, states = jax.jit(jax.vmap(run))(metrics)
    assert (-added["a"][:, 0]).tolist() == [0.25, 0.5]
    told = jax.vmap(js.observe)(states, jnp.array([9.0, 9.0]))
    assert told.hyperparams_states["learning_rate"].num_bad_epochs.tolist() == [1, 1]


def test_under_sam_a_falling_loss_is_not_cut():
    """Optax's sam masks the state by arithmetic, where 0 * inf is NaN."""
    tx = optax.contrib.sam(TX, optax.sgd(0.05))
    state = tx.init(PARAMS)
    for epoch in range(20):
        state = js.observe(state, 10.0 - epoch / 2)
        for _ in range(2):
            with standard:
                _, state = jax.jit(tx.update)(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [0.5]
    assert optax.tree_utils.tree_get(state, "best") == 0.5


# -- with other schedules ----------------------------------------------------------------------

WARMUP = js.LinearLR(0.5, start_factor=0.25, total_iters=4)
FACTOR = dataclasses.replace(PLATEAU, base_lr=1.0)
PRODUCT = np.float32([w * f for w, f in zip(WARMUP(np.arange(9)), np.divide(LRS, 0.5))])


def test_it_is_a_factor_of_any_schedule():
    step_size = optax.inject_hyperparams(optax.scale)(step_size=FACTOR)
    tx = optax.chain(optax.sgd(WARMUP), step_size)
    np.testing.assert_array_equal(epochs(tx, updates=1), PRODUCT)


def test_both_in_one_optimizer_so_that_get_last_lr_is_their_product():
    @optax.inject_hyperparams
    def sgd(warmup, factor):
        return optax.inject_hyperparams(optax.sgd)(lambda count: warmup * factor)

    tx = sgd(WARMUP, FACTOR)
    np.testing.assert_array_equal(epochs(tx, updates=1), PRODUCT)
    state = tx.init(PARAMS)
    for expected, metric in zip(PRODUCT, METRICS):
        _, state = jax.jit(tx.update)(GRADS, state, PARAMS)
        assert js.get_last_lr(state) == [expected]
        state = js.observe(state, metric)


def test_a_sweep_over_learning_rates_has_it_as_a_factor():
    def run(lr):
        tx = optax.chain(optax.sgd(lr), optax.inject_hyperparams(optax.scale)(step_size=FACTOR))
        state = tx.init(PARAMS)
        for metric in METRICS[:3]:
            state = js.observe(state, metric)
        return -tx.update(GRADS, state, PARAMS)[0]["a"][0]

    assert jax.jit(jax.vmap(run))(jnp.array([0.5, 1.0, 2.0])).tolist() == [0.25, 0.5, 1.0]


# -- in flax -----------------------------------------------------------------------------------


def nnx_optimizer():
    model = linear()
    return model, nnx.Optimizer(model, TX, wrt=nnx.Param)


def nnx_update(model, optimizer, **kwargs):
    ones = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    before = model.bias[...]
    optimizer.update(model, ones, **kwargs)
    return before - model.bias[...]


@pytest.mark.parametrize(
    ("jit", "part"),
    [(lambda f: f, lambda o: o.opt_state), (nnx.jit, lambda o: o)],
    ids=["its opt_state, outside nnx.jit", "under nnx.jit"],
)
def test_an_nnx_optimizer_is_told_in_place(jit, part):
    model, optimizer = nnx_optimizer()
    update = nnx.jit(nnx_update)

    @jit
    def observe(optimizer, metric):
        told = js.observe(part(optimizer), metric)
        assert told is part(optimizer)

    for expected, metric in zip(LRS, METRICS):
        update(model, optimizer)
        assert js.get_last_lr(optimizer) == [expected]
        observe(optimizer, metric)
    variable = optimizer.opt_state.hyperparams_states["learning_rate"].cuts
    assert isinstance(variable, nnx.Variable)
    assert variable[...] == 3


def test_an_nnx_optimizer_in_one_compiled_step():
    model, optimizer = nnx_optimizer()
    compiled = []

    @nnx.jit
    def step(model, optimizer, metric):
        compiled.append(metric)
        nnx_update(model, optimizer)
        return js.observe(optimizer, metric)

    for expected, metric in zip(LRS, METRICS):
        step(model, optimizer, metric)
        assert js.get_last_lr(optimizer) == [expected]
    assert len(compiled) == 1


def test_an_nnx_optimizer_passes_the_metric_on():
    model, optimizer = nnx_optimizer()
    update = nnx.jit(nnx_update)
    for expected, metric in zip(LRS, METRICS):
        update(model, optimizer, metric=metric)
        assert js.get_last_lr(optimizer) == [expected]


def test_every_plateau_of_an_nnx_optimizer_is_told():
    scale = optax.inject_hyperparams(optax.scale)(step_size=FACTOR)
    model = linear()
    optimizer = nnx.Optimizer(model, optax.chain(TX, scale), wrt=nnx.Param)
    for metric in METRICS[:3]:
        js.observe(optimizer, metric)
    assert nnx_update(model, optimizer) == 0.25 * 0.5


def test_an_nnx_optimizer_split_and_merged():
    model, optimizer = nnx_optimizer()
    graphdef, state = nnx.split(js.observe(optimizer, 1.0))
    merged = nnx.merge(graphdef, state)
    js.observe(js.observe(merged, 2.0), 2.0)
    nnx_update(model, merged)
    assert js.get_last_lr(merged) == [0.25]


# -- checkpoints -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # Orbax's own
@pytest.mark.parametrize(  # in a cut, before a bad one, near the end
    "saved_after", [3, *(slow_case(n) for n in (1, 7))]
)
def test_an_orbax_round_trip_goes_on_as_if_nothing_was(tmp_path, saved_after):
    import orbax.checkpoint as ocp

    state, got = TX.init(PARAMS), []
    for epoch, metric in enumerate([*METRICS, None]):
        if epoch == saved_after:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(tmp_path / "state", state)
                checkpointer.wait_until_finished()
                state = checkpointer.restore(tmp_path / "state", TX.init(PARAMS))
        added, state = jax.jit(TX.update)(GRADS, state, PARAMS)
        got.append(-float(added["a"][0]))
        if metric is not None:
            state = js.observe(state, metric)
    assert got == LRS


# -- nobody listens ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        optax.sgd(0.1).init(PARAMS),
        injected(js.StepLR(0.1, 5)).init(PARAMS),
        *((), {}, None, 0.1, PARAMS),
        TrainState.create(apply_fn=None, params=PARAMS, tx=optax.sgd(0.1)),
        nnx.Optimizer(linear(), optax.sgd(0.1), wrt=nnx.Param),
    ],
    ids=lambda state: type(state).__name__,
)
def test_where_there_is_none_it_says_what_to_do(state):
    message = re.escape(
        "`opt_state` holds no ReduceLROnPlateau: put one into optax.inject_hyperparams, as in"
    )
    with pytest.raises(ValueError, match=message):
        js.observe(state, 1.0)


@pytest.mark.parametrize(
    "state",
    [TX, optax.MultiSteps(TX, 2), js.ReduceLROnPlateau(0.1), js.StepLR(0.1, 5)],
    ids=lambda state: type(state).__name__,
)
def test_what_is_no_state_is_named(state):
    for call in (js.observe, js.set_count, lambda state, _: js.get_last_lr(state)):
        with pytest.raises(TypeError, match="`opt_state` must be an optimizer state, got"):
            call(state, 1)
