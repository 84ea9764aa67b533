"""The machines of examples/resnet.py: hosts that end together, and TPUs that are only described."""

import contextlib
import math
import os
import re
import sys
import threading
import time
import traceback

import jax
import numpy as np
from jax._src.distributed import global_state  # Orbax takes the hosts' client from there, too
from jax.experimental import topologies


class Failure(Exception):
    """Ends the program with a line that says what is wrong."""

    def __init__(self, message, status=1):
        super().__init__(" ".join(str(message).split()))
        self.status = status


@contextlib.contextmanager
def ending_together():
    """An error on one host ends the program on all of them, and each says why.

    Else the others would wait in their next sum over all devices, for ever. A host that can say
    nothing, for it was killed, is missed by jax.distributed, after `heartbeat_timeout_seconds`.
    """
    client, is_done = global_state.client, threading.Event()
    if client is None:
        yield
        return

    def leave(why, status=1):
        os.write(sys.stderr.fileno(), f"\n{why}\n".encode())
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # one may be gone
            meet("all have said why", 30)
        if jax.process_index() == 0:
            time.sleep(2)  # the others end if they miss this one, which is less clear
        os._exit(status)  # at a usual exit jax.distributed waits for the others

    def watch():
        while not is_done.wait(1):
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is no such key yet
                leave(client.key_value_try_get("why"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        meet("the end", 3600)  # the log and the last checkpoint are written by then
    except BaseException as error:
        why = f"host {jax.process_index()}: {error}"
        if isinstance(error, jax.errors.JaxRuntimeError):
            why += " (Was another host killed? It may say more.)"
        elif not isinstance(error, Failure):
            traceback.print_exc()
            why = f"host {jax.process_index()}: {error!r}"
        is_done.set()
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another one was first
            client.key_value_set("why", why)
        leave(why, getattr(error, "status", 1))
    is_done.set()
    watcher.join()


def meet(where, seconds=600):
    """Waits until all hosts are there."""
    if global_state.client is not None:
        global_state.client.wait_at_barrier(where, 1000 * seconds)


def compiled_by_all(name, function):
    """A jitted function that no host runs before all have compiled it.

    They take different times, and Gloo, which joins the CPUs of hosts, waits 30 seconds.
    """
    programs = {}

    def call(*arguments):
        shapes = str(jax.tree.map(np.shape, arguments[-1]))  # those of the state stay
        if shapes not in programs:
            programs[shapes] = function.lower(*arguments).compile()
            meet(f"{name} {len(programs)}", 3600)
        return programs[shapes](*arguments)

    return function if jax.process_count() == 1 else call


FLAT = ["1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"]
DEEP = ["2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"]
DEEP += ["8x16x16"]
SLICES = {"v4": DEEP, "v5p": DEEP, "v5e": FLAT, "v6e": FLAT}


def slice_of_tpus(name):
    """Devices that are only described: the compiler needs no more."""
    chip, _, shape = name.partition(":")
    if shape not in SLICES.get(chip, []):
        known = "; ".join(f"{chip}:{', '.join(shapes)}" for chip, shapes in SLICES.items())
        raise Failure(f"argument --compile-for: there is no {name}, but {known}", 2)
    jax.config.update("jax_platforms", "cpu")
    # libtpu asks the machine otherwise, and waits for an answer.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    os.environ |= {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}
    os.environ |= {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # by processes of which none has a TPU
    # A chip has two cores there, which train as one device.
    as_one = {"chip_config_name": "megacore"} if SLICES[chip] is DEEP else {}
    try:
        return topologies.get_topology_desc(name, "tpu", **as_one).devices
    except (RuntimeError, ValueError) as error:
        raise Failure(f"argument --compile-for: needs jax[tpu]: {error}", 2) from None


def print_costs(ours, constant):
    """What the compiler says of an update, and of the same with a constant lr."""
    # The compiler counts -1 s for each of its calls named ConcatBitcast.
    seconds = [
        c.cost_analysis()["optimal_seconds"] + c.as_text().count('"ConcatBitcast"')
        for c in (ours, constant)
    ]
    instructions = [c.as_text().count(" = ") for c in (ours, constant)]
    memory, mib = ours.memory_analysis(), 2**20
    arguments = memory.argument_size_in_bytes
    peak = arguments + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    print(
        f"memory of a chip: {peak / mib:.1f} MiB, state and batch {arguments / mib:.1f} MiB of it"
    )
    print(f"an update: {seconds[0] * 1e6:.1f} us, as the compiler estimates")
    for kind in ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all"):
        found = re.findall(rf" = (.*?) {kind}(?:-start)?\(", ours.as_text())
        arrays = re.findall(r"[a-z](\d+)\[([\d,]*)\]", " ".join(found))
        sizes = [
            int(bits) // 8 * math.prod(map(int, n.split(",") if n else [])) for bits, n in arrays
        ]
        if found:
            print(f"{kind}: {len(found)} in an update, {sum(sizes) / 2**10:.1f} KiB")
    added, share = instructions[0] - instructions[1], seconds[0] / seconds[1] - 1
    print(
        f"the schedule adds to a constant lr: {added} of {instructions[0]:,} instructions, ", end=""
    )
    print(f"{share:+.3%} of the estimate")
