"""What others write down and read back: pickle, flax's msgpack, jax.export, optax's tree_utils."""

import copy
import pickle
import subprocess
import sys

import flax.serialization
import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from flax.training import checkpoints
from flax.training.train_state import TrainState

import jaxsched as js
from tests.marks import one_in, slow_case
from tests.schedules import MORE, SHORT, injected, inverse

slow = pytest.mark.slow
PLATEAU = js.ReduceLROnPlateau(0.5, factor=0.5, patience=1, cooldown=1)
METRICS = [1.0, 2.0, 2.0, 0.5, 0.75, 0.75, 0.75, 0.75]
PARAMS = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
TX = injected(PLATEAU, momentum=0.9)


WRAPPERS = {
    "by itself": lambda: TX,
    "chain": lambda: optax.chain(optax.clip(1.0), TX, optax.apply_if_finite(TX, 3)),
    "partition": lambda: optax.partition({1: TX, 2: optax.sgd(0.1)}, {"a": 1, "b": 2}),
    "without": lambda: injected(js.per_epoch(js.StepLR(0.5, 1), 2)),
}
every_wrapper = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, marks=() if name in ("chain", "without") else slow)
        for name, make in WRAPPERS.items()
    ],
    ids=WRAPPERS,
)


OBSERVE = jax.jit(js.observe)


def go_on(tx, state, metrics):
    """The learning rates from here on, and the state after them."""
    lrs = []
    for metric in metrics:
        if "PlateauState" in str(state):
            state = OBSERVE(state, metric)
        _, state = jax.jit(tx.update)(GRADS, state, PARAMS)
        lrs.append(js.get_last_lr(state))
    return lrs, state


def by_msgpack(tx, state):
    return flax.serialization.from_bytes(tx.init(PARAMS), flax.serialization.to_bytes(state))


def by_pickle(tx, state):
    return pickle.loads(pickle.dumps(state))


def by_copy(tx, state):
    return copy.deepcopy(state)


@every_wrapper
def test_a_run_goes_on_with_the_same_cuts(make):
    tx = make()
    expected, last = go_on(tx, tx.init(PARAMS), METRICS)
    for half in (2, 5):
        before, state = go_on(tx, tx.init(PARAMS), METRICS[:half])
        for through in (by_msgpack, by_pickle, by_copy):
            restored = through(tx, state)
            assert jax.tree.structure(restored) == jax.tree.structure(state)
            after, end = go_on(tx, restored, METRICS[half:])
            assert before + after == expected, (through, half)
            assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), end, last))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of flax's checkpoints
@slow
@pytest.mark.parametrize("name", WRAPPERS)
def test_flax_checkpoints_of_a_train_state(name, tmp_path):
    tx = WRAPPERS[name]()
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=tx)
    state = state.replace(opt_state=go_on(tx, state.opt_state, METRICS[:3])[1])
    checkpoints.save_checkpoint(str(tmp_path), state, step=3)
    fresh = TrainState.create(apply_fn=None, params=PARAMS, tx=tx)
    restored = checkpoints.restore_checkpoint(str(tmp_path), fresh)
    assert isinstance(restored, TrainState)
    expected = go_on(tx, state.opt_state, METRICS[3:])[0]
    assert go_on(tx, restored.opt_state, METRICS[3:])[0] == expected


def test_a_state_dict_holds_arrays_under_torchs_names():
    state = flax.serialization.to_state_dict(PLATEAU.update(PLATEAU.init(), metric=2.0))
    assert state["best"] == 2.0
    assert list(state)[:4] == ["best", "num_bad_epochs", "cooldown_counter", "cuts"]


@pytest.mark.slow
def test_flax_may_be_imported_after_the_state_was_made_or_never():
    code = """
import sys, optax, jaxsched as js, jax.numpy as jnp
tx = optax.inject_hyperparams(optax.sgd)(learning_rate=js.ReduceLROnPlateau(0.5))
state = tx.init(jnp.zeros(2))
assert not any("flax" in name for name in sys.modules)
import flax.serialization
restored = flax.serialization.from_bytes(state, flax.serialization.to_bytes(js.observe(state, 3)))
assert js.observe(restored, 2.0).hyperparams_states["learning_rate"].best == 2.0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- jax.export --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def optax_states():
    """What a user registers of optax's, once in a program; jaxsched's own are registered."""
    for state in (
        optax.InjectStatefulHyperparamsState,
        optax.schedules.WrappedScheduleState
        if hasattr(optax.schedules, "WrappedScheduleState")
        else None,
        optax.TraceState,
        optax.EmptyState,
    ):
        if state is not None:
            name = f"optax.{state.__name__}"
            jax.export.register_namedtuple_serialization(state, serialized_name=name)


@pytest.mark.parametrize(
    "plateau",
    [
        PLATEAU,
        slow_case(js.ReduceLROnPlateau(1 / 3, "max", 0.1, 0, 1e-300, "abs", 2**40)),
    ],
)
def test_a_step_with_a_plateau_is_exported(plateau, optax_states):
    tx = injected(plateau)

    def step(params, state, metric):
        state = js.observe(state, metric)
        updates, state = tx.update(GRADS, state, params)
        return optax.apply_updates(params, updates), state

    arguments = (PARAMS, tx.init(PARAMS), jnp.float32(1.0))
    data = jax.export.export(jax.jit(step))(*arguments).serialize()
    exported = jax.export.deserialize(data)
    ours, theirs = (PARAMS, tx.init(PARAMS)), (PARAMS, tx.init(PARAMS))
    for metric in METRICS:
        ours = jax.jit(step)(*ours, jnp.float32(metric))
        theirs = exported.call(*theirs, jnp.float32(metric))
        assert jax.tree.structure(theirs) == jax.tree.structure(ours)  # with the same arguments
        assert js.get_last_lr(theirs[1]) == js.get_last_lr(ours[1])


WRITTEN = [s for s in SHORT + MORE if not any(part._is_traced for part in s._walk())]
WRITTEN = [s for s in WRITTEN if not isinstance(s, js.MultiplicativeLR)]


@pytest.mark.parametrize(
    "schedule",
    one_in(20, WRITTEN),
    ids=lambda s: type(s).__name__,
)
def test_a_schedule_is_an_argument_of_what_is_exported(schedule):
    call = jax.jit(lambda schedule, count: schedule(count))
    counts = jnp.arange(12)
    data = jax.export.export(call)(schedule, counts).serialize()
    got = jax.export.deserialize(data).call(schedule, counts)
    assert got.tolist() == call(schedule, counts).tolist()


def test_a_schedule_with_a_function_is_none():
    schedule = js.per_epoch(js.LambdaLR(0.1, inverse), 3)
    exported = jax.export.export(jax.jit(lambda s, n: s(n)))(schedule, jnp.int32(0))
    with pytest.raises(TypeError, match="jax.export cannot write a schedule with a function"):
        exported.serialize()


@pytest.mark.slow
def test_another_process_reads_what_was_exported(tmp_path):
    observe = jax.export.export(jax.jit(js.observe))(PLATEAU.init(), jnp.float32(1))
    (tmp_path / "observe").write_bytes(observe.serialize())
    code = f"""
import pathlib, jax, jax.numpy as jnp, jaxsched as js
data = pathlib.Path({str(tmp_path / "observe")!r}).read_bytes()
observe = jax.export.deserialize(bytearray(data))
plateau = {PLATEAU!r}
""".replace("ReduceLROnPlateau", "js.ReduceLROnPlateau")
    code += """
state = plateau.init()
for metric in (1.0, 2.0, 2.0):
    state = observe.call(state, jnp.float32(metric))
assert plateau(state) == 0.25, state
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- optax.tree_utils --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*WRAPPERS.values()][:1], ids=["injected"])
def test_optax_finds_and_sets_its_fields(make):
    tx = make()
    _, state = go_on(tx, tx.init(PARAMS), METRICS[:2])
    assert optax.tree_utils.tree_get(state, "best") == 1.0
    assert optax.tree_utils.tree_get(state, "num_bad_epochs") == 1
    ours = optax.tree_utils.tree_get(state, "PlateauState")
    assert PLATEAU(ours) == 0.5

    state = optax.tree_utils.tree_set(state, num_bad_epochs=jnp.int32(0), cuts=jnp.int32(2))
    assert optax.tree_utils.tree_get(state, "cuts") == 2
    assert go_on(tx, state, [2.0])[0] == [[0.125]]


def test_optax_maps_over_what_belongs_to_parameters():
    state = TX.init(PARAMS)
    mapped = optax.tree_utils.tree_map_params(TX, lambda x: x + 1, state)
    assert jax.tree.structure(mapped) == jax.tree.structure(state)
    assert go_on(TX, mapped, METRICS)[0] == go_on(TX, state, METRICS)[0]
