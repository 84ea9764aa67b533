"""Optax's optimizers and wrappers as one table: whatever takes an optax schedule takes ours."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.schedules import injected

OURS = js.MultiStepLR(0.5, [2, 4], gamma=0.25)  # exact in binary fractions
THEIRS = optax.piecewise_constant_schedule(0.5, {2: 0.25, 4: 0.25})
PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=0)
MASK = {"w": True, "b": False}


def by_key(tx):
    return optax.partition({"w": tx, "b": optax.adam(0.1)}, {"w": "w", "b": "b"})


def is_even(step):
    return step % 2 == 0


WRAPPERS = {
    "nothing": lambda tx: tx,
    "chain trace": lambda tx: optax.chain(tx, optax.trace(0.9)),
    "chain ema": lambda tx: optax.chain(tx, optax.ema(0.9)),
    "chain adam": lambda tx: optax.chain(tx, optax.scale_by_adam()),
    "chain clip": lambda tx: optax.chain(tx, optax.clip_by_global_norm(1.0)),
    "chain adaptive clip": lambda tx: optax.chain(tx, optax.adaptive_grad_clip(0.1)),
    "chain trust ratio": lambda tx: optax.chain(tx, optax.scale_by_trust_ratio()),
    "chain apply_every": lambda tx: optax.chain(tx, optax.apply_every(2)),
    "chain zero_nans": lambda tx: optax.chain(tx, optax.zero_nans()),
    "chain nonnegative": lambda tx: optax.chain(tx, optax.keep_params_nonnegative()),
    "chain decay": lambda tx: optax.chain(optax.add_decayed_weights(0.1), tx),
    "chain plateau": lambda tx: optax.chain(tx, optax.contrib.reduce_on_plateau()),
    "named_chain": lambda tx: optax.named_chain(("sgd", tx)),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "conditionally_mask": lambda tx: optax.transforms.conditionally_mask(tx, is_even),
    "conditionally_transform": lambda tx: optax.transforms.conditionally_transform(tx, is_even),
    "flatten": optax.flatten,
    "lookahead": lambda tx: optax.lookahead(tx, 2, 0.5),
    "masked": lambda tx: optax.masked(tx, MASK),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "partition": by_key,
    "selective": lambda tx: optax.transforms.selective_transform(tx, freeze_mask=MASK),
    "inject": lambda tx: optax.inject_hyperparams(lambda s: optax.chain(optax.scale(s), tx))(2.0),
    "mechanize": optax.contrib.mechanize,
    "sam": lambda tx: optax.contrib.sam(tx, optax.sgd(0.05)),
    "schedule_free": lambda tx: optax.contrib.schedule_free(tx, 0.5, b1=0.9),
    "split_real": optax.contrib.split_real_and_imaginary,
}
HYPERPARAMETERS = {  # other than a learning rate
    "scale_by_schedule": optax.scale_by_schedule,
    "scale": lambda s: optax.inject_hyperparams(optax.scale)(step_size=s),
    "adam b1": lambda s: optax.inject_hyperparams(optax.adam)(0.1, b1=s),
    "sgd momentum": lambda s: optax.inject_hyperparams(optax.sgd)(0.1, momentum=s, nesterov=True),
    "weight decay": optax.add_decayed_weights,
    "injected weight decay": lambda s: optax.inject_hyperparams(optax.adamw)(0.1, weight_decay=s),
    "ema": lambda s: optax.inject_hyperparams(optax.ema)(decay=s),
    "schedule_free": lambda s: optax.contrib.schedule_free(injected(s), s, b1=0.9),
    "polyak": lambda s: optax.polyak_sgd(scaling=s),
}
OPTIMIZERS = {
    name: function
    for module in (optax, optax.contrib)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and "learning_rate" in inspect.signature(function).parameters
}
OPTIMIZERS["noisy_sgd"] = lambda learning_rate: optax.noisy_sgd(learning_rate, 0.01, 0.55, key=0)


def objective(params, *_):
    return sum(x.sum() for x in jax.tree.leaves(params))


def a_run(make, schedule, dtype):
    """Six updates in a scan, whose carry has to keep its types."""

    def run():
        tx = make(schedule)
        name = tx.update.__qualname__
        update = optax.with_extra_args_support(tx).update
        params = {"w": jnp.full((4, 4), 0.5, dtype), "b": jnp.full(4, 0.25, dtype)}
        if name.startswith("lookahead"):
            params = optax.LookaheadParams.init_synced(params)

        def step(carry, _):
            params, state = carry
            fast = getattr(params, "fast", params)
            grads = {key: x + jnp.ones_like(x) for key, x in fast.items()}
            value = jnp.ones((), dtype)
            extra = {"value": value, "loss": value, "metric": 1.0}
            extra |= {"grad": grads, "value_fn": objective, "obj_fn": objective}
            extra = {} if name.startswith("sam") else extra
            updates, state = update(grads, state, params, **extra)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(step, (params, tx.init(params)), length=6)[1]

    return run


def types(run):
    return jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(run))


def works(run):
    try:
        return types(run)
    except Exception:
        return None


TABLE = {
    **{f"{name}, injected": lambda s, w=w: w(injected(s)) for name, w in WRAPPERS.items()},
    **{f"{name}, sgd": lambda s, w=w: w(optax.sgd(s)) for name, w in WRAPPERS.items()},
    **HYPERPARAMETERS,
}
ALL_OPTIMIZERS = {
    **{
        f"injected {n}": lambda s, f=f: optax.inject_hyperparams(f)(s)
        for n, f in OPTIMIZERS.items()
    },
    **OPTIMIZERS,
}
every_one = pytest.mark.parametrize(
    ("number", "table"), [(63, TABLE), (75, ALL_OPTIMIZERS)], ids=["wrappers", "optimizers"]
)
every_type = pytest.mark.parametrize(
    ("x64", "dtype"),
    [
        # By default where types meet: the schedule's float64 has to be weak.
        pytest.param(x64, t, marks=() if x64 and t == "float32" else pytest.mark.slow)
        for x64 in (False, True)
        for t in ("bfloat16", "float32", "float64")[: 2 + x64]
    ],
)


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield  # most of optax itself fails under the strict ones


def ours(x64, dtype):
    """Our schedule as README says to use it.

    Its strong float32 makes bfloat16 updates float32, which some wrappers refuse.
    """
    if dtype == "bfloat16" and not x64:
        return lambda count: OURS(count).astype(dtype)
    return OURS


@every_one
@every_type
def test_what_takes_an_optax_schedule_takes_ours(number, table, x64, dtype):
    with jax.enable_x64(x64):
        taken = {name: works(a_run(make, THEIRS, dtype)) for name, make in table.items()}
        taken = {name: expected for name, expected in taken.items() if expected}
        assert len(taken) >= number, taken.keys()
        for name, expected in taken.items():
            assert types(a_run(table[name], ours(x64, dtype), dtype)) == expected, name


@pytest.mark.slow
@every_one
def test_and_gives_the_same_updates(number, table):
    with jax.enable_x64(True):
        for name, make in table.items():
            theirs, got = (a_run(make, schedule, "float32") for schedule in (THEIRS, OURS))
            if works(theirs):
                for a, b in zip(
                    *(jax.tree.leaves(jax.jit(f)()) for f in (theirs, got)), strict=True
                ):
                    np.testing.assert_allclose(a, b, rtol=2e-6, err_msg=name)


@every_type
def test_what_takes_an_optax_schedule_takes_a_plateau(x64, dtype):
    def sgd(learning_rate):
        if dtype == "bfloat16":
            learning_rate = learning_rate.astype(dtype)
        return optax.sgd(learning_rate)

    with jax.enable_x64(x64):
        for name, wrap in WRAPPERS.items():
            expected = works(a_run(lambda s: wrap(injected(s)), THEIRS, dtype))
            assert expected, name
            run = a_run(lambda s: wrap(optax.inject_hyperparams(sgd)(s)), PLATEAU, dtype)
            assert types(run) == expected, name


@pytest.mark.slow
def test_only_these_refuse_float32_updates_of_bfloat16_parameters():
    """README says what to do there. (optax 0.2.6 rounds the learning rate to bfloat16 itself.)"""
    refuse = {
        name
        for name, make in TABLE.items()
        if works(a_run(make, THEIRS, "bfloat16")) and not works(a_run(make, OURS, "bfloat16"))
    }
    states = {f"chain {name}, injected" for name in ("adam", "apply_every", "ema", "trace")}
    steps = {f"{name}, injected" for name in ("conditionally_mask", "conditionally_transform")}
    hyperparameters = {"adam b1", "ema", "sgd momentum"}
    assert refuse <= {"apply_if_finite, injected", *states, *steps, *hyperparameters}
