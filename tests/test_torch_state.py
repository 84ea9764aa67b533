"""What keeps a state: optax's counts, torch's state_dicts, and classes that are not torch's own."""

import inspect
import math
import re
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsched as js
from jaxsched._counts import counting
from tests import test_from_torch
from tests.schedules import linear
from tests.test_parity import CLASSES
from tests.test_set_count import PARAMS, SCHEDULE, WRAPPERS, sgd
from tests.traces import load

halves, optimizer = test_from_torch.halves, test_from_torch.optimizer
lr_schedulers, torchs = test_from_torch.lr_schedulers, test_from_torch.torchs

# -- set_count ------------------------------------------------------------------------------------

INT32_MAX = 2**31 - 1
MATRICES = {"a": jnp.ones((2, 2)), "b": jnp.ones(3)}
AROUND = WRAPPERS | {
    "MultiSteps": lambda: optax.MultiSteps(sgd(), 3),
    "schedule_free": lambda: optax.contrib.schedule_free(sgd(), SCHEDULE),
    "decay": lambda: optax.chain(optax.add_decayed_weights(SCHEDULE), sgd()),
    "schedule_free in MultiSteps": lambda: optax.MultiSteps(
        optax.contrib.schedule_free(optax.sgd(SCHEDULE), SCHEDULE), 2
    ),
}


def alike(got, expected):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    same = all(np.array_equal(*map(as_numbers, pair)) for pair in pairs)
    return same and jax.tree.structure(got) == jax.tree.structure(expected)


def as_numbers(x):
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def states(made, params, calls):
    """Of the first `calls`, by the number of updates done, of all optimizers in one program."""

    @jax.jit
    def update(states):
        grads = jax.tree.map(jnp.ones_like, params)
        return {name: tx.update(grads, states[name], params)[1] for name, tx in made.items()}

    found = [{name: tx.init(params) for name, tx in made.items()}]
    for _ in range(calls):
        found.append(update(found[-1]))
    return found


def test_the_count_that_a_state_has_changes_nothing():
    with jax.numpy_dtype_promotion("standard"):
        made = {name: make() for name, make in AROUND.items()}
        for calls, found in enumerate(states(made, PARAMS, 7)):
            for name, state in found.items():
                if name == "decay" and calls and state[0].count == 0:
                    continue  # optax 0.2.6 does not count the updates of add_decayed_weights
                done = int(state.gradient_step) if hasattr(state, "gradient_step") else calls
                assert alike(js.set_count(state, done), state), name
                assert not alike(js.set_count(state, done + 1), state), name


OPTIMIZERS = [
    (f"{module.__name__}.{name}", fn, key)
    for module in (optax, optax.contrib)
    for name, fn in vars(module).items()
    if inspect.isfunction(fn)
    for key in ("learning_rate", "weight_decay", "step_size_fn")
    if key in inspect.signature(fn).parameters
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_injected", [False, True])
def test_so_in_every_optimizer_of_optax_that_takes_a_schedule(is_injected):
    seen = set()
    for name, fn, key in OPTIMIZERS:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            try:  # many take no schedule, or more arguments
                tx = (optax.inject_hyperparams(fn) if is_injected else fn)(**{key: SCHEDULE})
                found = states({0: tx}, MATRICES, 3) if counting(tx.init(MATRICES)) else []
            except (TypeError, ValueError):
                continue
            for updates, state in enumerate(found):
                assert alike(js.set_count(state[0], updates), state[0]), name
                seen.add(name)
    assert {"optax.sgd", "optax.adamw", "optax.contrib.ademamix"} <= seen
    assert len(seen) > 20


@pytest.mark.parametrize("make", [*WRAPPERS.values(), AROUND["MultiSteps"]])
def test_a_count_that_the_state_cannot_hold_is_refused(make):
    state = make().init(PARAMS)
    for count in (INT32_MAX, np.int64(INT32_MAX), jnp.int32(INT32_MAX)):
        leaves = jax.tree.leaves(js.set_count(state, count))
        assert max(int(np.max(np.asarray(leaf))) for leaf in leaves) == INT32_MAX
    message = f"`count` must be an integer from 0 to {INT32_MAX}, .* counts in int32, got {2**31}"
    for count in (2**31, np.uint32(2**31), np.array(2**31), jnp.uint32(2**31)):
        with pytest.raises(ValueError, match=message):
            js.set_count(state, count)
    with pytest.raises(ValueError, match="`count` must be an integer from 0 to .* got -1"):
        js.set_count(state, jnp.int32(-1))
    for count in (jnp.float32(2.5), np.array([1.0]), jnp.array(True)):
        with pytest.raises(TypeError, match="`count` must be an integer >= 0, got"):
            js.set_count(state, count)
    with pytest.raises(TypeError, match="`count` must be an integer >= 0, got"):
        jax.jit(js.set_count)(state, 2.5)


def test_schedule_free_counts_from_1_to_the_largest():
    state = AROUND["schedule_free"]().init(PARAMS)
    assert js.set_count(state, INT32_MAX - 1).step_count == INT32_MAX
    with pytest.raises(ValueError, match=f"`count` must be an integer from 0 to {INT32_MAX - 1}, "):
        js.set_count(state, INT32_MAX)
    assert jax.jit(js.set_count)(state, 5).step_count == 6


def test_so_in_an_nnx_optimizer():
    tx = optax.contrib.schedule_free(optax.sgd(SCHEDULE), SCHEDULE)
    optimizer = nnx.Optimizer(linear(), tx, wrt=nnx.Param)
    js.set_count(optimizer, 5)
    assert optimizer.opt_state.step_count[...] == 6
    with pytest.raises(ValueError, match="`count` must be an integer from 0 to"):
        js.set_count(optimizer, 2**31)


def test_gradients_and_updates_are_not_mixed():
    def steps(learning_rate):
        return optax.MultiSteps(optax.sgd(learning_rate), 2).gradient_transformation()

    state = optax.inject_hyperparams(steps)(SCHEDULE).init(PARAMS)
    with pytest.raises(ValueError, match="must count updates in one way, .*: put MultiSteps outs"):
        js.set_count(state, 2)
    constant = optax.inject_hyperparams(steps)(0.5).init(PARAMS)
    assert js.set_count(constant, 2).inner_state.gradient_step == 2


# -- classes that are not torch's own --------------------------------------------------------------


def gradual_warmup(base, s):
    """As in the package pytorch-gradual-warmup-lr."""

    class GradualWarmupScheduler(base):
        def __init__(self, optimizer, multiplier, total_epoch, after_scheduler=None):
            self.multiplier, self.total_epoch = multiplier, total_epoch
            self.after_scheduler, self.finished = after_scheduler, False
            super().__init__(optimizer)

        def get_lr(self):
            if self.last_epoch > self.total_epoch:
                if not self.finished:
                    self.after_scheduler.base_lrs = [lr * self.multiplier for lr in self.base_lrs]
                    self.finished = True
                return [group["lr"] for group in self.after_scheduler.optimizer.param_groups]
            ratio = (self.multiplier - 1.0) * self.last_epoch / self.total_epoch + 1.0
            return [base_lr * ratio for base_lr in self.base_lrs]

        def step(self):
            if self.finished:
                self.after_scheduler.step()
            else:
                super().step()

    return lambda o: GradualWarmupScheduler(o, 2.0, 3, halves(base)(o))


def latch(base, s):
    class Latch(base):
        def __init__(self, optimizer):
            self.is_low = False
            super().__init__(optimizer)

        def get_lr(self):
            if self.last_epoch >= 3:
                self.is_low = True
            return [lr * (0.5 if self.is_low else 1.0) for lr in self.base_lrs]

    return Latch


def guarded_latch(base, s):
    class Guarded(base):
        low = ()

        def get_lr(self):
            if not self.low and self.last_epoch >= 3:
                self.low = (1,)
            return [lr * (0.5 if self.low else 1.0) for lr in self.base_lrs]

    return Guarded


def latch_in_a_list(base, s):
    class Listed(base):
        def __init__(self, optimizer):
            self.seen = []
            super().__init__(optimizer)

        def get_lr(self):
            if not self.seen and self.last_epoch >= 3:
                self.seen.append(1)
            return [lr * (0.5 if self.seen else 1.0) for lr in self.base_lrs]

    return Listed


def latch_by_setattr(base, s):
    class ByName(base):
        low = False

        def get_lr(self):
            if self.last_epoch >= 3:
                setattr(self, "low", True)  # noqa: B010
            return [lr * (0.5 if self.low else 1.0) for lr in self.base_lrs]

    return ByName


def remember(scheduler):
    scheduler.low = scheduler.last_epoch >= 3 or scheduler.low


def latch_in_a_function(base, s):
    class Elsewhere(base):
        low = False

        def get_lr(self):
            remember(self)
            return [lr * (0.5 if self.low else 1.0) for lr in self.base_lrs]

    return Elsewhere


def latch_in_a_helper(base, s):
    class Helper:
        low = False

        def see(self, count):
            self.low = self.low or count >= 3
            return self.low

    class Helped(base):
        def __init__(self, optimizer):
            self.helper = Helper()
            super().__init__(optimizer)

        def get_lr(self):
            return [lr * (0.5 if self.helper.see(self.last_epoch) else 1) for lr in self.base_lrs]

    return Helped


def budget(base, s):
    class Budget(base):
        def __init__(self, optimizer, left=3):
            self.left = left
            super().__init__(optimizer)

        def get_lr(self):
            self.left = max(self.left - 1, 0)
            return [lr * (1.0 if self.left else 0.5) for lr in self.base_lrs]

    return Budget


def base_lrs_of_its_own(base, s):
    class Restarts(base):
        def get_lr(self):
            if self.last_epoch % 3 == 2:
                self.base_lrs[0] *= 0.5
            return [*self.base_lrs]

    return Restarts


KEEPS = [
    gradual_warmup,
    latch,
    guarded_latch,
    latch_in_a_list,
    latch_by_setattr,
    latch_in_a_function,
    latch_in_a_helper,
    budget,
    base_lrs_of_its_own,
]


def run(scheduler, counts):
    lrs = []
    for count in range(counts):
        if count:
            scheduler.step()
        lrs.append(scheduler.optimizer.param_groups[0]["lr"])
    return lrs


@pytest.mark.parametrize("make", KEEPS, ids=lambda make: make.__name__)
def test_what_keeps_more_than_its_count_is_recorded_fresh_or_not_at_all(torchs, make):
    def new():
        return make(torchs.base, None)(torchs.optimizer(0.5))

    expected = run(new(), 12)
    scheduler = new()
    assert js.from_torch(scheduler, counts=12) == js.RecordedLR(expected)
    assert run(scheduler, 2) == expected[:2]  # it is as it was
    assert js.resume_from_torch(sgd().init(PARAMS), new()).count == 0
    for _ in range(9):
        with pytest.raises(ValueError, match="must be a fresh one, got one at count .* may: `?"):
            js.from_torch(scheduler, counts=12)
        with pytest.raises(ValueError, match=r"set the count yourself, by set_count\(opt_state"):
            js.resume_from_torch(sgd().init(PARAMS), scheduler)
        scheduler.step()


def test_what_is_kept_outside_of_a_scheduler_is_noticed(torchs):
    seen = {}

    class Closure(torchs.base):
        def get_lr(self):
            if self.last_epoch >= 3:
                seen["low"] = True
            return [lr * (0.5 if seen else 1.0) for lr in self.base_lrs]

    class OfClass(torchs.base):
        seen = []

        def get_lr(self):
            self.seen.extend([1] * (self.last_epoch >= 3))
            return [lr * (0.5 if self.seen else 1.0) for lr in self.base_lrs]

    for cls in (Closure, OfClass):
        scheduler = cls(torchs.optimizer(0.5))
        assert js.from_torch(scheduler, counts=3) == js.RecordedLR([0.5] * 3)
        with pytest.raises(ValueError, match=f"run alike each time, and {cls.__name__} does not"):
            js.from_torch(scheduler, counts=5)
        seen.clear()
        scheduler = cls(torchs.optimizer(0.5))
        scheduler.step()
        with pytest.raises(ValueError, match="must be a fresh one, got one at count 1"):
            js.from_torch(scheduler, counts=3)


def constants(base, s):
    class Warm(base):
        scale, table = 0.5, {"a": 1.0}

        def __init__(self, optimizer, warmup=3, function=math.sqrt):
            self.warmup, self.function, self.names = warmup, function, ("a", "b")
            super().__init__(optimizer)

        @property
        def ratio(self):
            return min(1.0, (self.last_epoch + 1) / self.warmup)

        def get_lr(self):
            return [self.function(lr * self.ratio) * self.scale for lr in self.base_lrs]

    return Warm


def old_style(base, s):
    class Old(base):
        def step(self):
            self.last_epoch += 1
            for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
                group["lr"] = lr / (1 + self.last_epoch)

    return Old


@pytest.mark.parametrize("make", [constants, old_style], ids=lambda make: make.__name__)
def test_what_provably_keeps_its_count_only_is_taken_wherever_it_stands(torchs, make):
    def new():
        return make(torchs.base, None)(torchs.optimizer(0.5))

    expected, scheduler = js.RecordedLR(run(new(), 8)), new()
    for steps in range(12):
        assert js.from_torch(scheduler, counts=8) == expected
        assert js.resume_from_torch(sgd().init(PARAMS), scheduler).count == steps
        scheduler.step()


def test_a_count_that_does_not_count_is_noticed(torchs):
    class Still(torchs.base):
        seen = 0

        def step(self):
            self.last_epoch = 0
            self.seen += 1
            for group in self.optimizer.param_groups:
                group["lr"] = 0.5**self.seen

    scheduler = Still(torchs.optimizer(0.5))
    for _ in range(3):
        with pytest.raises(ValueError, match="must count its steps in `last_epoch`, .* Still is 0"):
            js.from_torch(scheduler, counts=5)
        with pytest.raises(ValueError, match=r"must count its .* by set_count\(opt_state, upd"):
            js.resume_from_torch(sgd().init(PARAMS), scheduler)
        scheduler.step()

    class Restarts(torchs.base):
        def step(self):
            self.last_epoch = (self.last_epoch + 1) % 3
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5

    scheduler = Restarts(torchs.optimizer(0.5))
    with pytest.raises(ValueError, match="must count its steps in `last_epoch`, .* 0 after 3"):
        js.from_torch(scheduler, counts=5)


def test_another_state_than_the_copys_is_noticed(torchs):
    scheduler = constants(torchs.base, None)(torchs.optimizer(0.5))
    run(scheduler, 3)
    scheduler.optimizer.param_groups[0]["lr"] *= 1.001
    with pytest.raises(ValueError, match="got 0.3.* in param group 0, to which the copy does not"):
        js.from_torch(scheduler, counts=5)
    scheduler = constants(torchs.base, None)(torchs.optimizer(0.5))
    run(scheduler, 3)
    scheduler._step_count = 99
    if torchs.base.__module__.startswith("torch.") and torchs.base.__name__ == "LRScheduler":
        with pytest.raises(ValueError, match="got another `_step_count`, to which the copy does n"):
            js.from_torch(scheduler, counts=5)


# -- states that are none --------------------------------------------------------------------------

STATE = {"step_size": 30, "gamma": 0.1, "base_lrs": [0.1], "last_epoch": 7, "_step_count": 8}
STATE |= {"_get_lr_called_within_step": False, "_is_initial": False, "_last_lr": [0.1]}
OPTIMIZER = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
TIMM = {"param_group_field": "lr", "base_values": [0.1], "t_in_epochs": True, "metric": None}
PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=3, cooldown=2)
OF_PLATEAU = {
    **{"factor": 0.5, "default_min_lr": 0, "min_lrs": [0], "patience": 3, "cooldown": 2},
    **{"cooldown_counter": 1, "mode": "min", "threshold": 1e-4, "threshold_mode": "rel"},
    **{"best": 0.75, "num_bad_epochs": 0, "mode_worse": math.inf, "eps": 1e-8},
    **{"last_epoch": 9, "_last_lr": [0.25]},
}


def refused(scheduler, message, opt_state=None):
    opt_state = sgd().init(PARAMS) if opt_state is None else opt_state
    with pytest.raises((TypeError, ValueError), match=message) as error:
        js.resume_from_torch(opt_state, scheduler)
    assert "`scheduler`" in str(error.value)


def test_a_checkpoint_says_where_the_scheduler_is():
    for checkpoint, where in [
        (
            {"model": {}, "optimizer": OPTIMIZER, "lr_scheduler": STATE},
            r'scheduler\["lr_scheduler"',
        ),
        ({"lr_schedulers": [STATE], "epoch": 3}, r'scheduler\["lr_schedulers"\]\[0\]'),
        ({"a": STATE, "b": {"c": OF_PLATEAU}}, r'\["a"\] or scheduler\["b"\]\["c"\]'),
    ]:
        refused(checkpoint, f"got a mapping in which there is one: give .*{where}")
    refused(OPTIMIZER, "got an optimizer's, which has no count: give that of the scheduler")
    refused(TIMM, r"got timm's, which has no count: use set_count\(opt_state, updates\)")
    refused({"model": 1}, "got {'model': 1}, which has no number `last_epoch`")
    for members in ([], None, [STATE, 3], {"a": STATE}, 7):
        refused({"_schedulers": members}, "must have the states of its members in `_schedulers`")


def test_a_state_is_taken_if_a_class_of_torch_keeps_its_names():
    assert js.resume_from_torch(sgd().init(PARAMS), STATE).count == 7
    refused(STATE | {"finished": True}, "got one with `finished`, which no class of torch has")
    refused({"last_epoch": 7, "T_0": 5, "gamma": 0.1}, "got one with `T_0`, `gamma`, which no cl")
    bare = {k: v for k, v in STATE.items() if k not in ("step_size", "gamma")}
    refused(bare, "must be the state_dict.* itself, got another class's: its `last_epoch` need no")
    chain = {"_schedulers": [STATE, bare], "_last_lr": [0.1]}
    refused(chain, "must be the state_dict.* itself, got another class's")


BAD = [None, "7", True, math.nan, [7], {}]


@pytest.mark.parametrize("bad", [*BAD, math.inf, -1], ids=repr)
def test_numbers_that_are_none(bad):
    refused(STATE | {"last_epoch": bad}, "`scheduler` must have .*last_epoch")
    restarts = {"T_0": 2, "T_i": 2, "T_mult": 1, "eta_min": 0, "T_cur": bad, "last_epoch": 7}
    refused(restarts, "`scheduler` must have a .*`T_cur`")
    for name in ("last_epoch", "num_bad_epochs", "cooldown_counter", "patience"):
        refused(OF_PLATEAU | {name: bad}, f"must have an? .*`{name}`", PLATEAU.init())
    for name in ("_last_lr", "min_lrs"):
        refused(OF_PLATEAU | {name: [bad]}, f"`{name}", PLATEAU.init())
    if bad in BAD or bad != bad:
        refused(OF_PLATEAU | {"best": bad}, "must have a number `best`", PLATEAU.init())


@pytest.mark.parametrize("name", sorted({*OF_PLATEAU} - {"default_min_lr", "mode_worse"}))
def test_a_plateau_without_a_key(name):
    assert js.resume_from_torch(PLATEAU.init(), OF_PLATEAU).cuts == 1
    state = {key: value for key, value in OF_PLATEAU.items() if key != name}
    refused(state, f"the state of a ReduceLROnPlateau, got one without `{name}`", PLATEAU.init())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"min_lrs": [0.01]},
            "`opt_state` must hold torch's plateau, which has `min_lr` 0.01, got",
        ),
        ({"eps": 0.5}, "`opt_state` must hold torch's plateau, which has `eps` 0.5, got"),
        ({"last_epoch": 3}, "a known number of cuts"),  # there was no time for one
        ({"num_bad_epochs": 4}, "an integer `num_bad_epochs` from 0 to 3, got 4"),
        ({"cooldown_counter": 3}, "an integer `cooldown_counter` from 0 to 2, got 3"),
    ],
)
def test_a_plateau_that_does_not_fit(changed, message):
    with pytest.raises(ValueError, match=message):
        js.resume_from_torch(PLATEAU.init(), OF_PLATEAU | changed)


def test_more_updates_than_optax_counts():
    with pytest.raises(ValueError, match="at no more than 2147483647 updates, .* got 2147484000"):
        js.resume_from_torch(
            sgd().init(PARAMS), STATE | {"last_epoch": 5368710}, steps_per_epoch=400
        )


def test_accelerates_wrapper_says_what_it_counts(torchs):
    wrapper = type("AcceleratedScheduler", (), {"__module__": "accelerate.scheduler"})()
    wrapper.scheduler = halves(torchs.base)(torchs.optimizer(0.5))
    with pytest.raises(
        TypeError, match="`scheduler`, which Accelerate steps once for each process"
    ):
        js.from_torch(wrapper)
    with pytest.raises(TypeError, match="once for each process: divide its count by them"):
        js.resume_from_torch(sgd().init(PARAMS), wrapper)


# -- with torch ------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_a_stepped_chain_whose_start_depends_on_its_making():
    s = lr_schedulers()

    def chain(*makes):
        o = optimizer()
        return s.ChainedScheduler([make(o) for make in makes])

    def one_cycle(o):
        return s.OneCycleLR(o, 0.5, 30, cycle_momentum=False)

    def cyclic(o):
        return s.CyclicLR(o, 0.1, 0.5, 3, cycle_momentum=False)

    for makes in ((one_cycle, cyclic), (cyclic, one_cycle), (s.LinearLR, cyclic)):
        expected = run(chain(*makes), 9)
        scheduler = chain(*makes)
        assert js.from_torch(scheduler, counts=9) == js.RecordedLR(expected)
        scheduler.step()
        with pytest.raises(
            ValueError, match="must be a fresh one, got a ChainedScheduler that has"
        ):
            js.from_torch(scheduler, counts=9)
    makes = (lambda o: s.StepLR(o, 2), cyclic)  # which start alike
    scheduler = chain(*makes)
    scheduler.step()
    assert js.from_torch(scheduler, counts=9) == js.RecordedLR(run(chain(*makes), 9))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_what_falls_below_0_is_recorded(steps):
    s = lr_schedulers()
    for make in (
        lambda o: s.CosineAnnealingLR(o, 6, -0.05),
        lambda o: s.StepLR(o, 2, -0.5),
        lambda o: s.ChainedScheduler([s.ExponentialLR(o, 0.5), s.CosineAnnealingLR(o, 3, 0.05)]),
    ):
        expected = run(make(optimizer()), 9)
        scheduler = make(optimizer())
        run(scheduler, steps + 1)
        got = js.from_torch(scheduler, counts=9)
        assert got == js.RecordedLR(expected) and min(expected) < 0
        np.testing.assert_array_equal(jax.jit(got)(jnp.arange(9)), np.float32(expected))
        assert [f.code for f in js.check(got, 9)] == ["lr-out-of-range"]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_a_composition_as_a_later_member_says_what_torch_does():
    s, o = lr_schedulers(), optimizer()
    inner = s.ChainedScheduler([s.LinearLR(o), s.StepLR(o, 3)])
    scheduler = s.SequentialLR(o, [s.StepLR(o, 2), inner], [6])
    with pytest.raises(ValueError, match="fails at count 6: NotImpl.* cannot begin a ChainedSched"):
        js.from_torch(scheduler, counts=12)
    assert len(js.from_torch(scheduler, counts=6).values) == 6


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_a_plateau_in_a_second_phase():
    s, o = lr_schedulers(), optimizer()
    run(s.StepLR(o, 1), 3)
    plateau = s.ReduceLROnPlateau(o, patience=1)
    with pytest.raises(ValueError, match="got 0.001.*, to which up to 0 cuts do not lead from its"):
        js.from_torch(plateau)
    o.param_groups[0]["initial_lr"] = o.param_groups[0]["lr"]
    assert js.from_torch(plateau).base_lr == o.param_groups[0]["lr"]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_a_derived_plateau_is_not_torchs():
    s = lr_schedulers()

    class Own(s.ReduceLROnPlateau):
        pass

    with pytest.raises(ValueError, match="must be torch's plateau, got an object of class Own"):
        js.resume_from_torch(
            PLATEAU.init(), Own(optimizer(0.5), factor=0.5, patience=3, cooldown=2)
        )


DAMAGE = [None, "1", True, [], {}, math.nan, math.inf, -math.inf, -1, 2.5, 10**12]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_a_state_with_one_key_damaged_is_right_or_refused(data):
    """The right answer is that of the whole state, wherever the key does not matter."""
    from tests.traces import generate, plateau

    name = data.draw(st.sampled_from([*CLASSES, "ReduceLROnPlateau"]))
    steps = data.draw(st.integers(0, 12))
    if name == "ReduceLROnPlateau":
        scheduler, opt_state = plateau.scheduler({"base_lr": 0.5, "patience": 1}), None
        tx = optax.inject_hyperparams(optax.sgd)(js.ReduceLROnPlateau(0.5, patience=1))
        arguments = [(float(loss),) for loss in data.draw(losses)]
    else:
        kwargs = data.draw(st.sampled_from([kw for _, kw, lr in load(name) if len(lr) > 12][:20]))
        scheduler, tx, arguments = generate.scheduler(name, kwargs), sgd(), [()] * 12
    for argument in arguments[:steps]:
        scheduler.step(*argument)
    opt_state, state = tx.init(PARAMS), scheduler.state_dict()
    expected = js.resume_from_torch(opt_state, state)
    key = data.draw(st.sampled_from(sorted(state)))
    damaged = dict(state)
    value = data.draw(st.sampled_from(["gone", *DAMAGE]))
    damaged[key] = value
    if value == "gone":
        del damaged[key]
    if value in (-math.inf, math.inf) and key == "best":
        return  # torch has these of metrics
    if isinstance(value, (int, float)) and value is not True and key in ("last_epoch", "best"):
        hypothesis.assume(not (0 <= value < math.inf))  # another state that could be torch's
    try:
        got = js.resume_from_torch(opt_state, damaged)
    except (TypeError, ValueError) as error:
        assert re.search("`(scheduler|opt_state)`", str(error))
    else:
        assert alike(got, expected), (key, value)


losses = st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=12, max_size=12)


# -- the docs' table -------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "pages" / "from-torch.md"


def stepped(make, torchs, steps=5):
    scheduler = make(torchs.base, None)(torchs.optimizer(0.5))
    run(scheduler, steps + 1)
    return scheduler


def of_accelerate(torchs):
    wrapper = type("AcceleratedScheduler", (), {"__module__": "accelerate.scheduler"})()
    wrapper.scheduler = stepped(constants, torchs)
    return wrapper


def of_timm(torchs):
    made = type("CosineLRScheduler", (), {"__module__": "timm.scheduler.cosine_lr"})()
    made.optimizer = torchs.optimizer(0.1)
    made.optimizer.param_groups[0]["initial_lr"] = 0.1
    vars(made).update(base_values=[0.1], warmup_t=0)
    vars(made).update(t_in_epochs=True, step=lambda count: None, update_groups=lambda lrs: None)
    return made


def read(name, steps="9"):
    written = test_from_torch.WRITTEN
    return test_from_torch.objects.read(next(w[steps] for n, w in written.items() if name in n))


GIVEN = {
    "a scheduler of a class of torch itself": lambda t: read("StepLR: "),
    "its `state_dict()`": lambda t: STATE,
    "a part of that, with `last_epoch` in it": lambda t: {"last_epoch": 7},
    "torch's `ReduceLROnPlateau`": lambda t: read("ReduceLROnPlateau: ", "0"),
    "another class, fresh": lambda t: stepped(latch, t, 0),
    "another class, stepped, that provably keeps its count only": lambda t: stepped(constants, t),
    "another class, stepped, that keeps more, or may": lambda t: stepped(latch, t),
    "the `state_dict()` of another class, with names of its own": lambda t: STATE | {"low": 1},
    "a scheduler of timm": of_timm,
    "the `state_dict()` of timm's": lambda t: TIMM,
    "Accelerate's wrapper": of_accelerate,
    "a whole checkpoint": lambda t: {"lr_scheduler": STATE},
    "an optimizer, or its `state_dict()`": lambda t: OPTIMIZER,
    "a state with a key missing, or with no number where one is meant": lambda t: (
        STATE | {"last_epoch": None}
    ),
}


def test_the_table_says_what_is_done_with_each(torchs):
    table = PAGE.read_text().split("## What is read, recorded and refused")[1].split("\n## ")[0]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.split("\n| ")[2:]]
    rows = {row[0]: row[1:3] for row in rows}
    assert list(rows) == list(GIVEN)
    for what, (of_schedule, of_state) in rows.items():
        given, state = GIVEN[what](torchs), sgd().init(PARAMS)
        try:
            made = js.from_torch(given, counts=9)
            done = "recorded" if isinstance(made, js.RecordedLR) else "read"
        except (TypeError, ValueError):
            done = "refused"
        assert of_schedule.split(":")[0] == done, what
        if hasattr(given, "num_bad_epochs"):
            state = js.from_torch(given).init()
        try:
            js.resume_from_torch(state, given)
            done = "read"
        except (TypeError, ValueError):
            done = "refused"
        assert of_state.split(":")[0] == done, what
