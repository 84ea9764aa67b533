"""In optax: each test reads the learning rate from the update itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import injected
from tests.traces import cases, load

SCHEDULE = js.MultiStepLR(0.1, [3, 5], gamma=0.5)
LRS = SCHEDULE(np.arange(8)).astype(np.float32)


def updates(tx, steps=8, params=np.float32(0)):
    """What each update adds to parameters whose gradient is 1, over a scan."""
    grads = jax.tree.map(jnp.ones_like, params)

    def step(carry, _):
        params, state = carry
        update, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, update), state), update

    _, added = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), length=steps))()
    return added


def test_sgd():
    np.testing.assert_array_equal(-updates(optax.sgd(SCHEDULE)), LRS)


def test_scale_by_learning_rate_in_a_chain():
    tx = optax.chain(optax.add_decayed_weights(0.0), optax.scale_by_learning_rate(SCHEDULE))
    np.testing.assert_array_equal(-updates(tx), LRS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_inject_hyperparams_in_a_scan(dtype):
    tx = injected(SCHEDULE)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies float32 and bfloat16
        got = updates(tx, params=jnp.zeros(3, dtype))
    expected = np.broadcast_to(LRS[:, None], (8, 3))
    # Some versions of optax keep the lr in float32, some round it to bfloat16.
    np.testing.assert_allclose(
        -got.astype(jnp.float32), expected, rtol=0 if got.dtype == jnp.float32 else 2**-8
    )


def test_traced_base_lr_and_gamma_change_mid_run_without_recompiling():
    @optax.inject_hyperparams
    def optimizer(base_lr, gamma):
        return optax.sgd(js.StepLR(base_lr, 2, gamma))

    compiled = []
    tx = optimizer(0.5, 0.5)

    @jax.jit
    def step(state):
        compiled.append(state)
        return tx.update(jnp.float32(1), state, jnp.float32(0))

    state, got = tx.init(jnp.float32(0)), []
    for count in range(6):
        if count == 3:
            state.hyperparams["base_lr"] = jnp.float32(4)
            state.hyperparams["gamma"] = jnp.float32(0.25)
        update, state = step(state)
        got.append(-float(update))
    assert got == [0.5, 0.5, 0.25, 1.0, 0.25, 0.25]
    assert len(compiled) == 1


def test_multisteps_counts_updates_not_batches():
    tx = optax.MultiSteps(optax.sgd(js.StepLR(0.1, 2)), every_k_schedule=3)
    with jax.numpy_dtype_promotion("standard"):
        got = -updates(tx, steps=15)
    expected = np.zeros(15, np.float32)
    expected[2::3] = js.StepLR(0.1, 2)(np.arange(5))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_apply_if_finite_does_not_count_what_it_rejects():
    tx = optax.apply_if_finite(optax.sgd(js.StepLR(0.1, 2)), max_consecutive_errors=5)
    state, got = tx.init(jnp.float32(0)), []
    for grad in (1, np.nan, 1, np.inf, 1):
        update, state = jax.jit(tx.update)(jnp.float32(grad), state)
        got.append(-update)
    np.testing.assert_array_equal(got, np.float32([0.1, 0, 0.1, 0, 0.1 * 0.1]))


def test_partition_gives_each_group_its_own_schedule():
    tx = optax.partition(
        {"backbone": optax.sgd(js.StepLR(0.01, 2)), "head": optax.sgd(SCHEDULE)},
        {"conv": "backbone", "dense": "head"},
    )
    got = updates(tx, params={"conv": jnp.zeros(()), "dense": jnp.zeros(())})
    np.testing.assert_array_equal(-got["dense"], LRS)
    np.testing.assert_array_equal(-got["conv"], js.StepLR(0.01, 2)(np.arange(8)).astype(np.float32))


def test_join_schedules_gives_each_its_own_clock():
    joined = optax.join_schedules([js.StepLR(0.1, 2), js.MultiStepLR(0.3, [2])], [4])
    expected = np.float32(
        [*js.StepLR(0.1, 2)(np.arange(4)), *js.MultiStepLR(0.3, [2])(np.arange(4))]
    )
    np.testing.assert_array_equal(-updates(optax.sgd(joined)), expected)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (optax.adamw, {"weight_decay": 0.0}),
        *(
            slow_case(make, options)
            for make, options in [
                (optax.lion, {"weight_decay": 0.0}),
                (optax.lamb, {}),
                (optax.adafactor, {"multiply_by_parameter_scale": False}),
                (optax.contrib.muon, {}),
            ]
        ),
    ],
)
def test_every_optimizer_scales_its_update_by_the_schedule(make, options):
    # The update with the schedule over the update with learning rate 1, parameters held.
    params, grads = {"w": jnp.full((4, 4), 0.5)}, {"w": jnp.eye(4)}

    def run(learning_rate):
        tx = make(learning_rate=learning_rate, **options)
        state, got = tx.init(params), []
        for _ in range(8):
            update, state = jax.jit(tx.update)(grads, state, params)
            got.append(update["w"][0, 0])
        return np.array(got)

    # Strict promotion fails in optax's own adamw, lamb and muon.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(run(SCHEDULE) / run(1.0), LRS, rtol=1e-5)


def cycles():
    for class_name in ("CyclicLR", "OneCycleLR"):
        lrs, momenta = load(class_name), load(class_name, "momentum")
        for (name, kwargs, lr), (_, _, momentum) in zip(lrs, momenta, strict=True):
            if name == "random 0":
                schedule = cases.construct(lambda n, kw: getattr(js, n)(**kw), class_name, kwargs)
                yield pytest.param(schedule, lr[:40], momentum[:40], id=class_name)


@pytest.mark.parametrize(("schedule", "lrs", "momenta"), list(cycles()))
def test_momentum_goes_where_torch_has_it(schedule, lrs, momenta):
    """sgd's trace and adam's b1 follow torch's param_groups; read from the updates themselves."""
    tx = injected(schedule, momentum=schedule.momentum)
    buffer, expected = 0.0, []
    for lr, momentum in zip(lrs, momenta, strict=True):
        buffer = 1 + momentum * buffer
        expected.append(lr * buffer)
    np.testing.assert_allclose(-updates(tx, steps=40), expected, rtol=1e-5)

    tx = optax.inject_hyperparams(optax.adam)(learning_rate=1.0, b1=schedule.momentum, eps=0.0)
    state, params = tx.init(jnp.float32(0)), jnp.float32(0)
    mu = 0.0
    with jax.numpy_dtype_promotion("standard"):
        for count, b1 in enumerate(momenta):
            _, state = jax.jit(tx.update)(jnp.float32(1 + count), state, params)
            mu = b1 * mu + (1 - b1) * (1 + count)
            np.testing.assert_allclose(state.inner_state[0].mu, mu, rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("class_name", ["CyclicLR", "OneCycleLR"])
def test_torch_gives_adams_beta_what_it_gives_sgds_momentum(class_name):
    import torch

    for name, kwargs, momenta in load(class_name, "momentum"):
        if not name.startswith("random"):
            continue
        kwargs = {k: v for k, v in kwargs.items() if class_name == "CyclicLR" or k != "base_lr"}
        if isinstance(kwargs.get("scale_fn"), list):
            continue
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = getattr(torch.optim.lr_scheduler, class_name)(optimizer, **kwargs)
        betas = []
        for _ in momenta:
            betas.append(optimizer.param_groups[0]["betas"][0])
            optimizer.step()
            if len(betas) < len(momenta):
                scheduler.step()
        assert betas == momenta.tolist(), name
