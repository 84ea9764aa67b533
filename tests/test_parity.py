"""jaxsched against torch's own traces, over every count, in every way of calling."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.schedules import ARGUMENTS
from tests.traces import cases, load

CLASSES = list(cases.CASES)
every_class = pytest.mark.parametrize("class_name", CLASSES)
WITH_MOMENTUM = ["CyclicLR", "OneCycleLR"]


def build(class_name, kwargs):
    return cases.construct(lambda name, kw: getattr(js, name)(**kw), class_name, kwargs)


def schedules_and_traces(class_name):
    """All schedules of a class, the momentum ones too, each with torch's trace."""
    both = [(build(class_name, kwargs), lr) for _, kwargs, lr in load(class_name)]
    if class_name in WITH_MOMENTUM:
        for _, kwargs, momentum in load(class_name, "momentum"):
            both.append((build(class_name, kwargs).momentum, momentum))
    return both


def largest(values):
    return values[np.isfinite(values)].max(initial=0)


def assert_double(got, expected, class_name, wide=1, name=""):
    """Torch's own recursion drifts by a few 1e-15 of the largest value."""
    rtol = {"StepLR": 1e-13, "MultiStepLR": 1e-13, "PolynomialLR": 1e-11}.get(class_name, 1e-12)
    atol = 0 if rtol == 1e-13 else 1e-15 * largest(expected)
    np.testing.assert_allclose(got, expected, rtol=rtol * wide, atol=atol, err_msg=name)


def assert_float32(got, expected, class_name):
    """Bit for bit for steps; for the others 99.99 %, and none further than the next float32."""
    got = np.concatenate([np.asarray(g) for g in got])
    # Where torch's recursion should come to 0, it leaves a residue.
    residue = np.concatenate([abs(e) <= 1e-15 * largest(e) for e in expected]) & (got == 0)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.concatenate(expected).astype(np.float32)
    assert got.dtype == np.float32
    tiny = (abs(expected) < np.finfo(np.float32).tiny) & (got == 0)
    wrong = (got != expected) & ~residue & ~tiny
    if class_name in ("StepLR", "MultiStepLR"):
        assert not wrong.any(), (got[wrong][:5], expected[wrong][:5])
    assert wrong.mean() <= 1e-4
    np.testing.assert_array_max_ulp(got[wrong], expected[wrong], maxulp=1)


@every_class
def test_on_the_host_it_is_torch_in_double(class_name):
    for name, kwargs, expected in load(class_name):
        schedule = build(class_name, kwargs)
        for got in ([*map(schedule, range(len(expected)))], schedule(np.arange(len(expected)))):
            assert_double(got, expected, class_name, name=name)


@pytest.mark.parametrize("class_name", WITH_MOMENTUM)
def test_on_the_host_the_momentum_is_torch_in_double(class_name):
    for _, kwargs, expected in load(class_name, "momentum"):
        schedule = build(class_name, kwargs).momentum
        assert type(schedule).__name__ == class_name
        assert_double([schedule(c) for c in range(len(expected))], expected, class_name)


def eager(schedules, lengths):
    # In pieces of one shape, so that JAX compiles each operation once.
    counts = jnp.arange(1024)
    pieces = [range(0, length, 1024) for length in lengths]
    return [
        np.concatenate([schedule(counts + start) for start in piece])[:length]
        for schedule, piece, length in zip(schedules, pieces, lengths, strict=True)
    ]


def jitted(schedules, lengths, transform=lambda schedule: schedule):
    @jax.jit
    def program(counts):
        return [transform(s)(counts[:n]) for s, n in zip(schedules, lengths, strict=True)]

    return program(jnp.arange(max(lengths)))


def vmapped(schedules, lengths):
    return jitted(schedules, lengths, jax.vmap)


def scanned(schedules, lengths):
    def body(_, count):
        return _, [schedule(count) for schedule in schedules]

    _, values = jax.lax.scan(body, None, jnp.arange(max(lengths)))
    return [value[:length] for value, length in zip(values, lengths, strict=True)]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("class_name", "way"),
    [
        # The heart by default, the others in the slow run: a schedule of each class is compared
        # with the host, on the device, in test_schedule.
        pytest.param(c, way, marks=() if (c, way) == ("MultiStepLR", jitted) else slow)
        for c in CLASSES
        for way in (jitted, scanned, eager, vmapped)
    ],
)
def test_on_the_device_it_is_torch_to_the_last_bit_of_float32(class_name, way):
    every = 1 if way is jitted else 4  # the same formulas, and `eager` compiles each by itself
    schedules, traces = zip(*[*schedules_and_traces(class_name)][::every], strict=True)
    assert_float32(way(schedules, [*map(len, traces)]), traces, class_name)


@slow
@every_class
def test_on_the_device_under_x64_it_is_torch_in_double(class_name):
    schedules, traces = zip(*schedules_and_traces(class_name), strict=True)
    with jax.enable_x64(True):
        values = jitted(schedules, [*map(len, traces)])
    for got, expected in zip(values, traces, strict=True):
        # A result below the smallest normal number may be 0. In the outer half of double's range
        # the exponent itself, k * log(gamma), has no more digits: twice as wide there.
        normal = abs(expected) >= np.finfo(np.float64).tiny
        usual = normal & (abs(expected) > 1e-150) & (abs(expected) < 1e150)
        assert got.dtype == jnp.float64
        assert_double(np.where(usual, got, 0), np.where(usual, expected, 0), class_name)
        assert_double(np.where(normal, got, 0), np.where(normal, expected, 0), class_name, wide=2)


def test_the_tutorials_print_these_numbers():
    step = js.StepLR(0.1, 5, 0.1)
    assert [step(c) for c in range(15)] == (
        5 * [0.1] + 5 * [0.010000000000000002] + 5 * [0.0010000000000000002]
    )
    # Read after the epoch's step, epochs counted from 1.
    after = [js.StepLR(0.1, 10, 0.9)(epoch) for epoch in range(1, 31)]
    assert [round(lr, 10) for lr in after] == 9 * [0.1] + 10 * [0.09] + 10 * [0.081] + [0.0729]
    multi = js.MultiStepLR(0.1, [5, 15])
    assert [multi(c) for c in (4, 5, 14, 15)] == (
        [0.1] + 2 * [0.010000000000000002] + [0.0010000000000000002]
    )


@every_class
def test_every_class_has_traces_enough(class_name):
    names = [name for name, _, _ in load(class_name)]
    assert len(names) == len(set(names))
    assert sum(name.startswith("random") for name in names) >= 40


@pytest.mark.torch
@every_class
def test_torch_here_still_gives_the_stored_traces(class_name):
    from tests.traces import generate

    stored = (generate.FOLDER / f"{class_name}.json").read_text()
    assert generate.to_text(generate.make(class_name)) == stored


OF_TORCH = [name for name in (*ARGUMENTS, "ReduceLROnPlateau") if name[0].isupper()]
OF_TORCH.remove("RecordedLR")


@pytest.mark.torch
@pytest.mark.parametrize("name", OF_TORCH)
def test_parameters_their_order_and_their_defaults_are_torchs(name):
    import torch

    def parameters(cls):
        return {p.name: p.default for p in inspect.signature(cls).parameters.values()}

    ours = parameters(getattr(js, name))
    theirs = parameters(
        getattr(torch.optim.lr_scheduler, name, None) or torch.optim.swa_utils.SWALR
    )
    # The count and the optimizer are optax's, and so is where the momentum goes.
    for dropped in ("optimizer", "last_epoch", "cycle_momentum"):
        theirs.pop(dropped, None)
    # The learning rate is the optimizer's there, and MultiplicativeLR and LambdaLR run on the host.
    for added in {"base_lr", "horizon"} - theirs.keys():
        ours.pop(added, None)
    assert list(ours.items()) == [(n, d) for n, d in theirs.items()]
