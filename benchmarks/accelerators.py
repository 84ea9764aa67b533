"""The programs of a TPU and of a GPU, made by XLA's own compilers for them, without the hardware.

`pip install 'jax[tpu]'` brings the one for TPU, `'jax[cuda12]'` the one for GPU. Both compile for a
machine that is only described, and the program says how many instructions or kernels it has. What
time it would take is the compiler's estimate; no clock of an accelerator is read.

The TPU's optimized program holds 32-bit types only, float64 being pairs of float32 by then, so that
the CPU can run it: `run_on_cpu`. A TPU's own float32 division may round otherwise than the CPU's.
"""

import functools
import importlib.util
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import jaxsched as js
from benchmarks import accuracy
from benchmarks.family import in_optax, jaxsched
from benchmarks.timing import nothing
from tests.traces import cases, load

HAS_TPU = importlib.util.find_spec("libtpu") is not None
HAS_CUDA = importlib.util.find_spec("jax_cuda12_plugin") is not None
H100 = Path(__file__).with_name("h100.txtpb")


@functools.cache
def tpu(name: str = "v5e:2x2") -> Any:
    """A slice of TPUs."""
    # libtpu asks the machine otherwise, and waits for an answer.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"
    os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # by processes of which none has a TPU
    return topologies.get_topology_desc(topology_name=name, platform="tpu")


@functools.cache
def gpu() -> Any:
    """An H100."""
    return topologies.get_topology_desc(
        topology_name="1x1x1",
        platform="cuda",
        topology="1x1x1",
        target_config=H100.read_text(),
    )


def compile_for(machine: Any, function: Any, *arguments: Any) -> jax.stages.Compiled:
    """`function` of arguments like these, compiled for one device of that machine."""
    sharding = SingleDeviceSharding(machine.devices[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype, sharding=sharding),
        arguments,
    )
    return jax.jit(function, keep_unused=True).lower(*shapes).compile()


def kernels(compiled: jax.stages.Compiled) -> list[str]:
    """What a GPU's program launches: every operation that is no parameter, constant or tuple."""
    text = compiled.as_text()
    entry = text[text.index("\nENTRY") :]
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
    return [name for name in re.findall(r" = .*? ([a-z][\w-]*)\(", entry) if name not in free]


def text_for_cpu(compiled: jax.stages.Compiled) -> str:
    """A TPU's optimized program, without what is about the TPU."""
    from jaxlib import _hlo

    options = _hlo.HloPrintOptions.short_parsable()
    options.print_large_constants = True
    options.print_metadata = options.print_backend_config = False
    (module,) = compiled.runtime_executable().hlo_modules()
    _, _, text = module.to_string(options).partition("\n")
    for pattern, by in [
        (r", sharding=\{.*?\}(?=,|$)|, frontend_attributes=\{.*\}", ""),
        (r"\{:[^{}]*\}", ""),  # tilings and memory spaces, of scalars and of arrays
        (r"\{([\d,]+):[^{}]*\}", r"{\1}"),
        (r"= \((\S+), \S+, \S+\) copy-start\(", r"= \1 copy("),
        (r" copy-done\(", " copy("),
        (r" bitcast\(", " reshape("),
        (r' custom-call\((\S+)\), custom_call_target="AssumeGatherIndicesInBound".*', r" copy(\1)"),
        (r" fusion\((.*?)\), kind=\w+,(.*?)calls=", r" call(\1),\2to_apply="),
    ]:
        text = re.sub(pattern, by, text, flags=re.MULTILINE)
    return f"HloModule program\n{text}"


def run_on_cpu(compiled: jax.stages.Compiled) -> Any:
    """A TPU's optimized program as a function of arrays, which the CPU runs: a list of results."""
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jax._src.lib.mlir import ir
    from jaxlib import _hlo

    module = _hlo.hlo_module_from_text(text_for_cpu(compiled))
    stablehlo = _jax.mlir.hlo_to_stablehlo(module.as_serialized_hlo_module_proto())
    (device,) = devices = jax.devices("cpu")[:1]
    with mlir.make_ir_context():
        program = device.client.compile_and_load(
            ir.Module.parse(stablehlo),
            xla_client.DeviceList(tuple(devices)),
            xla_client.CompileOptions(),
        )

    def run(*arguments):
        results = program.execute_sharded([jax.device_put(a, device) for a in arguments])
        return [np.asarray(r[0]) for r in results.disassemble_into_single_device_arrays()]

    return run


# -- programs ----------------------------------------------------------------------------------


def instructions(compiled: jax.stages.Compiled) -> int:
    """Of an optimized program, those inside of fusions too."""
    return len(re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = ", compiled.as_text(), re.MULTILINE))


def added_on_tpu(schedule: Any) -> int:
    """Instructions of a schedule's program beside those of one that does nothing."""
    return instructions(alone(schedule)) - instructions(alone(nothing))


def alone(schedule: Any) -> jax.stages.Compiled:
    return compile_for(tpu(), schedule, np.int32(0))


class OnTpu(NamedTuple):
    """A schedule's program beside one that does nothing."""

    instructions: int
    code: int
    """Bytes."""
    compiling: float
    """Seconds to trace, lower and compile, of both."""
    estimate: float
    """Seconds, the compiler's."""


def measure_on_tpu(schedule: Any) -> OnTpu:
    none = alone(nothing)
    start = time.perf_counter()
    compiled = alone(schedule)
    compiling = time.perf_counter() - start
    code = [c.memory_analysis().generated_code_size_in_bytes for c in (compiled, none)]
    return OnTpu(
        *(instructions(compiled) - instructions(none), code[0] - code[1], compiling),
        estimate(compiled) - estimate(none),
    )


def update(lr: Any, size: int) -> tuple[Any, tuple]:
    """An SGD update of one square matrix."""
    tx, params = optax.sgd(lr), np.ones((size, size), np.float32)

    def sgd(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return sgd, (params, tx.init(params), params)


def kernels_of_update(lr: Any, size: int = 8) -> int:
    function, arguments = update(lr, size)
    return len(kernels(compile_for(gpu(), function, *arguments)))


STEP_LRS = {
    "constant": 0.05,
    "optax": optax.piecewise_constant_schedule(0.05, {15 * 22: 0.1, 25 * 22: 0.1}),
    "jaxsched": js.per_epoch(js.MultiStepLR(0.05, [15, 25]), 22),
}


def train_step(lr: Any, machine: Any) -> jax.stages.Compiled:
    """The step of examples/train.py, for all devices of a machine."""
    from flax import nnx

    from examples import train

    sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=lr, momentum=0.9)
    tx = optax.chain(optax.add_decayed_weights(5e-4), sgd)
    model = train.Net(nnx.Rngs(0))
    graph, state = nnx.split((model, nnx.Optimizer(model, tx, wrt=nnx.Param)))

    def step(state, images, labels):
        model, optimizer = nnx.merge(graph, state)
        loss = train.train_step.__wrapped__(model, optimizer, images, labels)
        return nnx.state((model, optimizer)), loss

    mesh = Mesh(machine.devices, ("data",))
    batch = (np.zeros((64, 8, 8, 1), np.float32), np.zeros(64, np.int32))

    def like(tree, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    return jax.jit(step).lower(like(state), *like(batch, "data")).compile()


def estimate(compiled: jax.stages.Compiled) -> float:
    """Seconds that a TPU's program takes, as its compiler estimates."""
    return compiled.cost_analysis()["optimal_seconds"]


# -- torch's traces, by the TPU's program ------------------------------------------------------

_BLOCK = 1024


def on_tpu(schedules: list[Any], lengths: list[int]) -> list[np.ndarray]:
    """The first values of schedules with Python's numbers, by one program."""

    def program(counts):
        return [schedule(counts[:n]) for schedule, n in zip(schedules, lengths, strict=True)]

    counts = np.arange(max(lengths), dtype=np.int32)
    return run_on_cpu(compile_for(tpu(), program, counts))(counts)


def on_tpu_traced(schedules: list[Any], lengths: list[int]) -> list[np.ndarray]:
    """The same with all numbers traced: doubles as two float32, as the TPU has them."""
    programs, found = {}, []
    for schedule, length in zip(schedules, lengths, strict=True):
        leaves, structure = jax.tree.flatten(schedule)
        kinds = tuple(map(type, leaves))
        numbers = []
        for leaf in leaves:
            if isinstance(leaf, float):
                numbers += [np.float32(leaf), np.float32(leaf - float(np.float32(leaf)))]
            else:
                numbers.append(np.int32(leaf))

        def program(counts, *numbers, kinds=kinds, structure=structure):
            rest = iter(numbers)
            with jax.enable_x64(True):
                leaves = [
                    next(rest).astype(jnp.float64) + next(rest).astype(jnp.float64)
                    if kind is float
                    else next(rest)
                    for kind in kinds
                ]
            return jax.tree.unflatten(structure, leaves)(counts)

        counts = np.arange(-(-length // _BLOCK) * _BLOCK, dtype=np.int32).reshape(-1, _BLOCK)
        if (structure, kinds) not in programs:
            compiled = compile_for(tpu(), program, counts[0], *numbers)
            programs[structure, kinds] = run_on_cpu(compiled)
        run = programs[structure, kinds]
        found.append(np.concatenate([run(block, *numbers)[0] for block in counts])[:length])
    return found


def scores_on_tpu(
    class_name: str, run: Any = on_tpu, least: float = 0, make: Any = jaxsched
) -> list[accuracy.Score]:
    """How near torch's traces of a class the TPU's program comes: a score for each case.

    Left out are a user's own functions, numbers that float32 cannot hold, and values below `least`.
    """
    schedules, traces = [], []
    has_momentum = make is jaxsched and class_name in ("CyclicLR", "OneCycleLR")
    for key in ("lr", "momentum") if has_momentum else ("lr",):
        for _, kwargs, torch in load(class_name, key):
            is_own = not any(member._is_traced for member in jaxsched(class_name, kwargs)._walk())
            schedule = is_own and accuracy.fits_float32(kwargs, torch) and make(class_name, kwargs)
            if schedule:
                schedules.append(schedule if key == "lr" else schedule.momentum)
                traces.append(torch)
    found = []
    values = run(schedules, [*map(len, traces)]) if schedules else []
    for got, torch in zip(values, traces, strict=True):
        kept = (abs(torch) >= least) | (torch == 0)
        found.append(accuracy.score(np.asarray(got, np.float64)[kept], torch[kept]))
    return found


def trace_scores() -> dict[str, dict[str, accuracy.Score]]:
    """{class_name: {"Python's numbers", "traced numbers", "optax": the score}}, of those it has."""
    found = {}
    for name in cases.CASES:
        # Numbers that are traced are two float32 there. Below 1e-30 the second one is lost.
        least = 1e-30 if name in ("MultiplicativeLR", "ChainedScheduler") else 0
        scores = {
            "Python's numbers": scores_on_tpu(name),
            "traced numbers": scores_on_tpu(name, on_tpu_traced, least),
            "optax": scores_on_tpu(name, on_tpu_optax, make=in_optax),
        }
        found[name] = {what: accuracy.add(s) for what, s in scores.items() if s}
    return found


def on_tpu_optax(schedules: list[Any], lengths: list[int]) -> list[np.ndarray]:
    # One by one, since of many the compiler makes calls that the CPU's does not read.
    return [
        on_tpu([jax.vmap(schedule)], [length])[0]
        for schedule, length in zip(schedules, lengths, strict=True)
    ]
