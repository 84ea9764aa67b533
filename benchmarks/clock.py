"""jaxsched beside optax on the device that JAX finds, by its own arithmetic and by the clock.

`benchmarks.gpu` and `benchmarks.tpu` run it where there is such a device. Beside jax it needs
optax, flax, grain, orbax-checkpoint and what they need. Each part stands for itself: one that
fails, or finds the time over, leaves a row that says so.
"""

import functools
import importlib
import platform
import re
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import accuracy, timing
from benchmarks.accelerators import STEP_LRS
from benchmarks.family import family, in_optax, jaxsched
from benchmarks.table import Row, at_most, missed, seconds, table
from tests.traces import cases

RESULTS = Path(__file__).parent / "RESULTS.md"
LIMIT = 330  # seconds, of six minutes
NAMES = ["StepLR", "MultiStepLR, 64 milestones", "CosineAnnealingLR", "OneCycleLR", "SequentialLR"]
MODULES = {  # of examples/, which only read and draw with them
    "matplotlib": ["figure", "ticker"],
    "tensorboardX": ["event_file_writer", "summary", "writer"],
    "tqdm": [],
    "PIL": [],
}


def pairs():
    """{name: (ours, optax's)}."""
    found = {name: family(1000)[name] for name in NAMES}
    return {name: (jaxsched(*d), in_optax(*d)) for name, d in found.items()}


def beside(what, goal, ours, theirs, digits=3, limit=""):
    """Of two {name: Versus} the highest of ours against the goal, and optax's highest beside it."""
    row = at_most(what, goal, ours, seconds, digits, limit)
    name, v = max(theirs.items(), key=lambda item: item[1].ratio)
    return row._replace(small=f"{row.small}; optax: {v.ratio:.{digits}f} ({name})")


# -- the parts -----------------------------------------------------------------------------------


def traces(is_over=lambda: False, names=tuple(cases.CASES)):
    """torch's stored traces through the device's own arithmetic, all counts in one program."""
    scores = {}
    for name in names:
        if scores and is_over():
            break
        scores[name] = {of: accuracy.on_traces(of, name) for of in ("jaxsched", "optax")}
    rows = accuracy.trace_rows(scores)
    some = "" if len(scores) == len(names) else f"; {len(scores)} of {len(names)} classes"
    return [row._replace(small=row.small + some) for row in rows]


def updates(rounds=301, size=2000):
    ours = {name: schedule for name, (schedule, _) in pairs().items()}
    theirs = {f"optax, {name}": schedule for name, (_, schedule) in pairs().items()}
    found = timing.updates(ours | theirs | timing.IDLE, rounds, size)
    nothing, itself = found["nothing"].ratio, found["itself"].ratio
    limit = f"optax.constant_schedule: {nothing:.3f}; the constant over itself: {itself:.3f}"
    what = "update of 4 million parameters with the schedule, over one with a constant lr"
    sides = [{name: found[name] for name in names} for names in (ours, theirs)]
    return [beside(what, 1.01, *sides, limit=limit)]


def jitted(rounds=301):
    count = jnp.int32(400)

    def over_nothing(schedule):
        sides = timing.call(schedule, count), timing.call(timing.nothing, count)
        return timing.versus(*sides, rounds, 0.002)

    sides = [{n: over_nothing(pair[i]) for n, pair in pairs().items()} for i in (0, 1)]
    return [beside("jitted call, over a do-nothing jitted call", 1.15, *sides, 2)]


def eager(rounds=15):
    count, params = jnp.int32(400), jnp.ones(3)
    found = {
        name: timing.versus(*(functools.partial(s, count) for s in pair), rounds)
        for name, pair in pairs().items()
    }
    update = [timing._eager_update(STEP_LRS[of], params) for of in ("jaxsched", "optax")]
    found["a whole update"] = timing.versus(*update, rounds)
    what = "call with a JAX count outside of jit, over optax's"
    return [at_most(what, 1.0, found, seconds)]


def train(rounds=15, batches=22):
    """An epoch of examples/train.py: its network, its step, its way to the devices."""
    module, nnx = example("train"), importlib.import_module("flax.nnx")
    rng = np.random.default_rng(0)
    images = rng.random((batches, 64, 8, 8, 1), np.float32)
    labels = rng.integers(0, 10, (batches, 64)).astype(np.int32)
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))

    def side(lr):
        model = module.Net(nnx.Rngs(0))
        sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=lr, momentum=0.9)
        tx = optax.chain(optax.add_decayed_weights(5e-4), sgd)
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

        def epoch():
            for batch in zip(images, labels, strict=True):
                loss = module.train_step(model, optimizer, *module.to_devices(batch, split))
            return jax.block_until_ready(loss)

        return epoch

    constant = side(STEP_LRS["constant"])
    found = {
        of: timing.versus(side(STEP_LRS[of]), constant, rounds, 0) for of in ("jaxsched", "optax")
    }
    sides = [{"MultiStepLR": found[of]} for of in ("jaxsched", "optax")]
    what = f"examples/train.py: an epoch of {batches} updates, over one with a constant lr"
    return [beside(what, 1.02, *sides)]


def resnet(rounds=11, dispatches=(1, 20), batch=128, width=16):
    """examples/resnet.py, ResNet-8 on images as its digits are: 32 x 32."""
    module, parts = example("resnet"), example("resnet_parts")
    line = ["--depth", "8", "--width", str(width), "--batch-size", str(batch)]
    args = module.make_parser().parse_args(line)
    nothing = parts.Images(None, None)
    of_digits = ("digits", nothing, nothing, 10, False, 32, 4, False, (0.3,) * 3, (0.38,) * 3, {})
    rng = np.random.default_rng(0)

    def side(lr, number):
        data = parts.DataSet(*of_digits)
        program = module.Program(args, data, jax.devices()[:1], lr)
        images = rng.integers(0, 256, (number, batch, 32, 32, 3), np.uint8)
        labels = rng.integers(0, 10, (number, batch)).astype(np.int32)
        state = program.initial()

        def run():
            nonlocal state
            chunk = [jax.device_put(a, program.split_many) for a in (images, labels)]
            state, *more = program.updates(state, chunk)
            return jax.block_until_ready(more)

        return run

    rows = []
    for number in dispatches:
        # The constant is a schedule of optax, for the example reads the lr where schedules are.
        constant = side(optax.constant_schedule(0.05), number)
        found = [
            timing.versus(side(STEP_LRS[of], number), constant, rounds, 0)
            for of in ("jaxsched", "optax")
        ]
        images = " and ".join(f"{number * batch / v.ours:,.0f}" for v in found)
        what = f"examples/resnet.py on digits, updates in a dispatch: {number}; over a constant lr"
        row = beside(what, 1.02, *({"ResNet-8": v} for v in found))
        rows.append(row._replace(small=f"{row.small}; {images} images a second"))
    return rows


PARTS = [updates, jitted, eager, train, resnet, traces]


def example(name):
    """A module of examples/, also where what it draws with and reads with is not installed."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    for package in ("flax.nnx", "grain", "orbax.checkpoint"):  # while nothing is made up
        importlib.import_module(package)
    missing = {}
    for package in MODULES:
        try:
            importlib.import_module(package)
        except ImportError:
            modules = (package, *(f"{package}.{m}" for m in MODULES[package]))
            missing |= {module: mock.MagicMock() for module in modules}
    before = {module: sys.modules[module] for module in missing if module in sys.modules}
    sys.modules.update(missing)
    try:
        return importlib.import_module(name)
    finally:
        for module in missing:
            del sys.modules[module]
        sys.modules.update(before)


# -- the report ----------------------------------------------------------------------------------


def rows_of(parts, limit=LIMIT):
    """All rows, whatever happens; and whether something did."""
    start, rows, is_whole = time.monotonic(), [], True

    def seconds_left():
        return limit - (time.monotonic() - start)

    for part in parts:
        try:
            if seconds_left() < 0:
                raise TimeoutError(f"after {limit} s")
            more = (lambda: seconds_left() < 0,) if part is traces else ()
            rows += part(*more)
        except Exception as error:  # the other parts are worth their rows all the same
            traceback.print_exc()
            is_whole = False
            rows.append(Row(part.__name__, "not measured", "", None, f"{type(error).__name__}"))
        print(f"{time.monotonic() - start:4.0f} s  {part.__name__}", file=sys.stderr, flush=True)
    return rows, is_whole


def setting():
    """Device and versions."""
    device = jax.devices()[0]
    parts = [device.device_kind, getattr(device.client, "platform_version", "").split("\n")[0]]
    parts += [f"{platform.system()} {platform.machine()}", f"CPython {platform.python_version()}"]
    for name in ("jax", "jaxlib", "optax", "flax", "grain", "orbax-checkpoint"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed")
    return ", ".join(filter(None, parts))


def heading(kind):
    return f"## On a {kind.upper()}, by the clock"


def section(kind, text):
    return f"{heading(kind)}\n\n`python -m benchmarks.{kind}`: {text.rstrip()}\n"


def without_device(kind):
    return section(kind, f"not measured, for no {kind.upper()} was at hand.")


def sections(report, kinds=("gpu", "tpu")):
    """What is in RESULTS.md of other machines, which `python -m benchmarks` leaves there."""
    found = {}
    for kind in kinds:
        match = re.search(rf"^{heading(kind)}\n.*?(?=^## |\Z)", report, re.MULTILINE | re.DOTALL)
        found[kind] = f"{match.group().rstrip()}\n" if match else without_device(kind)
    return found


def main(kind, parts=PARTS, path=RESULTS):
    """Measures, prints and writes the rows; the status is 2 if there is no such device."""
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        found = f"nothing: {error}"
    if found != kind:
        print(f"JAX sees no {kind.upper()} here, but {found}: not measured", file=sys.stderr)
        return 2
    np.seterr(all="ignore")  # values that float32 cannot hold are expected
    before = setting()
    with jax.numpy_dtype_promotion("standard"):
        rows, is_whole = rows_of(parts)
    text = f"{before}.\n\n{table(rows)}\nMissed: {'; '.join(missed(rows)) or 'none'}."
    print(text)
    report = path.read_text()
    old = sections(report, [kind])[kind]
    new = section(kind, text)
    path.write_text(report.replace(old, new) if old in report else f"{report.rstrip()}\n\n{new}")
    return 0 if is_whole else 1
