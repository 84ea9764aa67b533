"""What a schedule puts into a program, counted: no clock, so that CI can fail on it.

The program is one momentum SGD update of two arrays. What the schedule adds to it is the
difference to the same update with a constant learning rate.
"""

import functools
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.family import adapters, family, in_optax, jaxsched, milestones, sequence

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(")
_LEAVES_THE_DEVICE = {"while", "custom-call", "infeed", "outfeed", "send", "recv"}
_LEAVES_THE_DEVICE |= {"stablehlo.while", "stablehlo.custom_call"}


def update(lr, size=8):
    """One update with this learning rate, the state and gradients to start with."""
    params = {"w": jnp.ones((size, size)), "b": jnp.ones(size)}
    tx = optax.sgd(lr, momentum=0.9)

    def sgd(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return sgd, (params, tx.init(params), jax.tree.map(lambda p: p * 1e-6, params))


def lowered(function, arguments):
    return jax.jit(function).lower(*arguments)


def instructions(hlo):
    """All (type, operation) of a compiled program's text, those inside fusions too."""
    found = map(_INSTRUCTION.match, hlo.splitlines())
    return [match.groups() for match in found if match]


def constant_bytes(hlo):
    """Bytes of all constants in a compiled program's text."""
    total = 0
    for kind, operation in instructions(hlo):
        match = re.match(r"([a-z]+)(\d*)\w*\[([\d,]*)\]", kind)
        if operation == "constant" and match:
            _, bits, shape = match.groups()
            total += math.prod(map(int, filter(None, shape.split(",")))) * int(bits or 8) // 8
    return total


def leaves_the_device(program):
    """The loops, callbacks and transfers in a lowered program, before and after compilation."""
    before = re.findall(r"stablehlo\.\w+", program.as_text())
    after = [operation for _, operation in instructions(program.compile().as_text())]
    return sorted(_LEAVES_THE_DEVICE & {*before, *after})


def layout(hlo):
    """The types of a compiled program's arguments and results."""
    return re.search(r"entry_computation_layout=\{(.*?)\}, \w+=", hlo)[1]


def count(schedule):
    """Instructions of a schedule by itself."""
    program = lowered(schedule, [jnp.int32(0)])
    return len(instructions(program.compile().as_text()))


@functools.cache
def _without():
    """Instructions of an update with a constant, and the layout of one that counts."""
    constant, counting = (
        lowered(*update(lr)).compile().as_text() for lr in (0.1, optax.constant_schedule(0.1))
    )
    return len(instructions(constant)), layout(counting)


class Program(NamedTuple):
    ours: int
    """Instructions that the schedule adds to an update."""
    constants: int
    """Bytes."""
    wrong: list[str]
    """Loops, callbacks and transfers."""
    optax: int | None = None
    """Instructions that optax's nearest schedule adds."""


def added(schedule):
    """What a schedule adds to an update."""
    program = lowered(*update(schedule))
    text = program.compile().as_text()
    number, counting = _without()
    wrong = leaves_the_device(program)
    if layout(text) != counting:
        wrong.append(f"moves {layout(text)}")
    return Program(len(instructions(text)) - number, constant_bytes(text), wrong)


def measure():
    """A Program for each schedule."""
    found = {name: added(schedule) for name, schedule in adapters().items()}
    for name, description in family(1000).items():
        found[name] = added(jaxsched(*description))
        if theirs := in_optax(*description):
            found[name] = found[name]._replace(optax=added(theirs).ours)
    return found


def growth():
    """Instructions of a large schedule by itself and of a small one: jaxsched's, and optax's."""
    pairs = {
        "512 milestones over 2": (milestones(512), milestones(2)),
        "16 members over 2": (sequence(16), sequence(2)),
    }
    return {
        what: tuple([count(make(*d)) for d in pair] for make in (jaxsched, in_optax))
        for what, pair in pairs.items()
    }
