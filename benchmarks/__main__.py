"""jaxsched beside optax, torch and braintools: a ratio a row, with its goal.

    python -m benchmarks            all rows, some minutes; also writes benchmarks/RESULTS.md
    python -m benchmarks --short    what needs no clock, about a minute; fails if a goal is missed

torch and braintools are measured where they are installed.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import accuracy, program, timing
from benchmarks.family import VERSIONS, torch

RESULTS = Path(__file__).parent / "RESULTS.md"
MANY = ["MultiStepLR, 64 milestones", "MultiStepLR, 512 milestones"]
FAST_IN_TORCH = ["StepLR", "MultiStepLR"]


class Row(NamedTuple):
    what: str
    goal: str
    measured: str
    small: str
    """The absolute figures, and which schedule they are of."""
    met: bool | None
    """None: not measured."""
    limit: str = ""
    """What a version that does nothing costs."""


def seconds(t):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if t >= size:
            return f"{t / size:.3g} {unit}"
    return f"{t / 1e-6:.3g} us"


def ratio_row(what, goal, found, limit="", decimals=2):
    """The highest of the ratios, against a goal; `found` holds a Versus for each name."""
    name, v = max(found.items(), key=lambda item: item[1].ratio)
    small = f"{name}: {seconds(v.ours)} over {seconds(v.theirs)}"
    measured = f"{v.ratio:.{decimals}f}"
    return Row(what, f"at most {goal}", measured, small, v.ratio <= goal, limit)


def starting_with(names, found):
    return {name: v for name, v in found.items() if name.split(",")[0] in names}


def without(names, found):
    return {name: v for name, v in found.items() if name not in names}


def not_measured(what, goal, why):
    return Row(what, goal, "not measured", why, None)


# -- rows without a clock ----------------------------------------------------------------------


def program_rows(found, growth):
    both = {name: (ours, theirs) for name, (ours, theirs, _, _) in found.items() if theirs}
    many = {name: n for name, n in both.items() if "," in name and int(name.split()[1]) >= 8}
    name, (ours, theirs) = max(both.items(), key=lambda item: item[1][0] / item[1][1])
    most, (our_most, their_most) = max(many.items(), key=lambda item: item[1][0] / item[1][1])
    wrong = [f"{name}: {w}" for name, (_, _, _, wrongs) in found.items() for w in wrongs]
    large, size = max(((name, size) for name, (_, _, size, _) in found.items()), key=lambda x: x[1])
    rows = [
        Row(
            "HLO instructions that the schedule adds to an SGD update, over optax's",
            "at most 2",
            f"{ours / theirs:.2f}",
            f"{name}: {ours} over {theirs}",
            ours <= 2 * theirs,
        ),
        Row(
            "the same, from 8 milestones on",
            "below 1",
            f"{our_most / their_most:.2f}",
            f"{most}: {our_most} over {their_most}",
            our_most < their_most,
        ),
        Row(
            "`while`, host callbacks, transfers in an update with a schedule",
            "none",
            str(len(wrong)),
            "; ".join(wrong) or f"{len(found)} schedules",
            not wrong,
        ),
        Row(
            "constants in the program, over 64 KiB",
            "at most 1",
            f"{size / program.CONSTANTS:.2f}",
            f"{large}: {size:,} bytes",
            size <= program.CONSTANTS,
        ),
    ]
    # A search of 10 rounds over one of 2, and 8 times the members.
    for (name, ((large, small), theirs)), goal in zip(growth.items(), (5, 8), strict=True):
        optax = f"{large} over {small} instructions; optax: {theirs[0]} over {theirs[1]}"
        rows.append(
            Row(
                f"HLO instructions, {name}",
                f"at most {goal}",
                f"{large / small:.2f}",
                optax,
                large <= goal * small,
            )
        )
    return rows


def trace_rows(scores):
    total = {}
    for library in accuracy.PROGRAMS:
        of = [s[library] for s in scores.values() if s.get(library)]
        if of:
            total[library] = of[0]
            for s in of[1:]:
                total[library] = total[library].plus(s)
    ours = total["jaxsched"]

    def others(text):
        return "; ".join(f"{k}: {text(s)}" for k, s in total.items() if k != "jaxsched")

    def row(what, goal, text, absolute, met):
        small = "; ".join(filter(None, [absolute, others(text)]))
        return Row(f"torch's traces: {what}", goal, text(ours), small, met)

    return [
        row(
            "cases within 1e-6",
            "100%",
            lambda s: f"{s.near / s.cases:.0%}" + ("" if s is ours else f" of {s.cases}"),
            f"{ours.near} of {ours.cases}",
            ours.near == ours.cases,
        ),
        row(
            "float32 bit-identical",
            "at least 99.99%",
            lambda s: f"{s.same / s.values:.2%}" + ("" if s is ours else f" of {s.values:,}"),
            f"{ours.same:,} of {ours.values:,}",
            ours.same >= 0.9999 * ours.values,
        ),
        row("worst, in float32 steps (ULP)", "at most 1", accuracy.steps, "", ours.worst <= 1),
    ]


def boundary_row(lengths, libraries):
    text = {}
    for library in libraries:
        late = accuracy.late_boundaries(accuracy.BOUNDARIES[library], lengths)
        tried = len(lengths) * len(accuracy.EPOCHS)
        text[library] = (
            sum(late),
            f"{sum(late):,} of {tried:,}, in {sum(map(bool, late))} of {len(lengths):,} lengths",
        )
    late, small = text.pop("jaxsched")
    beside = [f"{library}: {words}" for library, (_, words) in text.items()]
    return Row(
        "boundaries that are late, under jit", "0", str(late), "; ".join([small, *beside]), not late
    )


def short():
    """The rows for CI: structure and accuracy of jaxsched, no clock."""
    scores = {name: {"jaxsched": accuracy.on_traces("jaxsched", name)} for name in accuracy.CLASSES}
    return [
        *program_rows(program.measure(), program.growth()),
        *trace_rows(scores),
        boundary_row(np.arange(1001, 3000, 20), ["jaxsched"]),
    ]


# -- all rows ----------------------------------------------------------------------------------


def full():
    """All rows, in the order of their goals, and the tables behind them."""
    count = time.perf_counter
    start = count()

    def progress(what, result):
        print(f"{count() - start:4.0f} s  {what}", file=sys.stderr, flush=True)
        return result

    jitted = progress("jitted calls", timing.jitted())
    host_torch = progress("beside torch", timing.host_over_torch() if torch else {})
    host_optax = progress("beside optax", timing.host_over_optax())
    million = progress("a million counts", timing.million())
    compiled = progress("compilation", [timing.compile_milestones(), timing.compile_sequence()])
    nothing = seconds(timing.compile_nothing())
    structure = progress("programs", program.measure())
    updates = progress("updates", timing.updates())
    sweep = progress("sweep", timing.sweep())
    imports = progress("import", timing.imports())
    curve = progress("curve", timing.curve() if torch else {})
    scores = {
        name: {library: accuracy.on_traces(library, name) for library in accuracy.PROGRAMS}
        for name in accuracy.CLASSES
    }
    progress("torch's traces", scores)
    boundary = boundary_row(np.arange(1000, 3000, 2), accuracy.BOUNDARIES)
    recipes = progress("boundaries and recipes", accuracy.recipe_table())

    rows = [
        ratio_row("jitted call, over a do-nothing jitted call", 1.15, without(MANY, jitted)),
        ratio_row("the same, 64 milestones", 1.25, {MANY[0]: jitted[MANY[0]]}),
    ]
    step = "host call with a Python int, over torch's `scheduler.step()`"
    if torch:
        fast = starting_with(FAST_IN_TORCH, host_torch)
        rows += [
            ratio_row(f"{step}: StepLR, MultiStepLR", 1.0, fast),
            ratio_row(f"{step}: the rest", 2.0, without(fast, host_torch)),
        ]
    else:
        rows.append(not_measured(step, "at most 1.0", "torch is not installed"))
    rows.append(ratio_row("host call, over optax called with an int", 0.02, host_optax, "", 4))
    names = {1.0: ["StepLR", *MANY], 4.0: ["MultiStepLR, 2 milestones"]}
    names[3.0] = ["MultiStepLR, 8 milestones"]
    listed = [name for some in names.values() for name in some]
    for goal, some in [*names.items(), (4.0, [*without(listed, million)])]:
        what = "the smooth ones" if len(some) > 3 else "; ".join(some).replace("MultiStepLR, ", "")
        what = f"a million counts under vmap, over optax's float32: {what}"
        rows.append(ratio_row(what, goal, {name: million[name] for name in some}))
    whats = ["trace + lower + compile, 512 milestones over 2", "SequentialLR of 16 members over 2"]
    for what, goal, (ours, theirs) in zip(whats, (2.5, 4.0), compiled, strict=True):
        row = ratio_row(what, goal, {f"optax {theirs.ratio:.1f}; jaxsched": ours})
        rows.append(row._replace(limit=f"a program that does nothing: {nothing}"))
    rows += program_rows(structure, program.growth())
    limit = updates.pop("nothing").ratio
    what = "update of a million parameters with the schedule, over one with a constant lr"
    rows += [
        ratio_row(what, 1.02, updates, f"constant over constant: {limit:.3f}", 3),
        not_measured("the same on a GPU, and kernels", "at most 1.01", "no GPU was at hand"),
        ratio_row(
            "16-way sweep in one program, over 16 programs, compiled and run",
            0.25,
            {"StepLR": sweep},
        ),
        Row(
            "`import jaxsched` after `import optax`",
            "at most 20 ms",
            seconds(imports["import"]),
            f"{imports['import'] / imports['optax']:.3f} of `import optax`; without the garbage "
            f"collection that is then due: {seconds(imports['without the collector'])}",
            imports["import"] <= 0.02,
            f"1,000 empty lists instead, which set it off too: {seconds(imports['nothing'])}",
        ),
    ]
    what = "a curve of 225,000 updates for a plot, over torch stepping through it"
    if torch:
        rows.append(ratio_row(what, 0.05, curve, "", 4))
    else:
        rows.append(not_measured(what, "at most 0.05", "torch is not installed"))
    rows += [*trace_rows(scores), boundary]
    return rows, [
        ("By schedule", by_schedule(jitted, host_torch, host_optax, million, structure)),
        ("torch's stored traces", accuracy.trace_table(scores)),
        ("Recipes beside optax", recipes),
    ]


def by_schedule(jitted, host_torch, host_optax, million, structure):
    head = ["", "jitted call over do-nothing", "host call over torch's step"]
    head += ["over optax with an int", "a million counts over optax", "instructions", "optax's"]
    rows = [[*head, "bytes of constants"]]
    for name, v in jitted.items():
        timed = [v, *(of.get(name) for of in (host_torch, host_optax, million))]
        cells = [f"{v.ratio:.3f}<br><sub>{seconds(v.ours)}</sub>" if v else "" for v in timed]
        ours, theirs, size, _ = structure.get(name, ("", "", "", ""))
        rows.append([name, *cells, str(ours), str(theirs or ""), str(size)])
    return rows


# -- tables ------------------------------------------------------------------------------------


def markdown(rows):
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def table(rows):
    lines = [["what", "measured", "goal", "met"]]
    for row in rows:
        met = {True: "yes", False: "**missed**", None: ""}[row.met]
        if row.met is False and row.limit:
            met += f"<br><sub>limit: {row.limit}</sub>"
        measured = f"{row.measured}<br><sub>{row.small}</sub>"
        lines.append([row.what, measured, row.goal, met])
    return markdown(lines)


def missed(rows):
    return [row.what for row in rows if row.met is False]


def machine():
    """CPU model, cores and OS."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
    cores = f"{os.cpu_count()} cores"
    return ", ".join(filter(None, [model, cores, f"{platform.system()} {platform.machine()}"]))


def versions():
    found = {"CPython": platform.python_version(), **VERSIONS}
    return ", ".join(f"{name} {version}" for name, version in found.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="no clock; fails if a goal is missed")
    is_short = parser.parse_args().short
    jax.config.update("jax_platforms", "cpu")
    rows, details = (short(), []) if is_short else full()
    head = f"{machine()}. {versions()}.\n\n{table(rows)}"
    verdict = f"Missed: {'; '.join(missed(rows)) or 'none'}.\n"
    print(f"{head}\n{verdict}")
    if is_short:
        return min(len(missed(rows)), 1)
    parts = [f"# jaxsched beside optax, torch and braintools\n\n{head}\n{verdict}"]
    parts += [f"## {title}\n\n{markdown(lines)}" for title, lines in details]
    RESULTS.write_text("\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
