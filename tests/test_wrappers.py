"""Optax's optimizers and wrappers as one table: whatever takes an optax schedule takes ours."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.marks import slow_case
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


def a_step(make, schedule, dtype):
    """One update, and what it starts from."""
    tx = make(schedule)
    name = tx.update.__qualname__
    update = optax.with_extra_args_support(tx).update
    value = jnp.ones((), dtype)
    extra = {"value": value, "loss": value, "metric": 1.0, "value_fn": objective}
    extra = {} if name.startswith("sam") else extra | {"obj_fn": objective}

    def start():
        params = {"w": jnp.full((4, 4), 0.5, dtype), "b": jnp.full(4, 0.25, dtype)}
        if name.startswith("lookahead"):
            params = optax.LookaheadParams.init_synced(params)
        return params, tx.init(params)

    def step(carry, _=None):
        params, state = carry
        fast = getattr(params, "fast", params)
        grads = {key: x + jnp.ones_like(x) for key, x in fast.items()}
        grad = {"grad": grads} if extra else {}
        updates, state = update(grads, state, params, **extra, **grad)
        return (optax.apply_updates(params, updates), state), updates

    return start, step


def a_run(make, schedule, dtype):
    """Six updates in a scan, whose carry has to keep its types: the last carry, the updates."""

    def run():
        start, step = a_step(make, schedule, dtype)
        return jax.lax.scan(step, start(), length=6)

    return run


def programs(make, schedule, dtype):
    """The types that calls of one jitted update are given, so many programs, in a list."""
    start, step = a_step(make, schedule, dtype)
    carry, seen = jax.eval_shape(start), []
    while True:
        kinds = [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(carry)]
        if kinds in seen:
            return seen
        seen.append(kinds)
        assert len(seen) < 5
        carry, _ = jax.eval_shape(step, carry)


def types(run):
    leaves, structure = jax.tree.flatten(jax.eval_shape(run))
    return structure, [(x.shape, x.dtype) for x in leaves]


def works(run, *arguments):
    try:
        return run(*arguments)
    except Exception:
        return None


OF_INJECTED = {
    **{f"{name}, injected": lambda s, w=w: w(injected(s)) for name, w in WRAPPERS.items()},
    **HYPERPARAMETERS,
}
OF_SGD = {f"{name}, sgd": lambda s, w=w: w(optax.sgd(s)) for name, w in WRAPPERS.items()}
ALL_OPTIMIZERS = {
    **{
        f"injected {n}": lambda s, f=f: optax.inject_hyperparams(f)(s)
        for n, f in OPTIMIZERS.items()
    },
    **OPTIMIZERS,
}
every_one = pytest.mark.parametrize(
    ("number", "table"),
    [
        (36, OF_INJECTED),
        slow_case(27, OF_SGD),
        slow_case(75, ALL_OPTIMIZERS),
    ],
    ids=["wrappers", "wrappers of sgd", "optimizers"],
)
every_type = pytest.mark.parametrize(
    ("x64", "dtype"),
    [
        # By default where types meet.
        pytest.param(x64, t, marks=() if t == "bfloat16" and not x64 else pytest.mark.slow)
        for x64 in (False, True)
        for t in ("bfloat16", "float16", "float32", "float64")[: 3 + x64]
    ],
)


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield  # most of optax itself fails under the strict ones


@every_one
@every_type
def test_what_takes_an_optax_schedule_takes_ours(number, table, x64, dtype):
    """In a scan, and as often as it is jitted; states and updates have the same types."""
    with jax.enable_x64(x64):
        taken = {n: works(types, a_run(make, THEIRS, dtype)) for n, make in table.items()}
        taken = {name: expected for name, expected in taken.items() if expected}
        assert len(taken) >= number, taken.keys()
        for name, expected in taken.items():
            make = table[name]
            assert types(a_run(make, OURS, dtype)) == expected, name
            theirs, got = (programs(make, schedule, dtype) for schedule in (THEIRS, OURS))
            assert got == theirs, name


def numbers(run):
    """What a run leaves, keys of random numbers as numbers."""
    is_key = jax.dtypes.prng_key
    return [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, is_key) else x
        for x in jax.tree.leaves(jax.jit(run)())
    ]


@pytest.mark.slow
@every_one
def test_and_gives_the_same_updates(number, table):
    with jax.enable_x64(True):
        for name, make in table.items():
            theirs, got = (a_run(make, schedule, "float32") for schedule in (THEIRS, OURS))
            if works(types, theirs):
                for a, b in zip(numbers(theirs), numbers(got), strict=True):
                    np.testing.assert_allclose(a, b, rtol=2e-6, err_msg=name)


@every_type
def test_what_takes_an_optax_schedule_takes_a_plateau(x64, dtype):
    with jax.enable_x64(x64):
        for name, wrap in WRAPPERS.items():

            def make(schedule, wrap=wrap):
                return wrap(injected(schedule))

            (theirs, updates), (ours, got) = (
                jax.eval_shape(a_run(make, schedule, dtype)) for schedule in (THEIRS, PLATEAU)
            )
            assert jax.tree.map(str, got) == jax.tree.map(str, updates), name
            assert jax.tree.map(str, ours[0]) == jax.tree.map(str, theirs[0]), name
            expected = len(programs(make, THEIRS, dtype))
            assert len(programs(make, PLATEAU, dtype)) == expected, name


@pytest.mark.parametrize("schedule", [OURS, PLATEAU], ids=["a schedule", "a plateau"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_hyperparam_dtype_is_obeyed(schedule, dtype):
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    tx = optax.inject_hyperparams(optax.sgd, hyperparam_dtype=dtype)(learning_rate=schedule)
    state = jax.eval_shape(tx.init, params)
    for _ in range(2):
        assert state.hyperparams["learning_rate"].dtype == dtype
        _, state = jax.eval_shape(tx.update, params, state, params)
