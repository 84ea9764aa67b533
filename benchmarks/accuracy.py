"""Which learning rate does an update get? Every library in float32, under jit, beside torch.

1. Traces: in how many of torch's stored cases is every value within 1e-6 of torch's; how many
   values are float32(torch's double) to the last bit; and by how many float32 steps is the worst
   one off? Left out are the cases that a library has no arguments for, those that float32 cannot
   hold (values above 1e38 or below 1.18e-38, milestones past 2**31). 0 is right where torch's
   recursion leaves a rounding error.
2. Boundaries: is the learning rate halved at the first update of an epoch, or one update late?
3. Recipes: optax's nearest schedule on well-known recipes, one by one. "x 2,503": each epoch of the
   trace lasts that many updates (ImageNet in batches of 512).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsched as js
from benchmarks.family import (
    OPTAX,
    in_braintools,
    in_optax,
    jaxsched,
    one_cycle_shorter,
    steps_of,
)
from benchmarks.table import Row
from tests.traces import cases, load

TINY = np.finfo(np.float32).tiny
EPOCHS = np.arange(1, 101)
UPDATES = 2503  # in an epoch of a recipe

RECIPES = {
    "StepLR": ["ResNet-50 on ImageNet"],
    "MultiStepLR": ["ResNet-50 on ImageNet", "Detectron2 1x"],
    "ConstantLR": ["torchvision's constant warmup"],
    "LinearLR": ["Detectron2's warmup"],
    "ExponentialLR": ["0.95 an epoch"],
    "PolynomialLR": ["torchvision's segmentation", "DeepLab's poly"],
    "CosineAnnealingLR": ["one long cycle", "many short cycles"],
    "CosineAnnealingWarmRestarts": ["SGDR 10, 2"],
    "OneCycleLR": ["30 %", "linear, three phases"],
    "LambdaLR": ["Noam", "BERT", "0.97 every 2.4"],
    "SWALR": ["long"],
    "SequentialLR": [
        "torchvision: 5 epochs of linear warmup, then cosine",
        "Detectron2: 1000 iterations of warmup, then MultiStepLR on its own clock",
    ],
}
IN_EPOCHS = ["ResNet-50 on ImageNet", "torchvision's constant warmup"]


class Score(NamedTuple):
    """How near a library comes to torch, over some cases."""

    cases: int = 0
    near: int = 0
    """Cases of which every value is within 1e-6 of torch's."""
    values: int = 0
    same: int = 0
    """Values that are torch's to the last bit of float32."""
    worst: float = 0
    """The largest distance, in float32 steps; inf for NaN."""


def add(scores):
    *sums, worst = zip(*scores, strict=True)
    return Score(*map(sum, sums), max(worst))


def score(got, torch):
    """The score of one case: float32 values beside torch's doubles."""
    # Where torch's recursion should come to 0, it leaves a rounding error.
    torch = np.where((got == 0) & (abs(torch) < 1e-15 * abs(torch).max()), 0, torch)
    near = np.all(abs(got - torch) <= 1e-6 * abs(torch))  # NaN is not
    rounded = torch.astype(np.float32)
    distance = abs(_ordinal(got) - _ordinal(rounded)).max(initial=0)
    worst = np.inf if np.isnan(got).any() else int(distance)
    return Score(1, int(near), len(got), int((got == rounded).sum()), worst)


def _ordinal(values):
    """float32 values as integers, next to one another where the values are."""
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def fits_float32(kwargs, torch):
    size = abs(torch[torch != 0])
    return (
        np.isfinite(torch).all()
        and size.max(initial=1) < 1e38
        and size.min(initial=1) >= TINY
        and max(kwargs.get("milestones", []), default=0) < 2**31
    )


def program_of_braintools(class_name, kwargs):
    if in_braintools(class_name, kwargs) is None:
        return None
    return lambda counts: steps_of(in_braintools(class_name, kwargs), counts)


def program_of_jaxsched(class_name, kwargs):
    return jax.vmap(jaxsched(class_name, kwargs))


def program_of_optax(class_name, kwargs):
    schedule = in_optax(class_name, kwargs)
    return schedule and jax.vmap(schedule)


PROGRAMS = {
    "jaxsched": program_of_jaxsched,
    "optax": program_of_optax,
    "braintools": program_of_braintools,
}


def values(programs, lengths):
    """What each program gives, all of them compiled as one."""

    @jax.jit  # with the counts from outside, so that nothing is computed by the compiler
    def all_of_them(counts):
        return [program(counts[:n]) for program, n in zip(programs, lengths, strict=True)]

    got = all_of_them(jnp.arange(max(lengths, default=0)))
    return [np.asarray(v, np.float64) for v in got]


def on_traces(library, class_name):
    """A library's score over all cases of a class; None if it has none of them."""
    programs, torch = [], []
    for _, kwargs, expected in load(class_name):
        program = fits_float32(kwargs, expected) and PROGRAMS[library](class_name, kwargs)
        if program:
            programs.append(program)
            torch.append(expected)
    got = values(programs, [*map(len, torch)])
    return add(map(score, got, torch)) if programs else None


def all_traces(libraries):
    """{class_name: {library: its score}}."""
    return {
        name: {library: on_traces(library, name) for library in libraries} for name in cases.CASES
    }


def late_boundaries(make, lengths):
    """For each epoch length, how many of the first 100 boundaries are an update late."""
    late = []
    for first in range(0, len(lengths), 50):
        some = lengths[first : first + 50]  # are one program
        schedules = [make(length) for length in some]
        at = jnp.asarray(np.outer(some, EPOCHS), jnp.int32)
        program = jax.jit(lambda at: [jax.vmap(s)(a) for s, a in zip(schedules, at, strict=True)])
        late += [int((lrs > 0.5 ** (EPOCHS - 0.5)).sum()) for lrs in np.array(program(at))]
    return late


BOUNDARIES = {
    "jaxsched": lambda length: js.StepLR(1.0, length, 0.5),
    "optax": lambda length: optax.exponential_decay(1.0, length, 0.5, staircase=True),
}


def recipe_row(class_name, instead, name):
    """A recipe's name, counts, and how optax and jaxsched do on it."""
    kwargs, torch = next((kwargs, torch) for n, kwargs, torch in load(class_name) if n == name)
    ours = jaxsched(class_name, kwargs)
    if name in IN_EPOCHS:
        ours, torch = js.per_epoch(ours, UPDATES), np.repeat(torch, UPDATES)
        epochs = {"step_size", "milestones", "total_iters"} & kwargs.keys()
        in_updates = {k: (np.array(kwargs[k]) * UPDATES).tolist() for k in epochs}
        kwargs, name = kwargs | in_updates, f"{name}, x {UPDATES:,}"
    programs = [jax.vmap(s) for s in (in_optax(class_name, kwargs, instead), ours)]
    theirs, ours = values(programs, 2 * [len(torch)])
    far = abs(theirs - torch)
    off = ~(far <= 1e-6 * abs(torch))  # NaN is off
    positive = torch != 0
    same = [score(v, torch).same / len(torch) for v in (theirs, ours)]
    return [
        *(name, f"{len(torch):,}", f"{off.argmax():,}" if off.any() else "none", f"{off.sum():,}"),
        *(
            f"{np.max(far[positive] / abs(torch[positive])):.1e}",
            f"{far.max() / abs(torch).max():.1e}",
        ),
        *(f"{share:.2%}" for share in same),
    ]


def recipe_table():
    head = ["torch", "nearest in optax", "recipe", "counts", "first count off by 1e-6", "off"]
    head += ["largest, of the value", "of the highest", "identical, optax", "jaxsched"]
    rows = [head]
    for class_name, (label, _) in OPTAX.items():
        for name in RECIPES[class_name]:
            rows.append([class_name, label, *recipe_row(class_name, None, name)])
    for name in RECIPES["OneCycleLR"]:
        row = recipe_row("OneCycleLR", one_cycle_shorter, name)
        rows.append(["OneCycleLR", "the same, total_steps - 1", *row])
    return rows


def ulp(s):
    return "NaN" if np.isinf(s.worst) else f"{s.worst:,}"


def trace_rows(scores):
    """From accuracy.all_traces()."""
    total = {}
    for library in PROGRAMS:
        some = [s[library] for s in scores.values() if s.get(library)]
        if some:
            total[library] = add(some)
    ours = total.pop("jaxsched")

    def row(what, goal, met, show, number):
        beside = [f"{library}: {show(s)}{number(s)}" for library, s in total.items()]
        small = "; ".join([f"all{number(ours)}", *beside])
        return Row(f"torch's traces: {what}", show(ours), goal, met, small)

    return [
        row(
            *("cases within 1e-6", "100%", ours.near == ours.cases),
            lambda s: f"{s.near / s.cases:.0%}",
            lambda s: f" of {s.cases}",
        ),
        row(
            *("float32 bit-identical", "99.99%", ours.same >= 0.9999 * ours.values),
            lambda s: f"{s.same / s.values:.2%}",
            lambda s: f" of {s.values:,}",
        ),
        row("worst ULP", "1", ours.worst <= 1, ulp, lambda s: f" of {s.values:,}"),
    ]


def trace_table(scores):
    """From all_traces()."""
    heads = [f"{library}: within 1e-6, identical, worst ULP" for library in PROGRAMS]
    rows = [["torch", *heads]]
    for class_name, of in scores.items():
        cells = [
            f"{s.near} of {s.cases}, {s.same / s.values:.2%}, {ulp(s)}" if s else "none"
            for s in map(of.get, PROGRAMS)
        ]
        rows.append([class_name, *cells])
    return rows
