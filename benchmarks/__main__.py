"""jaxsched beside optax, torch and braintools: a ratio a row, with its goal.

    python -m benchmarks            all rows, 25 minutes; also writes benchmarks/RESULTS.md
    python -m benchmarks --short    the rows that need no clock; fails if one misses its goal

torch and braintools are measured where they are installed. All of it runs on the CPU; rows of TPU
and GPU are read off their own compilers' programs, where jax[tpu] and jax[cuda12] are installed.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import accelerators, accuracy, clock, program, timing, training
from benchmarks.family import VERSIONS, family, in_optax, jaxsched, torch
from benchmarks.table import Row, at_most, markdown, missed, seconds, table, with_small

STEPS = ["StepLR", *(f"MultiStepLR, {n} milestones" for n in (2, 8, 64, 512))]
STEP, TWO, EIGHT, MANY, MOST = STEPS
FORMULAS = ["CosineAnnealingLR", "PolynomialLR", "SWALR"]


def of(names, found):
    return {name: v for name, v in found.items() if name in names}


def but(names, found):
    return {name: v for name, v in found.items() if name not in names}


# -- rows without a clock ----------------------------------------------------------------------


def program_rows(found, growth):
    """From program.measure() and program.growth()."""
    beside = {name: (p.ours / p.optax, p.ours, p.optax) for name, p in found.items() if p.optax}
    constants = {k: (p.constants / 2**16, p.constants, 2**16) for k, p in found.items()}
    wrong = [f"{name}: {what}" for name, p in found.items() for what in p.wrong]
    adds = "HLO instructions that the schedule adds to an SGD update, over optax's"
    rows = [
        at_most(adds, 2, beside),
        at_most(f"{adds}, from 8 milestones on", 0.999, of([EIGHT, MANY, MOST], beside)),
        Row(
            "`while`, host callbacks, further transfers in an update with the schedule",
            *(str(len(wrong)), "none", not wrong),
            "; ".join(wrong) or f"{len(found)} schedules",
        ),
        at_most("bytes of constants in the program, over 64 KiB", 1, constants),
    ]
    # 512 milestones are 10 rounds of a search, 2 two comparisons; 16 members are 8 times as many.
    for (what, (ours, optax)), goal in zip(growth.items(), (6, 8), strict=True):
        name = f"optax: {optax[0]} over {optax[1]}; jaxsched"
        rows.append(at_most(f"HLO instructions, {what}", goal, {name: (ours[0] / ours[1], *ours)}))
    return rows


def boundary_row(lengths, libraries):
    late = {
        name: accuracy.late_boundaries(accuracy.BOUNDARIES[name], lengths) for name in libraries
    }
    total = sum(late["jaxsched"])
    small = "; ".join(
        f"{name}: {sum(n):,} of {len(n) * len(accuracy.EPOCHS):,}, in {sum(map(bool, n))} of "
        f"{len(n):,} epoch lengths"
        for name, n in late.items()
    )
    return Row(
        "late boundaries under jit, 100 of each epoch length", str(total), "0", not total, small
    )


# -- rows of a TPU's and a GPU's program -------------------------------------------------------


def on_accelerators():
    """{schedule: (ours, optax's)}: a TPU's programs, and the kernels of a GPU's update."""
    tpu, gpu = {}, {}
    for updates in (1000, 10**6):
        for name, description in family(updates).items():
            pair = [jaxsched(*description), in_optax(*description)]
            name = f"{name}, {updates:,} updates"
            if accelerators.HAS_TPU:
                tpu[name] = [s and accelerators.measure_on_tpu(s) for s in pair]
            if accelerators.HAS_CUDA:
                gpu[name] = [s and accelerators.kernels_of_update(s) for s in pair]
    return tpu, gpu


def is_table(name):
    class_name, updates = name.rsplit(", ", 1)
    schedule = jaxsched(*family(int(updates.split()[0].replace(",", "")))[class_name])
    return schedule._table(np.dtype(np.float32)) is not None


def tpu_rows(found):
    def most(what, goal, names):
        worst = max(names, key=lambda name: found[name][0].instructions)
        ours, optax = found[worst]
        small = f"{worst}; optax: {optax.instructions if optax else 'none'}"
        met = ours.instructions <= goal
        what = f"TPU: instructions beside a do-nothing program, {what}"
        return Row(what, str(ours.instructions), f"at most {goal}", met, small)

    own = [name for name in found if "LambdaLR" not in name]
    power = [name for name in own if "Polynomial" in name and not is_table(name)]
    constant, optax, ours = (
        accelerators.estimate(accelerators.train_step(lr, accelerators.tpu()))
        for lr in accelerators.STEP_LRS.values()
    )
    return [
        most("tables", 100, [name for name in own if is_table(name)]),
        most("formulas", 700, [n for n in own if not is_table(n) and n not in power]),
        most("a fractional power", 1000, power),
        Row(
            "TPU: examples/train.py's step on v5e:2x2 over one with a constant lr, estimated",
            *(f"{ours / constant:.4f}", "at most 1.02", ours <= 1.02 * constant),
            f"{seconds(ours)} over {seconds(constant)}; optax: {optax / constant:.4f}",
        ),
    ]


def tpu_trace_rows(scores):
    """From accelerators.trace_scores()."""
    rows = []
    for numbers in ("Python's numbers", "traced numbers"):
        ours = {c: s[numbers] for c, s in scores.items() if s.get(numbers)}
        worst = min(ours, key=lambda c: ours[c].same / ours[c].values)
        total = accuracy.add(ours.values())
        share = ours[worst].same / ours[worst].values
        small = f"{worst}; all: {total.same / total.values:.4%} of {total.values:,}"
        if numbers == "Python's numbers":
            optax = accuracy.add([s["optax"] for s in scores.values() if s.get("optax")])
            small += f"; optax: {optax.same / optax.values:.2%} of {optax.values:,}"
        what = f"TPU: torch's traces, float32 bit-identical, {numbers}"
        rows.append(Row(what, f"{share:.3%}", "99.99%", share >= 0.9999, small))
        what = f"TPU: torch's traces, worst ULP, {numbers}"
        rows.append(Row(what, accuracy.ulp(total), "1", total.worst <= 1))
    return rows


def accelerator_table(tpu, gpu):
    """Each cell: jaxsched's, optax's."""
    lines = [["", "instructions", "bytes of code", "to compile", "estimate", "GPU kernels"]]
    for name in tpu or gpu:
        columns = [["", ""]] * 4
        if tpu:
            show = (str, str, seconds, seconds)
            pair = tpu[name]
            columns = [[f(p[i]) if p else "" for p in pair] for i, f in enumerate(show)]
        kernels = [str(k or "") for k in gpu.get(name, ())]
        lines.append([name, *(", ".join(filter(None, c)) for c in [*columns, kernels])])
    return lines


# -- all rows ----------------------------------------------------------------------------------


def short():
    """For CI: structure and accuracy of jaxsched, fewer epoch lengths."""
    scores = accuracy.all_traces(["jaxsched"])
    return [
        *program_rows(program.measure(), program.growth()),
        *accuracy.trace_rows(scores),
        boundary_row(range(1001, 3000, 20), ["jaxsched"]),
    ]


def full():
    """All rows, and the tables behind them."""
    start = time.perf_counter()

    def run(measure, *arguments):
        found = measure(*arguments)
        name = f"{measure.__module__}.{measure.__name__}"
        print(f"{time.perf_counter() - start:4.0f} s  {name}", file=sys.stderr, flush=True)
        return found

    rows = []

    def row(what, goal, found, digits=2, limit=""):
        if found:
            rows.append(at_most(what, goal, found, seconds, digits, limit))
        else:
            rows.append(
                Row(what, "not measured", f"at most {goal}", None, "torch is not installed")
            )

    jitted = run(timing.jitted)
    row("jitted call, over a do-nothing jitted call", 1.15, but([MANY, MOST], jitted))
    row("the same with 64 milestones", 1.25, of([MANY], jitted))

    row("call with a JAX count outside of jit, over optax's", 1.0, run(timing.eager))

    host = run(timing.host_over_torch) if torch else {}
    what = "host call with a Python int, over torch's `scheduler.step()`"
    row(f"{what}: StepLR, MultiStepLR", 1.0, of(STEPS, host))
    row(f"{what}: the rest", 1.0, but(STEPS, host))
    host_optax = run(timing.host_over_optax)
    row("host call, over optax called with an int", 0.02, host_optax, 4)

    million = run(timing.million)
    what = "a million counts under vmap, over optax's float32"
    row(f"{what}: StepLR, 64 and 512 milestones", 1.0, of([STEP, MANY, MOST], million))
    row(f"{what}: 2 milestones", 4.0, of([TWO], million))
    row(f"{what}: 8 milestones", 3.0, of([EIGHT], million))
    row(f"{what}: StepLR and formulas", 1.5, of([STEP, *FORMULAS], million))
    row(f"{what}: the rest", 4.0, but([*STEPS, *FORMULAS], million))

    nothing = f"a program that does nothing takes {seconds(run(timing.compile_nothing))}"
    ours, optax = run(timing.compile_milestones)
    what = "trace + lower + compile with 512 milestones, over 2"
    row(what, 2.0, {f"optax: {optax.ratio:.1f}; jaxsched": ours}, limit=nothing)
    ours, optax = run(timing.compile_sequence)
    what = "SequentialLR of 16 members, over 2: trace + lower + compile"
    row(what, 4.0, {f"optax: {optax.ratio:.1f}; jaxsched": ours}, limit=nothing)

    programs = run(program.measure)
    rows += program_rows(programs, run(program.growth))

    names = ["StepLR", "MultiStepLR, 64 milestones", "PolynomialLR", "CosineAnnealingLR"]
    names += ["CosineAnnealingWarmRestarts", "OneCycleLR", "SequentialLR"]
    schedules = {name: jaxsched(*family(1000)[name]) for name in names}
    updates = run(timing.updates, schedules | timing.IDLE)
    nothing, itself = updates.pop("nothing").ratio, updates.pop("itself").ratio
    limit = f"optax.constant_schedule: {nothing:.3f}; the constant over itself: {itself:.3f}"
    what = "update of 4 million parameters with the schedule, over one with a constant lr"
    row(f"{what}, CPU", 1.02, updates, 3, limit)
    rows += run(training.rows)
    tpu, gpu = run(on_accelerators)
    if gpu:
        beside = {n: (ours / optax, ours, optax) for n, (ours, optax) in gpu.items() if optax}
        what = "GPU: kernels of an update of 8 x 8 parameters on an H100, over optax's"
        rows.append(at_most(what, 1, beside))
    if tpu:
        rows += [*run(tpu_rows, tpu), *tpu_trace_rows(run(accelerators.trace_scores))]

    sweep = {"StepLR": run(timing.sweep)}
    row("16-way sweep in one program, over 16 programs, compilation included", 0.25, sweep)

    imports = run(timing.imports)
    rows.append(
        Row(
            "`import jaxsched` after `import optax`",
            *(seconds(imports["jaxsched"]), "at most 20 ms", imports["jaxsched"] <= 0.02),
            f"{imports['jaxsched'] / imports['optax']:.3f} of `import optax`; "
            f"with the garbage collector off {seconds(imports['collector off'])}",
            f"1,000 empty lists in its place {seconds(imports['nothing'])}, for they set off the "
            "collection that is due by then",
        )
    )
    curve = run(timing.curve) if torch else {}
    row("curve of 225,000 updates for a plot, over torch stepping through it", 0.05, curve, 4)

    scores = run(accuracy.all_traces, accuracy.PROGRAMS)
    rows += accuracy.trace_rows(scores)
    rows.append(run(boundary_row, range(1000, 3000, 2), accuracy.BOUNDARIES))
    return rows, {
        "By schedule": by_schedule([jitted, host, host_optax, million], programs),
        "By class, on torch's stored traces": accuracy.trace_table(scores),
        "In the programs of a TPU (v5e) and a GPU (H100)": accelerator_table(tpu, gpu),
        "Recipes beside optax": run(accuracy.recipe_table),
    }


def by_schedule(timed, programs):
    head = ["", "jitted call over do-nothing", "host call over torch's step", "over optax's"]
    lines = [[*head, "a million counts over optax's", "instructions", "optax's", "bytes"]]
    for name in timed[0]:
        cells = [f[name] if name in f else None for f in timed]
        cells = [with_small(f"{v.ratio:.3f}", seconds(v.ours)) if v else "" for v in cells]
        p = programs.get(name)
        lines.append(
            [name, *cells, *map(str, [p.ours, p.optax or "", p.constants] if p else 3 * [""])]
        )
    return lines


# -- the report --------------------------------------------------------------------------------


def setting():
    """CPU model, cores, OS, load and versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            model = line.split(":")[1].strip()
    parts = [model, f"{os.cpu_count()} cores", f"{platform.system()} {platform.machine()}"]
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[1]:.1f}")
    parts += [
        f"{name} {v}" for name, v in {"CPython": platform.python_version(), **VERSIONS}.items()
    ]
    return ", ".join(filter(None, parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="no clock; fails if a goal is missed")
    is_short = parser.parse_args().short
    jax.config.update("jax_platforms", "cpu")
    np.seterr(all="ignore")  # values that float32 cannot hold are expected
    before = setting()
    rows, tables = (short(), {}) if is_short else full()
    wrong = missed(rows)
    report = f"{before}.\n\n{table(rows)}\nMissed: {'; '.join(wrong) or 'none'}.\n"
    print(report)
    if not is_short:
        parts = ["# jaxsched beside optax, torch and braintools\n", report]
        parts += [f"## {title}\n\n{markdown(lines)}" for title, lines in tables.items()]
        # What other machines wrote stays.
        others = clock.sections(clock.RESULTS.read_text()).values()
        clock.RESULTS.write_text("\n".join([*parts, *others]))
    return int(is_short and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
