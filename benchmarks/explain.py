"""What `compare` says of planted differences: `python -m benchmarks.explain`.

Each is one argument of a schedule that is other in the log, alone, behind a warmup, or in epochs.
It is named if the answer is one thing: that argument, or what gives the same run. It is wrong if
the schedule that is said does not give every row.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import jaxsched as js

COUNTS = np.arange(200)
CHANGES: list[tuple[Any, dict[str, list[Any]]]] = [
    (js.StepLR(0.1, 30), {"base_lr": [0.2, 0.03], "step_size": [31, 23, 50], "gamma": [0.5, 0.2]}),
    (
        js.MultiStepLR(0.1, [60, 120]),
        {"base_lr": [0.05], "milestones": [(60, 150), (50, 120), (60, 90, 120)], "gamma": [0.3]},
    ),
    (js.ConstantLR(0.1, 0.3, 40), {"factor": [0.5, 0.1], "total_iters": [55, 25]}),
    (
        js.LinearLR(0.1, 0.2, 1.0, 50),
        {"start_factor": [0.1, 0.001], "end_factor": [0.7], "total_iters": [60, 33]},
    ),
    (js.ExponentialLR(0.1, 0.95), {"base_lr": [0.3], "gamma": [0.97, 0.9]}),
    (js.PolynomialLR(0.1, 150), {"total_iters": [140, 180], "power": [0.9, 2.0]}),
    (js.CosineAnnealingLR(0.1, 100), {"T_max": [90, 120, 101], "eta_min": [0.001, 1e-5]}),
    (
        js.CosineAnnealingWarmRestarts(0.1, 30),
        {"T_0": [20, 31], "T_mult": [2, 3], "eta_min": [0.01]},
    ),
    (
        js.SWALR(0.1, 0.05, 60),
        {"swa_lr": [0.02], "anneal_epochs": [50, 80], "anneal_strategy": ["linear"]},
    ),
    (
        js.CyclicLR(0.01, 0.1, 20),
        {
            "base_lr": [0.02],
            "max_lr": [0.2],
            "step_size_up": [25, 15],
            "step_size_down": [30],
            "mode": ["triangular2"],
        },
    ),
    (
        js.OneCycleLR(0.1, 200),
        {
            "max_lr": [0.3],
            "total_steps": [250, 180],
            "pct_start": [0.4, 0.1],
            "anneal_strategy": ["linear"],
            "div_factor": [10.0],
            "final_div_factor": [100.0],
            "three_phase": [True],
        },
    ),
]
FORMS = ("doubles", "float32", "6 digits", "every 7th row")


class Planted(NamedTuple):
    where: str
    argument: str
    given: Any
    run: Any


def _behind_a_warmup(schedule: Any, top: float) -> Any:
    return js.SequentialLR([js.LinearLR(top, 0.01, total_iters=12), schedule], [12])


def planted() -> Iterator[Planted]:
    places = {
        "alone": lambda schedule, top: schedule,
        "behind a warmup": _behind_a_warmup,
        "in epochs": lambda schedule, top: js.per_epoch(schedule, 3),
    }
    for schedule, changes in CHANGES:
        for argument, values in changes.items():
            for value in values:
                other = dataclasses.replace(schedule, **{argument: value})
                for where, place in places.items():
                    top = schedule(0)
                    yield Planted(where, argument, place(schedule, top), place(other, top))


def recorded(run: Any, form: str) -> Any:
    lrs = run(np.arange(600))
    if form == "float32":
        return lrs.astype(np.float32)
    if form == "6 digits":
        return [f"{lr:.5e}" for lr in lrs]
    if form == "every 7th row":
        return {"step": np.arange(0, 600, 7), "lr": lrs[::7]}
    return lrs


def verdict(planted: Planted, form: str) -> str:
    """named, explained otherwise, not explained, wrong, or equal."""
    log = recorded(planted.run, form)
    comparison = js.compare(planted.given, log)
    if comparison.equal:
        return "equal"
    if not comparison.diagnoses:
        return "not explained"
    if comparison.schedule is not None and not js.compare(comparison.schedule, log).equal:
        return "wrong"
    named = f"another-{planted.argument.replace('_', '-')}"
    codes = [finding.code for finding in comparison.diagnoses]
    same = comparison.schedule is not None and np.allclose(
        comparison.schedule(COUNTS), planted.run(COUNTS), rtol=1e-5, atol=0
    )
    return "named" if codes == [named] or (same and len(codes) == 1) else "explained otherwise"


def main() -> None:
    for form in FORMS:
        start = time.perf_counter()
        each = [verdict(p, form) for p in planted()]
        seconds = (time.perf_counter() - start) / len(each)
        counted = ", ".join(f"{n} {what}" for what, n in Counter(each).most_common())
        print(f"{form}: {len(each)} planted, {counted}; {seconds:.2f} s each")


if __name__ == "__main__":
    main()
