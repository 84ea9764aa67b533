"""resume_from_torch: the next updates use the learning rates that torch would."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js
from tests.marks import one_in
from tests.plateaus import CASES as PLATEAUS, GRADS, PARAMS, standard
from tests.schedules import linear
from tests.test_parity import CLASSES, build
from tests.test_set_count import SCHEDULE, WRAPPERS, first_lr, sgd
from tests.traces import load, objects

WRITTEN = objects.load()


def next_lrs(tx, state, updates, metrics=None):
    """The learning rates of the next updates, with a metric before each but the first."""

    def update(state, metric):
        new, state = tx.update(GRADS, state, PARAMS)
        return state if metric is None else js.observe(state, metric), -new["a"][0]

    with standard:
        return jax.jit(lambda s: jax.lax.scan(update, s, metrics, length=updates)[1])(state)


# -- counts ---------------------------------------------------------------------------------------

RESTARTS = {"last_epoch": 3, "T_0": 2, "T_mult": 2, "eta_min": 0.0, "T_i": 4}
COUNTS = {  # state_dicts, the updates of an epoch, and the count where the next update stands
    "the updates": ({"last_epoch": 7}, 1, 7),
    "the start": ({"last_epoch": 0}, 391, 0),
    "epochs": ({"last_epoch": 7, "_step_count": 8, "base_lrs": [0.1], "gamma": 0.9}, 391, 2737),
    "epochs of unequal length": ({"last_epoch": 5}, [3, 1, 2], 10),
    "before the last length": ({"last_epoch": 2}, [3, 1, 2], 4),
    "SequentialLR": (
        {"last_epoch": 7, "_schedulers": [{"last_epoch": 4}, {"last_epoch": 2}]},
        2,
        14,
    ),
    "ChainedScheduler": ({"_schedulers": [{"last_epoch": 4}, {"last_epoch": 4}]}, 2, 8),
    "a chain of chains": (
        {"_schedulers": [{"_schedulers": [{"last_epoch": 4}]}, {"last_epoch": 4}]},
        2,
        8,
    ),
    "within an epoch": (RESTARTS | {"T_cur": 1.25}, 4, 13),
    "within a long epoch": (RESTARTS | {"T_cur": 1 + 0.1 + 0.2}, 10, 33),
    "within an epoch of its own length": (RESTARTS | {"T_cur": 1.5}, [3, 1, 2, 8, 5], 10),
    "at the end of an epoch, rounded": ({"last_epoch": 2, "T_cur": 1 - 1e-16}, 4, 12),
    "at an epoch": (RESTARTS | {"T_cur": 1}, 4, 12),
    "step(2.5) of others": ({"last_epoch": 2.5}, 4, 10),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_state_dict_says_the_count(name):
    state_dict, steps_per_epoch, count = COUNTS[name]
    state = sgd().init(PARAMS)
    got = js.resume_from_torch(state, state_dict, steps_per_epoch=steps_per_epoch)
    assert got.count == count
    assert state.count == 0


@pytest.mark.parametrize("make", one_in(2, WRAPPERS.values()), ids=WRAPPERS)
def test_every_state_goes_on_there(make):
    tx = make()
    for epoch in range(5):
        state = js.resume_from_torch(tx.init(PARAMS), {"last_epoch": epoch}, steps_per_epoch=2)
        assert first_lr(tx, state) == SCHEDULE(2 * epoch)


def test_train_states_and_nnx_optimizers():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=sgd())
    there = js.resume_from_torch(state, {"last_epoch": 3}, steps_per_epoch=2)
    assert isinstance(there, TrainState)
    assert -there.apply_gradients(grads=GRADS).params["a"][0] == SCHEDULE(6)
    optimizer = nnx.Optimizer(linear(), sgd(), wrt=nnx.Param)
    assert js.resume_from_torch(optimizer, {"last_epoch": 6}) is optimizer
    assert optimizer.opt_state.count[...] == 6


@pytest.mark.parametrize("class_name", CLASSES)
def test_the_scheduler_itself_says_it_too(class_name):
    for name, steps in WRITTEN.items():
        if name.startswith(f"{class_name}:"):
            for count, written in steps.items():
                state = js.resume_from_torch(sgd().init(PARAMS), objects.read(written))
                assert state.count == int(count)


@pytest.mark.parametrize(
    ("scheduler", "kwargs", "error", "message"),
    [
        (RESTARTS | {"T_cur": 1.25}, {}, ValueError, "at an update, got 3.25 epochs, with .* 1"),
        (
            RESTARTS | {"T_cur": 1.3},
            {"steps_per_epoch": 4},
            ValueError,
            "`scheduler` must stand at an update, got 3.3 epochs, with `steps_per_epoch` 4",
        ),
        (
            {"_schedulers": [{"last_epoch": 4}, {"last_epoch": 5}]},
            {},
            ValueError,
            "`scheduler` must have members at one count, got 4, 5",
        ),
        ({"last_epoch": -1}, {}, ValueError, "must have started, got last_epoch -1"),
        ({"last_epoch": None}, {}, TypeError, "must have a number `last_epoch`, got None"),
        ({}, {}, TypeError, "the state_dict.. of a scheduler, got {}, which has no number"),
        ({"last_epoch": True}, {}, TypeError, "must have a number `last_epoch`, got True"),
        ({"last_epoch": 1}, {"steps_per_epoch": 0}, ValueError, "`steps_per_epoch` must be an in"),
        ({"last_epoch": 1}, {"steps_per_epoch": []}, ValueError, "`steps_per_epoch` must hold"),
        (5, {}, TypeError, "`scheduler` must be a scheduler of torch or timm, got 5"),
        (SCHEDULE, {}, TypeError, "which is a schedule of jaxsched already"),
        (
            type("CosineLRScheduler", (), {"__module__": "timm.scheduler.cosine_lr"}),
            {},
            TypeError,
            r"must count its steps, got .* CosineLRScheduler of timm, .* use set_count\(opt_state",
        ),
    ],
)
def test_what_does_not_say_a_count(scheduler, kwargs, error, message):
    if isinstance(scheduler, type):
        scheduler = scheduler()
        scheduler.optimizer = SimpleNamespace(param_groups=[])
    with pytest.raises(error, match=message):
        js.resume_from_torch(sgd().init(PARAMS), scheduler, **kwargs)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (optax.sgd(0.1).init(PARAMS), "`opt_state` must hold a count .* got none"),
        (SCHEDULE, r"`opt_state` must be an optimizer state.* the schedule itself: per_epoch\("),
        (sgd(), r"`opt_state` must be an optimizer state.* give its state, tx.init\(params\)"),
    ],
)
def test_what_has_no_count(state, message):
    with pytest.raises((TypeError, ValueError), match=message):
        js.resume_from_torch(state, {"last_epoch": 1})


# -- plateaus -------------------------------------------------------------------------------------

LOSSES = np.float32([1.0, 2.0, 2.0, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.25, 0.5, 0.5, 0.5, 0.5])
PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=1, cooldown=1)


def injected(plateau):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=plateau)


def observed(plateau, metrics):
    """The states before the metrics and after each."""
    states = [plateau.init()]
    for metric in metrics:
        states.append(js.observe(states[-1], metric))
    return states


def as_torch(state, lr, **more):
    """torch's state_dict() for a state of ours."""
    best = float(state.best)
    arguments = {n: getattr(state.schedule, n) for n in state.schedule.__getstate__()}
    _, min_lr = arguments.pop("base_lr"), arguments.pop("min_lr")
    return {
        **arguments,
        "min_lrs": [min_lr],
        "best": best if abs(best) < 3e38 else math.copysign(math.inf, best),
        "num_bad_epochs": int(state.num_bad_epochs),
        "cooldown_counter": int(state.cooldown_counter),
        "last_epoch": 99,
        "_last_lr": [lr],
    } | more


@pytest.mark.slow
def test_a_plateau_has_torchs_memory():
    """Then it goes on as torch's: test_plateau compares the learning rates with these memories."""
    compared = 0
    for name, steps in WRITTEN.items():
        if not name.startswith("ReduceLROnPlateau"):
            continue
        kwargs, metrics, lrs = PLATEAUS[name.split(": ", 1)[1]]
        plateau = js.ReduceLROnPlateau(**kwargs)
        if plateau.base_lr == 1:  # a factor, which another test has
            continue
        states = observed(plateau, metrics[: objects.STEPS[-1]])
        for count, written in steps.items():
            torchs, expected = objects.read(written), states[int(count)]
            for scheduler in (torchs, {k: v for k, v in vars(torchs).items() if k != "optimizer"}):
                state = js.resume_from_torch(plateau.init(), scheduler)
                assert state[:-1] == expected[:-1], name
                assert plateau(state) == np.float32(lrs[int(count)])
                compared += int(count) > 0
    assert compared > 50


@pytest.mark.parametrize("jit", [False, True])
def test_the_state_has_its_types_and_goes_through_jit(jit):
    tx = optax.chain(optax.clip(9.0), injected(PLATEAU))
    states = observed(PLATEAU, LOSSES)
    for state in states:
        torchs, new = as_torch(state, PLATEAU._lrs[state.cuts]), tx.init(PARAMS)
        resume = lambda s, torchs=torchs: js.resume_from_torch(s, torchs)  # noqa: E731
        there = (jax.jit(resume) if jit else resume)(new)
        assert jax.tree.structure(there) == jax.tree.structure(new)
        for before, after in zip(jax.tree.leaves(new), jax.tree.leaves(there), strict=True):
            assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert optax.tree_utils.tree_get(there, "best") == state.best
        assert first_lr(tx, there) == PLATEAU(state)


def test_a_plateau_leaves_counts_alone_and_counts_leave_plateaus_alone():
    tx = optax.chain(sgd(), optax.inject_hyperparams(optax.scale)(js.ReduceLROnPlateau(1.0)))
    state = observed(js.ReduceLROnPlateau(1.0), [3.0])[-1]
    torchs = as_torch(state, 0.5, last_epoch=7)
    there = js.resume_from_torch(tx.init(PARAMS), {"last_epoch": 3}, steps_per_epoch=2)
    assert optax.tree_utils.tree_get(there, "best") > 1e38
    there = js.resume_from_torch(there, torchs)
    assert optax.tree_utils.tree_get(there, "best") == 3.0
    assert there[0].count == 6
    assert first_lr(tx, there) == SCHEDULE(6)


def test_train_states_and_nnx_optimizers_with_a_plateau():
    state = observed(PLATEAU, LOSSES)[8]
    assert state.cuts == 2
    torchs = as_torch(state, 0.125)
    tx = injected(PLATEAU)
    there = js.resume_from_torch(TrainState.create(apply_fn=None, params=PARAMS, tx=tx), torchs)
    assert -there.apply_gradients(grads=GRADS).params["a"][0] == 0.125
    model = linear()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    assert js.resume_from_torch(optimizer, torchs) is optimizer
    before = model.bias[0]
    optimizer.update(model, nnx.grad(lambda model: model.bias[0])(model))
    assert before - model.bias[0] == 0.125
    states = jax.vmap(lambda _: tx.init(PARAMS))(jnp.arange(3))
    best = optax.tree_utils.tree_get(js.resume_from_torch(states, torchs), "best")
    assert best.tolist() == [0.5] * 3


def test_float64_best_is_rounded_as_metrics_are():
    state = observed(PLATEAU, [1.0])[-1]
    for best, expected in [
        (0.1, np.float32(0.1)),
        (math.inf, np.finfo(np.float32).max),
        (1e300, np.finfo(np.float32).max),
        (-math.inf, -math.inf),
    ]:
        there = js.resume_from_torch(PLATEAU.init(), as_torch(state, 0.5, best=best))
        assert there.best == expected
    patient = js.ReduceLROnPlateau(0.5, patience=2**41, cooldown=2**41)
    state = observed(patient, [1.0])[-1]
    huge = as_torch(state, 0.5, num_bad_epochs=2**40, cooldown_counter=2**40)
    assert js.resume_from_torch(patient.init(), huge).cooldown_counter == 2**31 - 1


def groups(*lrs, base=None, **more):
    """A plateau of torch whose optimizer has these learning rates."""
    own = [{"lr": lr} | ({"initial_lr": base} if base else {}) for lr in lrs]
    torchs = as_torch(observed(PLATEAU, LOSSES)[8], None, min_lrs=[0.0] * len(lrs), **more)
    made = type("ReduceLROnPlateau", (), {"__module__": "torch.optim.lr_scheduler"})()
    optimizer = SimpleNamespace(param_groups=own, defaults={"lr": 0.5})
    vars(made).update(torchs, optimizer=optimizer)
    return made


def test_a_factor_is_cut_by_the_ratio_to_the_base_learning_rate():
    factor = js.ReduceLROnPlateau(1.0, factor=0.5, patience=1, cooldown=1, eps=0.0)
    assert js.resume_from_torch(factor.init(), groups(0.125 * 0.3, base=0.3, eps=0.0)).cuts == 3
    assert (
        js.resume_from_torch(factor.init(), groups(0.125, eps=0.0)).cuts == 2
    )  # of the optimizer's 0.5
    within_warmup = groups(0.3 * 0.7, base=0.3, eps=0.0)
    with pytest.raises(
        ValueError, match=r"comes to torch's learning rate .*, got Reduce.* for 0.7"
    ):
        js.resume_from_torch(factor.init(), within_warmup)
    within_warmup.last_epoch = 1  # no cut was possible
    assert js.resume_from_torch(factor.init(), within_warmup).cuts == 0
    with pytest.raises(ValueError, match=r"the scheduler itself and not its state_dict\(\)"):
        js.resume_from_torch(factor.init(), as_torch(factor.init(), 0.5))


def test_a_factor_is_cut_by_the_ratio_of_each_param_group():
    factor = js.ReduceLROnPlateau(1.0, factor=0.5, patience=1, cooldown=1, eps=0.0)
    torchs = groups(0.3 * 0.125, 0.6 * 0.125, base=0.3)
    torchs.eps = 0.0
    torchs.optimizer.param_groups[1]["initial_lr"] = 0.6
    assert js.resume_from_torch(factor.init(), torchs).cuts == 3
    torchs.optimizer.param_groups[1]["lr"] = 0.6 * 0.25
    with pytest.raises(ValueError, match="a known number of cuts"):
        js.resume_from_torch(factor.init(), torchs)


def test_each_param_group_has_had_the_same_cuts():
    plateaus = {g: js.ReduceLROnPlateau(lr, factor=0.5, patience=1, cooldown=1) for g, lr in
                {"head": 0.5, "body": 0.125}.items()}  # fmt: skip
    labels = {"a": "head", "b": "body"}
    tx = optax.partition({g: injected(plateau) for g, plateau in plateaus.items()}, labels)
    state = tx.init(PARAMS)
    for cuts in range(4):
        torchs = groups(0.5 * 0.5**cuts, 0.125 * 0.5**cuts)
        updates, _ = tx.update(GRADS, js.resume_from_torch(state, torchs), PARAMS)
        assert (-updates["a"][0], -updates["b"][0]) == (0.5 * 0.5**cuts, 0.125 * 0.5**cuts)
    with pytest.raises(ValueError, match=r"a known number of cuts, got .* for 0.5, 0.125"):
        js.resume_from_torch(injected(plateaus["head"]).init(PARAMS), groups(0.5, 0.125))


STATE = observed(PLATEAU, LOSSES)[8]


@pytest.mark.parametrize(
    ("opt_state", "scheduler", "kwargs", "message"),
    [
        (sgd().init(PARAMS), as_torch(STATE, 0.5), {}, "`opt_state` holds no ReduceLROnPlateau"),
        (
            STATE,
            as_torch(STATE, 0.3),
            {},
            r"by a known number of cuts, got ReduceLROnPlateau\(0.5, .* for 0.3",
        ),
        (STATE, as_torch(STATE, 0.2501), {}, "by a known number of cuts, got .* for 0.2501$"),
        (STATE, as_torch(STATE, 0.0), {}, "by a known number of cuts, got .* for 0$"),
        (
            STATE,
            as_torch(STATE, 0.5, mode="max"),
            {},
            r"must hold torch's plateau, which has `mode` 'max', got Reduce.*mode='min'",
        ),
        (STATE, as_torch(STATE, 0.5, patience=2), {}, "which has `patience` 2, got Reduce"),
        (STATE, as_torch(STATE, 0.5, factor=0.1), {}, "which has `factor` 0.1, got Reduce"),
        (STATE, as_torch(STATE, 0.5, cooldown=9), {}, "which has `cooldown` 9, got Reduce"),
        (
            (PLATEAU.init(), js.ReduceLROnPlateau(0.5).init()),
            as_torch(STATE, 0.5),
            {},
            r"which has `factor` 0.5, got ReduceLROnPlateau\(0.5, mode='min', factor=0.1",
        ),
        (
            STATE,
            as_torch(STATE, 0.5),
            {"steps_per_epoch": 391},
            "`steps_per_epoch` must be left out for a plateau, which counts metrics, got 391",
        ),
    ],
)
def test_what_does_not_fit_the_plateau(opt_state, scheduler, kwargs, message):
    with pytest.raises(ValueError, match=message):
        js.resume_from_torch(opt_state, scheduler, **kwargs)


def test_a_plateau_is_no_optimizer_state():
    with pytest.raises(TypeError, match="`opt_state` must be an optimizer state, got the schedule"):
        js.resume_from_torch(PLATEAU, as_torch(STATE, 0.5))


# -- a switch in the middle of a run, with torch --------------------------------------------------

WAYS = {
    "injected": lambda schedule: optax.inject_hyperparams(optax.sgd)(learning_rate=schedule),
    "scale_by_schedule": optax.sgd,
    "MultiSteps": lambda schedule: optax.MultiSteps(optax.sgd(schedule), 1),
    "chain": lambda schedule: optax.chain(optax.clip(9.0), optax.sgd(schedule, momentum=0.0)),
}


@pytest.mark.torch
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("class_name", CLASSES)
def test_a_switch_at_any_count_goes_on_as_torch(class_name, way):
    from tests.traces import generate

    for name, kwargs, lrs in (
        [*load(class_name)][:3] if way == "injected" else [*load(class_name)][:1]
    ):
        length = min(len(lrs), 60)
        scheduler = generate.scheduler(class_name, kwargs)
        tx = WAYS[way](build(class_name, kwargs))
        state, run = tx.init(PARAMS), jax.jit(lambda s, tx=tx: next_lrs(tx, s, 4))
        with np.errstate(over="ignore"):
            expected = np.float32([*lrs[:length], *[np.nan] * 4])
        for count in range(length):
            if count:
                scheduler.step()
            for known in (scheduler, scheduler.state_dict()):
                got = np.asarray(run(js.resume_from_torch(state, known)))
                want = expected[count : count + 4]
                known_ones = np.isfinite(want)
                np.testing.assert_array_max_ulp(got[known_ones], want[known_ones], maxulp=1)


@pytest.mark.torch
@pytest.mark.parametrize("steps_per_epoch", [3, [3, 1, 2]])
@pytest.mark.parametrize("class_name", CLASSES)
def test_a_switch_after_any_epoch_goes_on_as_torch(class_name, steps_per_epoch):
    from tests.traces import generate

    _, kwargs, lrs = next(load(class_name))
    length = min(len(lrs), 30)
    scheduler = generate.scheduler(class_name, kwargs)
    schedule = js.per_epoch(build(class_name, kwargs), steps_per_epoch)
    tx = optax.sgd(schedule)
    state, run = tx.init(PARAMS), jax.jit(lambda s: next_lrs(tx, s, 4))
    for epoch in range(length - 4):
        if epoch:
            scheduler.step()
        got = np.asarray(
            run(js.resume_from_torch(state, scheduler, steps_per_epoch=steps_per_epoch))
        )
        lengths = [steps_per_epoch] * 3 if isinstance(steps_per_epoch, int) else steps_per_epoch
        in_epoch = [lengths[min(e, len(lengths) - 1)] for e in range(epoch, epoch + 4)]
        expected = np.repeat(np.float32(lrs[epoch : epoch + 4]), in_epoch)[:4]
        np.testing.assert_array_max_ulp(got, expected, maxulp=1)


@pytest.mark.torch
@pytest.mark.parametrize("T_mult", [1, 2])
def test_a_switch_within_an_epoch_goes_on_as_torch(T_mult):
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, T_mult)
    optimizer.step()
    schedule = js.smooth_epochs(js.from_torch(scheduler), 7)
    lrs, states = [], []
    for update in range(100):
        scheduler.step(update // 7 + update % 7 / 7)
        lrs.append(scheduler.get_last_lr()[0])
        states.append(scheduler.state_dict())
    tx = optax.sgd(schedule)
    run = jax.jit(lambda s: next_lrs(tx, s, 4))
    for update in range(96):
        state = js.resume_from_torch(tx.init(PARAMS), states[update], steps_per_epoch=7)
        expected = np.float32(lrs[update : update + 4])
        np.testing.assert_array_max_ulp(np.asarray(run(state)), expected, maxulp=1)


@pytest.mark.torch
def test_a_plateau_switched_at_any_metric_goes_on_as_torch():
    from tests.traces import plateau as torchs

    names = [name for name in PLATEAUS if name.startswith("random")][::8]
    for name in names:
        kwargs, metrics, lrs = PLATEAUS[name]
        scheduler, plateau = torchs.scheduler(kwargs), js.ReduceLROnPlateau(**kwargs)
        if plateau.base_lr == 1:
            continue
        tx = injected(plateau)
        new = tx.init(PARAMS)
        run = jax.jit(lambda s, m, tx=tx: next_lrs(tx, s, 5, m))
        for count in range(len(metrics) - 5):
            for known in (scheduler, scheduler.state_dict()):
                got = run(js.resume_from_torch(new, known), metrics[count : count + 5])
                np.testing.assert_array_equal(np.asarray(got), np.float32(lrs[count : count + 5]))
            scheduler.step(float(metrics[count]))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_a_warmup_and_a_plateau_on_one_optimizer_go_on_as_torch():
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.25, total_iters=3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, eps=0)
    factor = js.ReduceLROnPlateau(1.0, factor=0.5, patience=2, eps=0.0)
    tx = optax.chain(
        optax.sgd(js.from_torch(warmup)), optax.inject_hyperparams(optax.scale)(step_size=factor)
    )
    lrs, states = [], []
    for loss in map(float, LOSSES):
        lrs.append(optimizer.param_groups[0]["lr"])
        state = js.resume_from_torch(js.resume_from_torch(tx.init(PARAMS), warmup), plateau)
        states.append(state)
        warmup.step()
        plateau.step(loss)
    assert len({*lrs[4:]}) > 2
    for at, state in enumerate(states[:-4]):
        got = next_lrs(tx, state, 4, LOSSES[at : at + 4])
        np.testing.assert_allclose(got, lrs[at : at + 4], rtol=2e-7)


def test_the_stand_ins_differ_from_ours():
    """So that a test above would notice a state that was left as it was."""
    assert STATE.cuts == 2 and STATE.best == 0.5 and STATE != PLATEAU.init()
