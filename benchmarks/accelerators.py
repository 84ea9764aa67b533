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
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

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
