"""Schedules planted in logs, and what `identify` reads: python -m benchmarks.identify

Recipes are what people write. Random runs are of every class, alone, behind a warmup, multiplied,
held and per epoch. Noise is no schedule.
"""

import random
import time
from collections import Counter

import numpy as np

import jaxsched as js

RECIPES = {  # and how many rows the log has
    "StepLR(0.1, 30)": 120,
    "StepLR(0.045, 2, 0.94)": 300,
    "MultiStepLR(0.1, [30, 60, 80])": 90,
    "MultiStepLR(0.1, [100, 150])": 200,
    "MultiStepLR(0.1, [60, 120, 160], 0.2)": 200,
    "ConstantLR(0.05, 0.5, 4)": 20,
    "LinearLR(5e-05, 0.0, total_iters=100)": 1000,
    "LinearLR(0.1, 1.0, 0.01, 80)": 100,
    "ExponentialLR(0.1, 0.95)": 60,
    "PolynomialLR(0.01, 100, 0.9)": 100,
    "PolynomialLR(0.02, 150, 2.0)": 160,
    "CosineAnnealingLR(0.1, 200)": 200,
    "CosineAnnealingLR(0.001, 90, 1e-05)": 90,
    "clamp(CosineAnnealingLR(0.1, 50), 50)": 80,
    "CosineAnnealingWarmRestarts(0.05, 10, 2)": 150,
    "CosineAnnealingWarmRestarts(0.1, 50, 1, 0.001)": 200,
    "CyclicLR(0.001, 0.1, 200)": 2000,
    "CyclicLR(0.0001, 0.006, 100, 150, 'triangular2')": 1200,
    "CyclicLR(0.001, 0.01, 200, None, 'exp_range', 0.9995)": 2000,
    "OneCycleLR(0.1, 1000)": 1000,
    "OneCycleLR(0.01, 500, pct_start=0.2, div_factor=10.0)": 500,
    "OneCycleLR(0.4, 300, anneal_strategy='linear', three_phase=True)": 300,
    "SWALR(0.1, 0.05)": 40,
    "SequentialLR([LinearLR(0.1, 0.01, total_iters=5), CosineAnnealingLR(0.1, 85)], [5])": 90,
    "SequentialLR([LinearLR(0.5, 0.01, total_iters=5), MultiStepLR(0.5, [25, 55, 75])], [5])": 90,
    "SequentialLR([ConstantLR(0.1, 0.1, 5), CosineAnnealingLR(0.1, 85)], [5])": 90,
    "SequentialLR([LinearLR(5e-05, 0.0, total_iters=100), PolynomialLR(5e-05, 900)], [100])": 1000,
    "SequentialLR([LinearLR(5e-05, 0.0, total_iters=100), CosineAnnealingLR(5e-05, 900)], [100])": (
        1000
    ),
    "SequentialLR([LinearLR(0.0003, 0.01, total_iters=100), ConstantLR(0.0003, 1.0, 1), "
    "LinearLR(0.0003, 1.0, 0.1, 200)], [100, 800])": 1100,
    "SequentialLR([LinearLR(0.1, 0.1, total_iters=4), ExponentialLR(0.1, 0.9)], [4])": 50,
    "ChainedScheduler([ExponentialLR(0.1, 0.9), MultiStepLR(0.1, [30, 80])])": 100,
    "ChainedScheduler([LinearLR(0.1, 0.1, total_iters=5), ExponentialLR(0.1, 0.95)])": 90,
    "ChainedScheduler([LinearLR(0.1, 0.001, total_iters=500), "
    "per_epoch(MultiStepLR(0.1, [3, 8]), 100)])": 1200,
    "per_epoch(MultiStepLR(0.1, [100, 150]), 391)": 78200,
    "per_epoch(CosineAnnealingLR(0.1, 90), 98)": 8820,
    "per_epoch(SequentialLR([LinearLR(0.1, 0.01, total_iters=5), "
    "CosineAnnealingLR(0.1, 85)], [5]), 1251)": 112590,
    "SequentialLR([LinearLR(0.1, 0.01, total_iters=500), "
    "per_epoch(MultiStepLR(0.1, [30, 60, 80]), 391)], [500])": 40000,
}
FORMS = {
    "doubles": lambda lrs: lrs,
    "float32": lambda lrs: lrs.astype(np.float32),
    "printed with 5 digits": lambda lrs: [f"{lr:.5g}" for lr in lrs],
    "printed with 3 digits": lambda lrs: [f"{lr:.3g}" for lr in lrs],
    "every 7th row": lambda lrs: {"step": np.arange(len(lrs))[::7], "lr": lrs[::7]},
    "cut at 60 %": lambda lrs: lrs[: len(lrs) * 6 // 10],
}
OUTCOMES = ("line", "equal", "later", "refused", "wrong")
"""The very line; another one that is equal as far as twice the run; one that gives every row of the
log and goes on differently; none; one that does not give every row."""


def outcome(schedule, num_counts, log):
    """What becomes of a log of a schedule: one of the above, what was read, and the seconds."""
    start = time.perf_counter()
    try:
        found = js.identify(log)
    except ValueError as error:
        return "refused", error, time.perf_counter() - start
    seconds = time.perf_counter() - start
    if found == schedule:
        return "line", found, seconds
    if is_equal(found, schedule, 2 * num_counts):
        return "equal", found, seconds
    return ("later" if gives(found, log) else "wrong"), found, seconds


def is_equal(one, other, num_counts):
    counts = np.arange(num_counts)
    a, b = one(counts), other(counts)
    return bool((np.abs(a - b) <= 2**-22 * np.abs(b) + 1e-14 * np.abs(b).max()).all())


def gives(schedule, log):
    return bool(js.compare(schedule, log))


# -- random runs ---------------------------------------------------------------------------------


def random_run(rng):
    """A schedule, and how many counts its run has."""
    n, kind = rng.choice([50, 90, 100, 200, rng.randint(20, 300)]), rng.random()
    base_lr = rng.choice([0.1, 0.01, 0.001, 3e-4, 5e-5, 0.4, 1.0, 0.05, 0.025, 6e-4])
    if kind < 0.4:
        return _alone(rng, n, base_lr), n
    warmup = rng.randint(2, n // 5)
    head = js.LinearLR(base_lr, rng.choice([0.1, 0.01, 0.001, 1 / 3, 0.0]), total_iters=warmup)
    if rng.random() < 0.25:
        head = js.ConstantLR(base_lr, rng.choice([0.1, 0.01, 1 / 3]), warmup)
    if kind < 0.65:
        rest = _alone(rng, n - warmup, base_lr)
        if "base_lr" in rest._checks and rest.base_lr == base_lr and rest(0) == base_lr:
            return js.SequentialLR([head, rest], [warmup]), n
        return rest, n - warmup
    if kind < 0.75:
        decays = [
            js.ExponentialLR(base_lr, rng.choice([0.9, 0.95, 0.99])),
            js.StepLR(base_lr, rng.randint(warmup + 1, n // 3 + warmup), rng.choice([0.1, 0.5])),
        ]
        return js.ChainedScheduler([head, rng.choice(decays)]), n
    if kind < 0.9:
        epochs = js.SequentialLR([head, js.CosineAnnealingLR(base_lr, n - warmup)], [warmup])
        schedule = epochs if rng.random() < 0.3 else _alone(rng, n, base_lr)
        length = rng.choice([3, 7, 50, 98, 391])
        return js.per_epoch(schedule, length), n * length
    last = rng.randint(5, n - 3)
    return js.clamp(js.CosineAnnealingLR(base_lr, last), last), n


def _alone(rng, n, base_lr):
    choice, integer = rng.choice, rng.randint
    size = integer(2, n // 4)
    gamma = choice([0.99, 0.999, 0.95])
    return choice(
        [
            lambda: js.StepLR(base_lr, integer(2, n // 3), choice([0.1, 0.5, 0.2, 0.9, 0.97])),
            lambda: js.MultiStepLR(
                base_lr, sorted(rng.sample(range(2, n - 1), integer(2, 4))), choice([0.1, 0.5, 0.2])
            ),
            lambda: js.ConstantLR(base_lr, choice([1 / 3, 0.1, 0.5, 0.01]), integer(1, n - 4)),
            lambda: js.LinearLR(base_lr, 1.0, choice([0.0, 0.1, 0.5]), choice([n, n - 1, n // 2])),
            lambda: js.LinearLR(base_lr, choice([0.1, 0.01, 1 / 3]), 1.0, integer(2, n)),
            lambda: js.ExponentialLR(base_lr, choice([0.9, 0.95, 0.99, 0.97])),
            lambda: js.PolynomialLR(base_lr, choice([n, n - 1, n // 2]), choice([2.0, 0.9, 0.5])),
            lambda: js.CosineAnnealingLR(
                base_lr, choice([n, n - 1, n // 2, integer(3, n)]), choice([0, base_lr / 100])
            ),
            lambda: js.CosineAnnealingWarmRestarts(
                base_lr, integer(3, n // 2), choice([1, 2, 3]), choice([0, base_lr / 100])
            ),
            lambda: js.CyclicLR(base_lr / 10, base_lr, size, choice([None, integer(2, n // 4)])),
            lambda: js.CyclicLR(base_lr / 4, base_lr, size, None, "triangular2"),
            lambda: js.CyclicLR(base_lr / 10, base_lr, size, None, "exp_range", gamma),
            lambda: js.OneCycleLR(
                base_lr,
                n,
                pct_start=choice([0.3, 0.1, 0.25]),
                anneal_strategy=choice(["cos", "linear"]),
                div_factor=choice([25.0, 10.0]),
                three_phase=choice([False, True]),
            ),
            lambda: js.SWALR(base_lr, base_lr / choice([2, 10]), integer(4, n - 3)),
        ]
    )()


def noise(rng):
    """Learning rates that no schedule gives: each row its own, or runs of them, or a spoilt row."""
    n, kind = rng.randint(4, 300), rng.randrange(3)
    if kind == 0:
        return [rng.random() for _ in range(n)]
    if kind == 1:
        return [lr for _ in range(rng.randint(3, 9)) for lr in [rng.random()] * rng.randint(1, 20)]
    schedule, num_counts = random_run(rng)
    lrs = schedule(np.arange(min(num_counts, 2000)))
    return lrs * (1 + 1e-3 * np.array([rng.random() for _ in lrs]))


# -- the table -----------------------------------------------------------------------------------


def main():
    rng = random.Random(0)
    runs = [random_run(rng) for _ in range(100)]
    planted = [(js.parse(text), n) for text, n in RECIPES.items()]
    tables = {f"recipes, {form}": (planted, write) for form, write in FORMS.items()}
    tables |= {
        f"random runs, {form}": (runs, FORMS[form])
        for form in ("doubles", "float32", "cut at 60 %")
    }
    print(f"{'':36}{'logs':>6}", *(f"{name:>8}" for name in OUTCOMES), f"{'slowest':>9}", sep="")
    for name, (schedules, write) in tables.items():
        tally, slowest = Counter(), 0.0
        for schedule, n in schedules:
            found, _, seconds = outcome(schedule, n, write(schedule(np.arange(n))))
            tally[found] += 1
            slowest = max(slowest, seconds)
        _print(name, tally, slowest)
    tally, slowest = Counter(), 0.0
    for _ in range(100):
        found, _, seconds = outcome(js.ConstantLR(1.0), 2, noise(rng))
        tally[found] += 1
        slowest = max(slowest, seconds)
    _print("noise", tally, slowest)


def _print(name, tally, slowest):
    counts = (f"{tally[outcome]:>8}" for outcome in OUTCOMES)
    print(f"{name:36}{tally.total():>6}", *counts, f"{slowest:>7.1f} s", sep="", flush=True)


if __name__ == "__main__":
    main()
