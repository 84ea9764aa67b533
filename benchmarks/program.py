"""What a schedule puts into a program, counted: no clock, so that CI can fail on it.

The program is one momentum SGD update of two arrays. What the schedule adds to it is the
difference to the same update with a constant learning rate.
"""

import math
import re

import jax
import jax.numpy as jnp
import optax

from benchmarks.family import adapters, family, in_optax, jaxsched, milestones, sequence

CONSTANTS = 64 * 1024
"""Bytes that a schedule may put into a program."""
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


def added(lr, constant=[]):
    """Instructions that a schedule adds to an update, and what is wrong with that program."""
    if not constant:
        text = lowered(*update(0.1)).compile().as_text()
        standing_still = lowered(*update(optax.constant_schedule(0.1))).compile().as_text()
        constant += [len(instructions(text)), layout(standing_still)]
    number, arguments = constant
    program = lowered(*update(lr))
    text = program.compile().as_text()
    wrong = leaves_the_device(program)
    if layout(text) != arguments:
        wrong.append(f"moves {layout(text)}")
    return len(instructions(text)) - number, constant_bytes(text), wrong


def measure():
    """For each schedule: instructions added, in optax (or None), bytes of constants, wrongs."""
    found = {}
    for name, description in family(1000).items():
        theirs = in_optax(*description)
        ours, size, wrong = added(jaxsched(*description))
        found[name] = ours, theirs and added(theirs)[0], size, wrong
    for name, schedule in adapters().items():
        ours, size, wrong = added(schedule)
        found[name] = ours, None, size, wrong
    return found


def growth():
    """Instructions of the large over the small: 512 over 2 milestones, 16 over 2 members."""
    return {
        "512 milestones over 2": _over(milestones(512), milestones(2)),
        "16 members over 2": _over(sequence(16), sequence(2)),
    }


def _over(large, small):
    ours = count(jaxsched(*large)), count(jaxsched(*small))
    theirs = count(in_optax(*large)), count(in_optax(*small))
    return ours, theirs
