"""ReduceLROnPlateau: torch's learning rates from torch's metrics, and what it refuses."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.marks import slow_case
from tests.plateaus import CASES, GRADS, LRS, METRICS, PARAMS, PLATEAU, standard


def every_case(default):
    """The names of all cases: one in `default` by default, and many in each slow test."""
    parts = [[*CASES][i::default] for i in range(default)]
    parts = [parts[0], *map(slow_case, parts[1:])]
    return pytest.mark.parametrize("names", parts, ids=range(default))


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


def assert_torchs(names, dtype):
    """In one program."""
    plateaus = [js.ReduceLROnPlateau(**CASES[name][0]) for name in names]
    metrics = [CASES[name][1].astype(dtype) for name in names]
    all_got = jax.jit(lambda metrics: [*map(scanned, plateaus, metrics)])(metrics)
    for name, got in zip(names, all_got, strict=True):
        assert got.dtype == dtype, name
        np.testing.assert_array_equal(got, CASES[name][2].astype(dtype), err_msg=name)


@every_case(22)
def test_in_a_scan_it_is_torch_to_the_last_bit_of_float32(names):
    assert_torchs(names, np.float32)


@pytest.mark.parametrize("name", [*CASES][::60])
@pytest.mark.parametrize("jit", [lambda f: f, slow_case(jax.jit)], ids=["eager", "jit"])
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


@every_case(29)
def test_under_x64_it_is_torchs_double(names):
    with jax.enable_x64(True):
        assert_torchs(names, np.float64)


@pytest.mark.parametrize("mode", ["min", slow_case("max")])
def test_vmapped_over_metrics(mode):
    names = [f"{name}: {mode} rel" for name in ("NaN first", "inf first", "-inf first")]
    kwargs = CASES[names[0]][0]
    assert all(CASES[name][0] == kwargs for name in names)
    plateau, length = js.ReduceLROnPlateau(**kwargs), min(len(CASES[n][1]) for n in names)
    metrics = np.stack([CASES[name][1][:length] for name in names])
    got = jax.jit(jax.vmap(lambda m: scanned(plateau, m)))(metrics)
    expected = [CASES[name][2][: length + 1] for name in names]
    np.testing.assert_array_equal(got, np.float32(expected))


def test_there_are_traces_enough():
    assert sum(name.startswith("random") for name in CASES) >= 60
    assert all(np.array_equal(m, np.float32(m), equal_nan=True) for _, m, _ in CASES.values())
    cuts = [len(set(lrs.tolist())) - 1 for _, _, lrs in CASES.values()]
    assert sum(n >= 2 for n in cuts) > 100 and max(cuts) > 1000


@pytest.mark.torch
def test_torch_here_still_gives_the_stored_traces():
    from tests.traces import plateau

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
        slow_case(2, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
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


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused(name):
    for value in WRONG[name]:
        with pytest.raises((TypeError, ValueError), match=f"^`{name}` must be .*, got ") as error:
            js.ReduceLROnPlateau(**{"base_lr": 0.1, name: value})
        assert repr(value) in str(error.value) or repr(float(value)) in str(error.value)


def test_a_traced_argument_is_refused():
    with pytest.raises(TypeError, match="`base_lr` must be a Python number, .* part of"):
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


def test_a_metric_is_a_scalar_of_any_real_type():
    kinds = [float, int, np.float64, np.float32, np.float16, np.int64, np.uint8, np.array]
    kinds += [jnp.float32, jnp.bfloat16, jnp.float16, jnp.int32, jnp.uint8, jnp.array]
    kinds += [lambda x: np.asarray(jnp.bfloat16(x))]
    state, metrics = PLATEAU.init(), [kind(3) for kind in kinds]
    told = [PLATEAU.update(state, metric=metric) for metric in metrics]
    told += jax.jit(lambda state, metrics: [js.observe(state, m) for m in metrics])(state, metrics)
    for kind, after in zip(kinds * 2, told, strict=True):
        assert after.best == 3, kind
        # Nothing changes that a scan would complain about.
        assert jax.tree.structure(after) == jax.tree.structure(state), kind
        for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            assert (y.dtype, y.shape, y.weak_type) == (x.dtype, x.shape, False), kind


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


# -- the state ---------------------------------------------------------------------------------


def test_more_cuts_than_there_can_be_are_the_last_one():
    # A checkpoint of a run in which min_lr was lower.
    higher = dataclasses.replace(PLATEAU, min_lr=0.1)
    state = higher.init()._replace(cuts=jnp.int32(7))
    assert higher(state) == higher(js.observe(state, 1.0)) == np.float32(0.1)


def test_a_million_cuts_and_then_it_stays():
    plateau = js.ReduceLROnPlateau(1.0, factor=1 - 1e-9, patience=0, eps=0.0)
    at = lambda cuts: plateau(plateau.init()._replace(cuts=jnp.int32(cuts)))  # noqa: E731
    assert at(0) > at(2**19) > at(2**20) == at(2**20 + 1)
    np.testing.assert_allclose(at(2**20), 1 - 1e-9 * 2**20, rtol=1e-6)


# -- the worst metric, before one was told -----------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "x64"),
    [("min", False), ("max", True), *(slow_case("min", True), slow_case("max", False))],
)
def test_a_state_is_finite_from_the_start(mode, x64):
    with jax.enable_x64(x64):
        plateau = js.ReduceLROnPlateau(0.5, mode)
        bad = np.inf if mode == "min" else -np.inf
        for metric in (None, 1.0, bad, np.nan):
            state = plateau.update(plateau.init(), metric=metric)
            assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(state))
        with jax.debug_infs(True):
            jax.jit(lambda: plateau.init())()


@pytest.mark.parametrize(
    ("mode", "threshold_mode"),
    [("min", "rel"), ("max", "abs"), *(slow_case("min", "abs"), slow_case("max", "rel"))],
)
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


def test_a_checkpoint_from_before_goes_on():
    """Version 0.1 began with inf."""
    old = PLATEAU.init()._replace(best=jnp.float32(np.inf))
    assert js.observe(old, 3.0).best == 3.0
    assert js.observe(old, np.nan).num_bad_epochs == 1
