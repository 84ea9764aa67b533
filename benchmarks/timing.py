"""How long it takes, beside something else that is timed in turn with it, in the same process.

A shared machine is now fast and now slow, and both sides of a ratio feel it: so each round times
the two one right after the other, and the median of the rounds' ratios counts.
"""

import functools
import itertools
import os
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsched as js
from benchmarks.family import (
    adapters,
    family,
    in_optax,
    jaxsched,
    milestones,
    sequence,
    torch_scheduler,
)
from benchmarks.program import update


class Versus(NamedTuple):
    ratio: float
    """The median of ours over theirs."""
    ours: float
    """Seconds a call, the median; theirs as well."""
    theirs: float


def versus(ours, theirs, rounds=31, burst=0.004, before=lambda: None):
    """Times two functions in turn, each for `burst` seconds of calls and at least for one.

    `before` runs before each burst, off the clock.
    """
    sides = [ours, theirs]
    numbers = []
    for function in sides:
        before()
        function()  # compiles
        before()
        numbers.append(max(1, round(burst / _burst(function, 1))))
    times = [[], []]
    for i in range(rounds):
        for side in (0, 1) if i % 2 else (1, 0):
            before()
            times[side].append(_burst(sides[side], numbers[side]))
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    return Versus(ratio, *map(statistics.median, times))


def _burst(function, number):
    """Seconds a call, over that many."""
    result = None
    start = time.perf_counter()
    for _ in range(number):
        result = function()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / number


def once(ours, theirs, rounds=5, before=jax.clear_caches):
    """For what takes long and has to be done anew each time: compilation, with no cache."""
    return versus(ours, theirs, rounds, burst=0, before=before)


def call(schedule, *arguments):
    return functools.partial(jax.jit(schedule), *arguments)


def nothing(count):
    return count.astype(jnp.float32)


def jitted():
    """A jitted call with a scalar count, over one that does nothing."""
    schedules = {k: jaxsched(*d) for k, d in family(1000).items()} | adapters()
    count = jnp.int32(400)
    found = {
        name: versus(call(schedule, count), call(nothing, count), 301, 0.002)
        for name, schedule in schedules.items()
    }
    plateau = js.ReduceLROnPlateau(0.1)
    state = plateau.init()
    found["ReduceLROnPlateau"] = versus(
        call(plateau, state), call(lambda state: nothing(state.cuts), state), 301, 0.002
    )
    return found


def eager():
    """A call with a JAX count outside of jit, over optax's nearest; an update outside of jit."""
    count, found = jnp.int32(400), {}
    for name, description in family(1000).items():
        if theirs := in_optax(*description):
            schedule = jaxsched(*description)
            found[name] = versus(
                functools.partial(schedule, count), functools.partial(theirs, count), 15
            )
    schedule = js.per_epoch(js.MultiStepLR(0.1, [30, 80]), 391)
    theirs = optax.piecewise_constant_schedule(0.1, {30 * 391: 0.1, 80 * 391: 0.1})
    found["per_epoch(MultiStepLR)"] = versus(
        functools.partial(schedule, count), functools.partial(theirs, count), 15
    )
    params = jnp.ones(3)
    found["update"] = versus(*(_eager_update(s, params) for s in (schedule, theirs)), 15)
    return found


def _eager_update(schedule, params):
    tx = optax.sgd(schedule)
    return functools.partial(tx.update, params, tx.init(params), params)


def host_over_torch():
    """999 calls with a Python int, over as many of `scheduler.step()`."""
    found = {}
    for name, description in family(1000).items():
        schedule, fresh = jaxsched(*description), []

        def ours(schedule=schedule):
            for n in range(1, 1000):
                schedule(n)

        def theirs(fresh=fresh):
            for _ in range(1, 1000):
                fresh[0].step()

        def before(fresh=fresh, description=description):
            fresh[:] = [torch_scheduler(*description)]

        found[name] = _each(versus(ours, theirs, 15, 0, before), 999)
    return found


def _each(v, calls):
    return Versus(v.ratio, v.ours / calls, v.theirs / calls)


def host_over_optax():
    """A call with a Python int, over optax's nearest with the same."""
    found = {}
    for name, description in family(1000).items():
        theirs = in_optax(*description)
        if theirs and name != "LambdaLR":  # a Python function there, without JAX
            rounds = 5 if "512" in name else 15
            found[name] = versus(
                functools.partial(jaxsched(*description), 400),
                functools.partial(theirs, 400),
                rounds,
            )
    return found


def million():
    """A million counts under vmap, over optax's float32."""
    counts = jnp.arange(10**6)
    found = {}
    for name, description in family(10**6).items():
        if theirs := in_optax(*description):
            ours, theirs = (jax.vmap(s) for s in (jaxsched(*description), theirs))
            found[name] = versus(
                call(ours, counts), call(theirs, counts), 5 if "512" in name else 15, 0.02
            )
    return found


def _compile(schedule):
    return lambda: jax.jit(schedule).lower(np.int32(0)).compile()


def compile_milestones():
    """Trace, lower and compile 512 milestones, over 2: jaxsched and optax."""
    large, small = milestones(512), milestones(2)
    return (
        once(_compile(jaxsched(*large)), _compile(jaxsched(*small))),
        once(_compile(in_optax(*large)), _compile(in_optax(*small)), rounds=2),
    )


def compile_sequence():
    """The same for SequentialLR, 16 members over 2."""
    large, small = sequence(16), sequence(2)
    return (
        once(_compile(jaxsched(*large)), _compile(jaxsched(*small))),
        once(_compile(in_optax(*large)), _compile(in_optax(*small))),
    )


def compile_nothing():
    """Seconds to trace, lower and compile the program that does nothing."""
    return once(_compile(nothing), _compile(nothing)).ours


IDLE = {"nothing": optax.constant_schedule(0.1), "itself": 0.1}


def updates(schedules, rounds=1001, size=2000):
    """An update of 4 million parameters with a schedule, over one with a constant learning rate."""
    # All update the same arrays: some places in memory are faster, by more than a schedule takes.
    _, (params, (trace, _), grads) = update(0.1, size=size)

    def side(lr):
        function, (_, (_, own), _) = update(lr, size=size)
        step = jax.jit(function, donate_argnums=(0, 1))

        def run():
            nonlocal params, trace, own
            params, (trace, own) = step(params, (trace, own), grads)
            jax.block_until_ready(params)

        return run

    constant = side(0.1)
    return {name: versus(side(lr), constant, rounds, burst=0) for name, lr in schedules.items()}


def sweep():
    """16 learning rates in one vmapped program, over a program for each: compiled and run."""
    x = jax.random.normal(jax.random.key(0), (64, 8))
    y = x @ jnp.arange(8.0)
    rates = np.geomspace(1e-3, 1e-1, 16).tolist()

    def train(base_lr):
        tx = optax.sgd(js.StepLR(base_lr, 50))

        def step(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: jnp.mean((x @ p - y) ** 2))(params)
            updates, state = tx.update(grads, state)
            return (optax.apply_updates(params, updates), state), None

        params = jnp.zeros(8)
        return jax.lax.scan(step, (params, tx.init(params)), length=200)[0][0]

    return once(
        lambda: jax.jit(jax.vmap(train))(jnp.array(rates)),
        lambda: [jax.jit(functools.partial(train, rate))().block_until_ready() for rate in rates],
        rounds=3,
    )


def curve(updates=225_000):
    """All learning rates of 90 epochs of ImageNet, over torch stepping through them."""
    found = {}
    for name in ("StepLR", "CosineAnnealingLR"):
        description = family(updates)[name]

        def theirs(description=description):
            scheduler, lrs = torch_scheduler(*description), []
            for _ in range(updates):
                lrs += scheduler.get_last_lr()
                scheduler.step()
            return np.array(lrs)

        ours = functools.partial(jaxsched(*description), np.arange(updates))
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-9, atol=1e-12)
        found[name] = versus(ours, theirs, 3, 0)
    return found


def imports(rounds=7):
    """Seconds of `import jaxsched` after `import optax`, in new processes, in four ways."""
    program = (
        "import gc, time; before = time.perf_counter(); import optax; {} "
        "start = time.perf_counter(); {}; end = time.perf_counter(); "
        "print(end - start, start - before)"
    )
    ways = {
        "jaxsched": program.format("", "import jaxsched"),
        "collector off": program.format("gc.disable();", "import jaxsched"),
        "nothing": program.format("", "lists = [[] for _ in range(1000)]"),
    }
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times = {way: [] for way in [*ways, "optax"]}
    for _, (way, code) in itertools.product(range(rounds + 1), ways.items()):
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for name, t in zip((way, "optax"), map(float, ran.stdout.split()), strict=True):
            times[name].append(t)
    # The first of each wrote the bytecode.
    return {way: statistics.median(t[1:]) for way, t in times.items()}
