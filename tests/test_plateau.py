"""ReduceLROnPlateau and observe: torch's learning rates, wherever optax and flax keep the state."""

import dataclasses
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from traces import load

import jaxsched as js

CASES = {
    name: (kwargs, metrics.astype(np.float32), lrs)
    for (name, kwargs, lrs), (_, _, metrics) in zip(
        load("ReduceLROnPlateau"), load("ReduceLROnPlateau", "metric"), strict=True
    )
}


def every_case(default):
    """Every case, by its name: one in `default` by default, the rest in the slow run."""
    marks = [() if i % default == 0 else pytest.mark.slow for i in range(len(CASES))]
    names = [pytest.param(name, marks=m) for name, m in zip(CASES, marks, strict=True)]
    return pytest.mark.parametrize("name", names)


PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=1)
METRICS = [1.0, 2.0, 2.0, 0.5, 0.75, 0.75, 0.75, 0.75]
LRS = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]  # before them, and after each
PARAMS = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
# Some of optax itself does not pass under the strict one.
standard = jax.numpy_dtype_promotion("standard")


def injected(plateau=PLATEAU):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=plateau)


def test_the_example_is_torchs_too():
    kwargs, metrics, lrs = CASES["an example"]
    assert js.ReduceLROnPlateau(**kwargs) == PLATEAU
    assert (metrics.tolist(), lrs.tolist()) == (METRICS, LRS)


# -- torch's traces ----------------------------------------------------------------------------


def scanned(plateau, metrics):
    def step(state, metric):
        state = plateau.update(state, metric=metric)
        return state, plateau(state)

    state = plateau.init()
    _, lrs = jax.jit(lambda metrics: jax.lax.scan(step, state, metrics))(metrics)
    return jnp.concatenate([plateau(state)[None], lrs])


@every_case(3)
def test_in_a_scan_it_is_torch_to_the_last_bit_of_float32(name):
    kwargs, metrics, lrs = CASES[name]
    got = scanned(js.ReduceLROnPlateau(**kwargs), metrics)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, lrs.astype(np.float32))


@pytest.mark.parametrize("name", [*CASES][::13])
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_in_a_loop_it_is_torch_to_the_last_bit_of_float32(name, jit):
    kwargs, metrics, lrs = CASES[name]
    plateau = js.ReduceLROnPlateau(**kwargs)
    update, lr = jit(lambda state, m: plateau.update(state, metric=m)), jit(plateau)
    state = plateau.init()
    got = [lr(state)]
    for metric in metrics.tolist()[:200]:
        state = update(state, metric)
        got.append(lr(state))
    np.testing.assert_array_equal(got, lrs.astype(np.float32)[:201])


@every_case(13)
def test_under_x64_it_is_torchs_double(name):
    kwargs, metrics, lrs = CASES[name]
    with jax.enable_x64(True):
        got = scanned(js.ReduceLROnPlateau(**kwargs), metrics.astype(np.float64))
    assert got.dtype == jnp.float64
    np.testing.assert_array_equal(got, lrs)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_vmapped_over_metrics(mode):
    names = [f"{name}: {mode} abs" for name in ("ties, threshold 0", "ties")]
    names += [f"{name}: {mode} rel" for name in ("NaN first", "inf first", "-inf first")]
    for same in (names[:1], names[1:2], names[2:]):
        kwargs = CASES[same[0]][0]
        assert all(CASES[name][0] == kwargs for name in same)
        plateau, length = js.ReduceLROnPlateau(**kwargs), min(len(CASES[n][1]) for n in same)
        metrics = np.stack([CASES[name][1][:length] for name in same])
        got = jax.vmap(lambda m: scanned(plateau, m))(metrics)
        expected = [CASES[name][2][: length + 1] for name in same]
        np.testing.assert_array_equal(got, np.float32(expected))


def test_there_are_traces_enough():
    assert sum(name.startswith("random") for name in CASES) >= 60
    assert all(np.array_equal(m, np.float32(m), equal_nan=True) for _, m, _ in CASES.values())
    cuts = [len(set(lrs.tolist())) - 1 for _, _, lrs in CASES.values()]
    assert sum(n >= 2 for n in cuts) > 100 and max(cuts) > 1000


@pytest.mark.torch
def test_torch_here_still_gives_the_stored_traces():
    from traces import plateau

    for case in plateau.CASES:
        stored_kwargs, stored_metrics, stored_lrs = CASES[case.name]
        made = plateau.trace(case)
        assert case.kwargs == stored_kwargs
        np.testing.assert_array_equal(made["metric"], stored_metrics)
        np.testing.assert_array_equal(made["lr"], stored_lrs)
    assert len(plateau.CASES) == len(CASES)


# -- where optax differs -----------------------------------------------------------------------


def optax_lrs(metrics, **kwargs):
    tx, got = optax.contrib.reduce_on_plateau(**kwargs), []
    state = tx.init(jnp.float32(0))
    for metric in metrics:
        update, state = jax.jit(tx.update)(jnp.float32(1), state, value=jnp.float32(metric))
        got.append(float(update))
    return got


def our_lrs(metrics, **kwargs):
    return scanned(js.ReduceLROnPlateau(1.0, **kwargs), np.float32(metrics))[1:].tolist()


@pytest.mark.parametrize(
    ("patience", "optax_", "ours"),
    [
        # With patience 0 optax cuts at good metrics and at no bad one.
        (0, [0.5, 0.5, 0.5, 0.5, 0.25, 0.125, 0.125], [1, 0.5, 0.25, 0.125, 0.125, 0.125, 0.0625]),
        # Else one bad epoch earlier.
        (1, [1, 0.5, 0.25, 0.125, 0.125, 0.125, 0.0625], [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (2, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_where_optax_differs(patience, optax_, ours):
    metrics, kwargs = [1, 2, 2, 2, 0.5, 0.25, 0.25], {"factor": 0.5, "patience": patience}
    with standard:
        assert optax_lrs(metrics, **kwargs) == optax_
    assert our_lrs(metrics, **kwargs) == ours


# -- the value ---------------------------------------------------------------------------------


def test_it_is_a_value():
    text = (
        "ReduceLROnPlateau(0.5, mode='min', factor=0.5, patience=1, threshold=0.0001, "
        "threshold_mode='rel', cooldown=0, min_lr=0.0, eps=1e-08)"
    )
    assert repr(PLATEAU) == text
    same = eval(text, vars(js))
    PLATEAU(PLATEAU.init())
    assert same == PLATEAU == pickle.loads(pickle.dumps(PLATEAU))
    assert hash(same) == hash(PLATEAU)
    assert len({PLATEAU, same, dataclasses.replace(PLATEAU, patience=2)}) == 2
    assert type(js.ReduceLROnPlateau(1).base_lr) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLATEAU.patience = 3  # type: ignore[misc]
    assert isinstance(PLATEAU, optax.schedules.StatefulSchedule)
    assert jax.tree.leaves(PLATEAU) == []  # and an argument of `jit` like that
    assert jax.jit(lambda p: p(p.init()))(PLATEAU) == 0.5


def test_the_state_pickles():
    state = pickle.loads(pickle.dumps(PLATEAU.update(PLATEAU.init(), metric=1.0)))
    assert state.schedule == PLATEAU
    assert state.best == 1


NUMBER = [-1, np.nan, np.inf, None, "0.1", True, [0.1], jnp.float32(0.1), np.array(0.1)]
COUNT = [-1, 2.5, -5.0, None, "3", True, [5], np.float32(3.5), 2**62]
WRONG = {
    "base_lr": NUMBER,
    "min_lr": NUMBER,
    "eps": NUMBER,
    "threshold": [*NUMBER, 1, 2.0],
    "factor": [*NUMBER, -0.5, 1, 1.5],
    "patience": COUNT,
    "cooldown": COUNT,
    "mode": ["Min", None, 1, []],
    "threshold_mode": ["absolute", None, True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in WRONG.items() for v in values], ids=repr
)
def test_what_cannot_be_meant_is_refused(name, value):
    with pytest.raises((TypeError, ValueError), match=f"^`{name}` must be .*, got ") as error:
        js.ReduceLROnPlateau(**{"base_lr": 0.1, name: value})
    assert repr(value) in str(error.value) or repr(float(value)) in str(error.value)


def test_a_traced_argument_is_refused():
    with pytest.raises(TypeError, match=r"`base_lr` must be a Python number, .* as a factor"):
        jax.jit(lambda lr: js.ReduceLROnPlateau(lr).init())(0.1)


@pytest.mark.parametrize("threshold", [1, 5])
def test_a_threshold_of_1_or_more_is_fine_unless_no_metric_could_be_good(threshold):
    for kwargs in ({"mode": "max"}, {"threshold_mode": "abs"}):
        state = js.ReduceLROnPlateau(0.1, threshold=threshold, **kwargs).init()
        assert js.observe(state, 3.0).best == 3


def test_called_with_a_count_it_names_inject_hyperparams():
    for count in (3, 3.0, np.int64(3), jnp.int32(3), np.arange(3), jnp.arange(3)):
        with pytest.raises(TypeError, match=r"`state` must .* optax.inject_hyperparams"):
            PLATEAU(count)
        with pytest.raises(TypeError, match="optax.inject_hyperparams"):
            PLATEAU.update(count, metric=1.0)
    for make in (optax.sgd, optax.adam, optax.scale_by_learning_rate):
        tx = make(PLATEAU)
        with standard, pytest.raises(TypeError, match="optax.inject_hyperparams"):
            jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    "combine",
    [
        lambda p: js.per_epoch(p, 3),
        lambda p: js.smooth_epochs(p, 3),
        lambda p: js.SequentialLR([js.StepLR(0.1, 3), p], [3]),
        lambda p: js.ChainedScheduler([p]),
        lambda p: js.clamp(p, 3),
    ],
)
def test_it_is_no_member_of_a_composition(combine):
    with pytest.raises(TypeError, match="must be a callable count -> value, got ReduceLROnPlateau"):
        combine(PLATEAU)


def test_a_patience_for_ever_and_a_cooldown_for_ever():
    told = scanned(dataclasses.replace(PLATEAU, patience=2**40), np.float32(METRICS))
    assert set(told.tolist()) == {0.5}
    told = scanned(dataclasses.replace(PLATEAU, cooldown=2**40), np.float32(METRICS))
    assert told.tolist() == [0.5] * 3 + [0.25] * 6


def test_the_state_of_another_is_refused():
    other = dataclasses.replace(PLATEAU, patience=2)
    for use in (PLATEAU, PLATEAU.update):
        with pytest.raises(ValueError, match="one with `patience` 2 and not 1. To go on"):
            use(other.init())


# -- the metric --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [{}, {"metric": None}, {"value": 1.0}, {"grad": 1, "loss": 2}])
def test_without_a_metric_the_state_stays(metric):
    state = PLATEAU.update(PLATEAU.init(), metric=1.0)
    assert PLATEAU.update(state, **metric) is state


@pytest.mark.parametrize(
    "kind",
    [
        *(float, int, np.float64, np.float32, np.float16, np.int64, np.uint8, np.array),
        *(jnp.float32, jnp.bfloat16, jnp.float16, jnp.int32, jnp.uint8, jnp.array),
        lambda x: np.asarray(jnp.bfloat16(x)),
    ],
)
def test_a_metric_is_a_scalar_of_any_real_type(kind):
    state = PLATEAU.init()
    for told in (PLATEAU.update(state, metric=kind(3)), jax.jit(js.observe)(state, kind(3))):
        assert told.best == 3
        # Nothing changes that a scan would complain about.
        assert jax.tree.structure(told) == jax.tree.structure(state)
        for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(told), strict=True):
            assert (after.dtype, after.shape) == (before.dtype, before.shape)
            assert not after.weak_type


def test_a_metric_is_rounded_to_the_float_type_of_the_state():
    assert PLATEAU.update(PLATEAU.init(), metric=0.1).best == np.float32(0.1)
    assert PLATEAU.update(PLATEAU.init(), metric=2**40 + 1).best == 2.0**40
    assert (
        PLATEAU.update(PLATEAU.init(), metric=1e300).best == np.finfo(np.float32).max
    )  # bad, as inf
    with jax.enable_x64(True):
        told = PLATEAU.update(PLATEAU.init(), metric=0.1)
        assert told.best.dtype == jnp.float64 and told.best == 0.1


@pytest.mark.parametrize(
    ("error", "metric", "message"),
    [
        (ValueError, [1.0, 2.0], r"a scalar, got an array of shape \(2,\)"),
        (ValueError, np.zeros((1, 1)), r"a scalar, got an array of shape \(1, 1\)"),
        (ValueError, jnp.zeros(1), r"a scalar, got an array of shape \(1,\)"),
        (TypeError, "1.0", "a real number, got "),
        (TypeError, None, "a real number, got "),
        (TypeError, True, "a real number, got "),
        (TypeError, 1j, "a real number, got "),
        (TypeError, {"loss": 1.0}, "a real number, got "),
    ],
)
def test_any_other_metric_is_refused(error, metric, message):
    for tell in (js.observe, lambda s, m: PLATEAU.update(s, metric=m)):
        if metric is not None or tell is js.observe:
            with pytest.raises(error, match=f"`metric` must be {message}"):
                tell(PLATEAU.init(), metric)


# -- in optax ----------------------------------------------------------------------------------


def epochs(tx, metrics=METRICS, updates=2, observe=js.observe):
    """The lr of each epoch's last update, and of one more: read from the update itself."""
    state, got = tx.init(PARAMS), []
    update = jax.jit(tx.update)
    for metric in [*metrics, None]:
        for _ in range(updates):
            added, state = update(GRADS, state, PARAMS)
        got.append(-float(added["a"][0]))
        if metric is not None:
            state = observe(state, metric)
    return got


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["outside jit", "inside jit"])
def test_told_once_an_epoch_it_is_torch(jit):
    assert epochs(injected(), observe=jit(js.observe)) == LRS
    kwargs, metrics, lrs = CASES["random 1"]
    got = epochs(injected(js.ReduceLROnPlateau(**kwargs)), metrics.tolist(), 1, jit(js.observe))
    np.testing.assert_array_equal(np.float32(got), lrs.astype(np.float32))


def test_told_once_an_update_it_is_torch():
    tx, got = injected(), []

    @jax.jit
    def step(state, metric):
        # `value` is for line searches and the like.
        return tx.update(GRADS, state, PARAMS, metric=metric, value=-metric)

    state = tx.init(PARAMS)
    for metric in [*METRICS, 1.0]:
        added, state = step(state, metric)
        got.append(-float(added["b"][0]))
    assert got == LRS


def test_in_a_scan_over_epochs_with_bfloat16_parameters():
    tx, params = injected(), jnp.zeros(2, jnp.bfloat16)

    def epoch(state, metric):
        added, state = tx.update(params + 1, state, params)
        return js.observe(state, metric), -added[0]

    with standard:
        _, got = jax.jit(lambda m: jax.lax.scan(epoch, tx.init(params), m))(jnp.array(METRICS))
    assert got.tolist() == LRS[:-1]


def test_multisteps_passes_on_the_metric_of_the_last_of_its_batches():
    tx = optax.MultiSteps(injected(), every_k_schedule=2)
    state = tx.init(PARAMS)
    with standard:
        for metric in (9.0, 1.0, 9.0, 2.0):
            _, state = tx.update(GRADS, state, PARAMS, metric=jnp.float32(metric))
    plateau = state.inner_opt_state.hyperparams_states["learning_rate"]
    assert (plateau.best, plateau.num_bad_epochs) == (1, 1)


def test_only_metric_is_listened_to():
    tx = injected()
    state = jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)[1]
    told = tx.update(GRADS, state, PARAMS, value=1.0, loss=2.0, grad=GRADS)[1]
    assert told.hyperparams_states["learning_rate"] is state.hyperparams_states["learning_rate"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.clip_by_global_norm(9.0), optax.chain(tx, optax.identity())),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.masked(tx, {"a": True, "b": False}),
        lambda tx: optax.inject_hyperparams(lambda scale: optax.chain(optax.scale(scale), tx))(1.0),
        lambda tx: optax.MultiSteps(tx, every_k_schedule=2),
        lambda tx: optax.partition(
            {"head": tx, "rest": optax.sgd(0.1)}, {"a": "head", "b": "rest"}
        ),
    ],
    ids=["chain", "apply_if_finite", "masked", "inject_hyperparams", "MultiSteps", "partition"],
)
def test_through_wrappers(wrap):
    with standard:
        assert epochs(wrap(injected())) == LRS


def test_in_a_partition_every_group_is_told():
    groups = {"head": injected(), "backbone": injected(js.ReduceLROnPlateau(0.25, patience=0))}
    tx = optax.partition(groups, {"a": "backbone", "b": "head"})
    state = tx.init(PARAMS)
    for metric in (1.0, 2.0, 2.0):
        state = js.observe(state, metric)
    added, state = tx.update(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [np.float32(0.25 * 0.1 * 0.1), 0.25]
    assert -added["b"][0] == 0.25
    assert -added["a"][0] == np.float32(0.25 * 0.1 * 0.1)


def test_apply_if_finite_rejects_the_update_and_not_the_metric():
    tx = optax.apply_if_finite(injected(), 3)
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
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=injected())
    for metric in METRICS[:4]:
        state = state.apply_gradients(grads=GRADS)
        told = js.observe(state, metric)
        assert type(told) is TrainState and told.tx is state.tx
        state = told
    state = state.apply_gradients(grads=GRADS)
    assert js.get_last_lr(state) == [0.25]
    assert state.step == 5


def test_donated_buffers():
    tx = injected()

    def step(params, state, metric):
        added, state = tx.update(GRADS, state, params)
        return optax.apply_updates(params, added), js.observe(state, metric)

    step = jax.jit(step, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, PARAMS)
    state = tx.init(params)
    for metric in METRICS:
        params, state = step(params, state, metric)
    assert js.get_last_lr(state) == LRS[-2:-1]


def test_vmapped_states_listen_each_to_its_own_metric():
    tx = injected()
    metrics = jnp.array([[1.0, 2.0, 2.0], [3.0, 2.0, 1.0]])

    def run(metrics):
        state = tx.init(PARAMS)
        for metric in metrics:
            state = js.observe(state, metric)
        return tx.update(GRADS, state, PARAMS)

    added, states = jax.jit(jax.vmap(run))(metrics)
    assert (-added["a"][:, 0]).tolist() == [0.25, 0.5]
    told = jax.vmap(js.observe)(states, jnp.array([9.0, 9.0]))
    assert told.hyperparams_states["learning_rate"].num_bad_epochs.tolist() == [1, 1]


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

    assert jax.vmap(run)(jnp.array([0.5, 1.0, 2.0])).tolist() == [0.25, 0.5, 1.0]


# -- in flax -----------------------------------------------------------------------------------


def nnx_optimizer():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    return model, nnx.Optimizer(model, injected(), wrt=nnx.Param)


def nnx_update(model, optimizer, **kwargs):
    ones = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    before = model.bias[...]
    optimizer.update(model, ones, **kwargs)
    return before - model.bias[...]


@pytest.mark.parametrize("jit", [lambda f: f, nnx.jit], ids=["outside nnx.jit", "under nnx.jit"])
@pytest.mark.parametrize("part", [lambda o: o, lambda o: o.opt_state], ids=["whole", "opt_state"])
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
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.chain(injected(), scale), wrt=nnx.Param)
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
@pytest.mark.parametrize("saved_after", range(1, len(METRICS)))
def test_an_orbax_round_trip_goes_on_as_if_nothing_was(tmp_path, saved_after):
    import orbax.checkpoint as ocp

    tx = injected()
    state, got = tx.init(PARAMS), []
    for epoch, metric in enumerate([*METRICS, None]):
        if epoch == saved_after:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(tmp_path / "state", state)
                checkpointer.wait_until_finished()
                state = checkpointer.restore(tmp_path / "state", tx.init(PARAMS))
        added, state = jax.jit(tx.update)(GRADS, state, PARAMS)
        got.append(-float(added["a"][0]))
        if metric is not None:
            state = js.observe(state, metric)
    assert got == LRS


def test_more_cuts_than_there_can_be_are_the_last_one():
    # A checkpoint of a run in which min_lr was lower.
    higher = dataclasses.replace(PLATEAU, min_lr=0.1)
    state = higher.init()._replace(cuts=jnp.int32(7))
    assert higher(state) == higher(js.observe(state, 1.0)) == np.float32(0.1)


# -- nobody listens ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        optax.sgd(0.1).init(PARAMS),
        injected(js.StepLR(0.1, 5)).init(PARAMS),
        *((), {}, None, 0.1, PARAMS),
        TrainState.create(apply_fn=None, params=PARAMS, tx=optax.sgd(0.1)),
        nnx.Optimizer(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), optax.sgd(0.1), wrt=nnx.Param),
    ],
    ids=lambda state: type(state).__name__,
)
def test_where_there_is_none_it_says_what_to_do(state):
    message = re.escape(
        "`opt_state` holds no ReduceLROnPlateau: put one into optax.inject_hyperparams, as in"
    )
    with pytest.raises(ValueError, match=message):
        js.observe(state, 1.0)


def test_a_million_cuts_and_then_it_stays():
    plateau = js.ReduceLROnPlateau(1.0, factor=1 - 1e-9, patience=0, eps=0.0)
    at = lambda cuts: plateau(plateau.init()._replace(cuts=jnp.int32(cuts)))  # noqa: E731
    assert at(0) > at(2**19) > at(2**20) == at(2**20 + 1)
    np.testing.assert_allclose(at(2**20), 1 - 1e-9 * 2**20, rtol=1e-6)


# -- the worst metric, before one was told -----------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("x64", [False, True])
def test_a_state_is_finite_from_the_start(mode, x64):
    with jax.enable_x64(x64):
        plateau = js.ReduceLROnPlateau(0.5, mode)
        bad = np.inf if mode == "min" else -np.inf
        for metric in (None, 1.0, bad, np.nan):
            state = plateau.update(plateau.init(), metric=metric)
            assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(state))
        with jax.debug_infs(True):
            jax.jit(lambda: plateau.init())()


@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_any_number_is_better_than_none_even_the_worst(mode, threshold_mode):
    """Told twice: torch compares with inf, then with the metric."""
    sign = 1 if mode == "min" else -1
    plateau = js.ReduceLROnPlateau(0.5, mode, 0.5, 0, 0.25, threshold_mode)
    largest = float(np.finfo(np.float32).max) * sign
    for metric in (largest, largest * 0.999, sign * 1e38, sign * np.inf, np.nan, -largest, 0.0):
        best, state = np.float64(sign * np.inf), plateau.init()
        for _ in range(2):
            cuts, state = state.cuts, js.observe(state, np.float32(metric))
            is_better = bool(plateau._is_better(np.float64(np.float32(metric)), best))
            assert (state.cuts == cuts) == is_better
            best = np.float64(np.float32(metric)) if is_better else best
            if is_better:
                np.testing.assert_allclose(state.best, best, rtol=1e-7)


def test_under_sam_a_falling_loss_is_not_cut():
    """Optax's sam masks the state by arithmetic, where 0 * inf is NaN."""
    tx = optax.contrib.sam(injected(), optax.sgd(0.05))
    state = tx.init(PARAMS)
    for epoch in range(20):
        state = js.observe(state, 10.0 - epoch / 2)
        for _ in range(2):
            with standard:
                _, state = jax.jit(tx.update)(GRADS, state, PARAMS)
    assert js.get_last_lr(state) == [0.5]
    assert optax.tree_utils.tree_get(state, "best") == 0.5


def test_a_checkpoint_from_before_goes_on():
    """Version 0.1 began with inf."""
    old = PLATEAU.init()._replace(best=jnp.float32(np.inf))
    assert js.observe(old, 3.0).best == 3.0
    assert js.observe(old, np.nan).num_bad_epochs == 1
