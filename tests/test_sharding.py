"""Counts, numbers and states on meshes of several devices, with auto axes and explicit ones."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jaxsched as js
from tests.marks import slow_case
from tests.schedules import LONG, MORE, OF_FUNCTIONS, SHORT, injected, jitted, traced

COUNTS = np.arange(16, dtype=np.int32).reshape(8, 2)
slow = pytest.mark.slow
ALL = SHORT + LONG + MORE + OF_FUNCTIONS
# Tables, of one step and irregular, and formulas: what sharding sees. All are slow.
SEEN = {js.StepLR: SHORT + LONG, js.MultiStepLR: SHORT, js.LambdaLR: SHORT, js.SequentialLR: LONG}
SOME = [s for s in ALL if any(s is x for x in SEEN.get(type(s), ()))]
some_and_all = pytest.mark.parametrize("schedules", [SOME, slow_case(ALL)], ids=["some", "all"])
every_kind = pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])


def mesh_of(kind):
    return jax.make_mesh((4, 2), ("a", "b"), (kind,) * 2, devices=jax.devices("cpu")[:8])


def sharded(mesh, spec, counts=COUNTS):
    return jax.device_put(counts, NamedSharding(mesh, spec))


def assert_same(values, schedules, count):
    """Those of the schedules, sharded as the count is."""
    for value, schedule in zip(values, schedules, strict=True):
        expected = np.float32(schedule(np.asarray(count)))
        np.testing.assert_allclose(value, expected, rtol=2.0**-23, err_msg=repr(schedule))
        assert value.sharding.is_equivalent_to(count.sharding, value.ndim), schedule


@every_kind
@some_and_all
def test_a_sharded_count_gives_a_learning_rate_sharded_alike(schedules, kind):
    mesh = mesh_of(kind)
    counts = [sharded(mesh, P("a", None), COUNTS), sharded(mesh, P(("a", "b")), COUNTS[:, 0])]
    counts.append(sharded(mesh, P(), np.int32(7)))
    with jax.set_mesh(mesh):
        all_values = jax.jit(lambda counts: [[*map(s, counts)] for s in schedules])(counts)
    for count, values in zip(counts, zip(*all_values, strict=True), strict=True):
        assert_same(values, schedules, count)


@slow
@pytest.mark.parametrize("mesh_is_set", [False, True])
def test_in_every_way_that_counts_are_sharded(mesh_is_set):
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh) if mesh_is_set else contextlib.nullcontext():
        for spec in (P("a", "b"), P(None, "b")):
            count = sharded(mesh, spec)
            assert_same([schedule(count) for schedule in SOME], SOME, count)
            assert_same(jitted([*map(jax.vmap, SOME)], count), SOME, count)
            assert_same(jitted(ALL, count), ALL, count)
        parts = [
            jax.shard_map(s, mesh=mesh, in_specs=P("a"), out_specs=P("a"), axis_names={"a"})
            for s in ALL
        ]
        count = sharded(mesh, P("a", "b"))
        for schedule, value in zip(ALL, jitted(parts, count), strict=True):
            expected = np.float32(schedule(COUNTS))
            np.testing.assert_allclose(value, expected, rtol=2.0**-23, err_msg=repr(schedule))


@slow
@every_kind
def test_numbers_on_the_mesh(kind):
    mesh = mesh_of(kind)
    numbers = jax.device_put([*map(traced, ALL)], NamedSharding(mesh, P()))
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 8), [*map(traced, ALL)])
    stacked = jax.device_put(stacked, NamedSharding(mesh, P("a")))
    count = sharded(mesh, P("a", "b"))
    one = sharded(mesh, P(), np.int32(3))

    def call(schedules, count):
        return [schedule(count) for schedule in schedules]

    at_counts = jax.jit(call)(numbers, count)
    swept = jax.jit(jax.vmap(call, in_axes=(0, None)))(stacked, one)
    for schedule, *values in zip(ALL, at_counts, swept, strict=True):
        for got, counts in zip(values, (COUNTS, np.full(8, 3)), strict=True):  # float32 numbers in
            close = dict(rtol=3e-5, atol=1e-8, err_msg=repr(schedule))
            np.testing.assert_allclose(got, schedule(counts), **close)
        if kind == AxisType.Explicit:  # else the compiler decides
            assert values[0].sharding.is_equivalent_to(count.sharding, 2), schedule


def test_a_schedule_with_an_array_on_explicit_axes():
    mesh = mesh_of(AxisType.Explicit)
    schedule = js.RecordedLR(sharded(mesh, P(), np.float32([0.5, 0.25])))
    count = sharded(mesh, P("a", "b"))
    value = jax.jit(schedule)(count)
    np.testing.assert_array_equal(value, np.where(COUNTS == 0, 0.5, 0.25))
    assert value.sharding.is_equivalent_to(count.sharding, 2)


@every_kind
@pytest.mark.parametrize("x64", [slow_case(False), True])
def test_under_x64_too(kind, x64):
    mesh = mesh_of(kind)
    with jax.enable_x64(x64), jax.set_mesh(mesh):
        count = sharded(mesh, P("a", "b"))
        got = jax.jit(js.MultiStepLR(0.5, [3, 9], 0.25))(count)
        assert got.sharding.is_equivalent_to(count.sharding, 2)
        assert (got.dtype, got.weak_type) == (jnp.float64 if x64 else jnp.float32, True)


STEPS = js.per_epoch(js.MultiStepLR(0.5, [1, 3], gamma=0.25), [2, 1])
PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=0)


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        (STEPS, AxisType.Auto),
        *(
            slow_case(schedule, kind)
            for schedule, kind in (
                (PLATEAU, AxisType.Explicit),
                (STEPS, AxisType.Explicit),
                (PLATEAU, AxisType.Auto),
            )
        ),
    ],
)
def test_a_train_step_over_sharded_batches_and_parameters(schedule, kind):
    """The counts and the state are replicated, parameters and batch are not."""
    mesh = mesh_of(kind)
    tx = injected(schedule, momentum=0.5)

    def loss_fn(params, batch):
        return jnp.square(batch - params).mean()

    @jax.jit
    def step(params, state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        if isinstance(schedule, js.ReduceLROnPlateau):
            state = js.observe(state, loss)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def run(place, spec):
        params = place(jnp.zeros(4), spec)
        state, lrs = tx.init(params), []
        for i in range(8):
            batch = place(jnp.full(4, (-1.0) ** i), spec)
            params, state = step(params, state, batch)
            lrs.append(js.get_last_lr(state))
        return lrs, np.asarray(params)

    with jax.set_mesh(mesh):
        lrs, params = run(lambda x, spec: sharded(mesh, spec, x), P("a"))
    expected_lrs, expected = run(lambda x, spec: x, None)
    assert lrs == expected_lrs
    np.testing.assert_allclose(params, expected, rtol=1e-6)
