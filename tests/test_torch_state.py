"""What keeps a state: optax's counts, torch's state_dicts, and classes that are not torch's own."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsched as js
from jaxsched._state import _counting
from tests.test_set_count import PARAMS, SCHEDULE, WRAPPERS, sgd

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


def states(tx, params, calls):
    """Of the first `calls`, by the number of updates done."""
    state = tx.init(params)
    found, update = [state], jax.jit(tx.update)
    for _ in range(calls):
        _, state = update(jax.tree.map(jnp.ones_like, params), state, params)
        found.append(state)
    return found


@pytest.mark.parametrize("make", AROUND.values(), ids=AROUND)
def test_the_count_that_a_state_has_changes_nothing(make):
    with jax.numpy_dtype_promotion("standard"):
        for calls, state in enumerate(states(make(), PARAMS, 7)):
            done = int(state.gradient_step) if hasattr(state, "gradient_step") else calls
            assert alike(js.set_count(state, done), state)
            assert not alike(js.set_count(state, done + 1), state)


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
                found = states(tx, MATRICES, 3) if _counting(tx.init(MATRICES)) else []
            except (TypeError, ValueError):
                continue
            for updates, state in enumerate(found):
                assert alike(js.set_count(state, updates), state), name
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
    optimizer = nnx.Optimizer(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), tx, wrt=nnx.Param)
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
