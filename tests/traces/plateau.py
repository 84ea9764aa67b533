"""ReduceLROnPlateau: what torch is told, metric by metric, and the learning rates it answers with.

`generate.py` stores them beside the others: "metric" are the values that `step` was called with,
"lr" is the learning rate before the first of them, and after each.
"""

import itertools
import math
import struct
from random import Random
from typing import Any, NamedTuple

import torch

from tests.traces.randoms import number, random_base_lr

NAN, INF = math.nan, math.inf


class Case(NamedTuple):
    name: str
    metrics: list[float]
    """Numbers that float32 holds exactly: jaxsched rounds what it is told."""
    kwargs: dict[str, Any]


def case(name: str, metrics, *, base_lr: float = 0.1, **kwargs) -> Case:
    return Case(name, [*map(float32, metrics)], dict(base_lr=base_lr, **kwargs))


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def neighbours(threshold: float, count: int = 60) -> list[float]:
    """Each metric is one of the three float32 about the one before times 1 - threshold."""
    random, metrics = Random(f"neighbours {threshold}"), [float32(3.0)]
    for _ in range(count):
        (bits,) = struct.unpack("i", struct.pack("f", metrics[-1] * (1 - threshold)))
        metrics += struct.unpack("f", struct.pack("i", bits + random.randint(-1, 1)))
    return metrics


def random_metrics(random: Random, length: int = 80) -> list[float]:
    """Falls, wanders, stands still or gets worse, a few epochs of each; now and then NaN."""
    metrics, value = [], random.choice([1.0, 2.5, 100.0, -1.0])
    noise = random.choice([0.0, 0.01, 0.1])
    while len(metrics) < length:
        slope = random.choice([-0.1, -0.01, -0.001, 0.0, 0.0, 0.01])
        for _ in range(random.randint(3, 15)):
            value += slope * abs(value)
            metrics.append(value + random.gauss(0, noise) * abs(value))
    for _ in range(random.choice([0, 0, 1, 5])):
        metrics[random.randrange(length)] = random.choice([NAN, NAN, INF, -INF])
    return metrics[:length]


def random_case(index: int) -> Case:
    random = Random(f"ReduceLROnPlateau {index}")
    kwargs = dict(
        mode=random.choice(["min", "max"]),
        factor=random.choice([0.1, 0.5, number(random, 0.05, 0.95)]),
        patience=random.choice([0, 1, 2, 3, 5, 10]),
        threshold=random.choice([1e-4, 0.0, number(random, 1e-5, 0.1)]),
        threshold_mode=random.choice(["rel", "abs"]),
        cooldown=random.choice([0, 0, 1, 2, 5]),
    )
    base_lr = random_base_lr(random)
    if random.random() < 0.4:
        kwargs["min_lr"] = random.choice([number(random, 1e-3, 1) * base_lr, base_lr / 8])
    if random.random() < 0.4:
        kwargs["eps"] = random.choice([0.0, number(random, 1e-3, 1) * base_lr])
    metrics = random_metrics(random)
    if kwargs["mode"] == "max":
        metrics = [-m for m in metrics]
    return case(f"random {index}", metrics, base_lr=base_lr, **kwargs)


EXAMPLE = [1.0, 2.0, 2.0, 0.5, 0.75, 0.75, 0.75, 0.75]
FALLS_THEN_STAYS = [1 / n for n in range(1, 9)] + 40 * [0.125]
TIES = [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.5, 0.75, 0.75, 1.0, 1.25, 1.25, 1.5, 2.0, 2.0, 1.0, 0.5]
SAWTOOTH = [1.0, 2.0, 3.0, 0.9, 2.0, 3.0, 4.0, 0.8, 0.9, 1.0, 1.1, 1.2, 0.1, 0.2, 0.2, 0.2, 0.05]
NEGATIVE = [-1.0, -1.0, -1.5, -1.25, -1.0, -2.0, -2.0, -2.0, -1.99995, -1.99985, -1.0, 0.0, 0.5, -3]
BAD = [1.0] + 30 * [2.0]
MODES = [*itertools.product(["min", "max"], ["rel", "abs"])]

CASES = [
    case("an example", EXAMPLE, base_lr=0.5, factor=0.5, patience=1),
    case("defaults", FALLS_THEN_STAYS),
    case(
        "defaults, a better one just before the patience ends", [*([1.0] + 10 * [2.0]), 0.5, *BAD]
    ),
    *(
        case(f"{name}: {mode} {kind}", metrics, mode=mode, threshold_mode=kind, **kwargs)
        for mode, kind in MODES
        for name, metrics, kwargs in [
            ("ties", TIES, dict(patience=1, threshold=0.25)),
            ("ties, threshold 0", TIES, dict(patience=1, threshold=0.0)),
            ("sawtooth", SAWTOOTH, dict(patience=1, factor=0.5)),
            ("patience 0", SAWTOOTH, dict(patience=0, factor=0.5)),
            ("negative", NEGATIVE, dict(patience=1, factor=0.5)),
            ("zero", [0.0, 0.0, -0.0, 1.0, 0.0, -1.0, 0.0, 0.0], dict(patience=1)),
            ("NaN first", [NAN, NAN, 1.0, 2.0, NAN, 0.5, 0.4, NAN, NAN, NAN], dict(patience=1)),
            ("inf first", [INF, INF, 1.0, 2.0, INF, 0.5, INF, INF, NAN], dict(patience=1)),
            ("-inf first", [-INF, -INF, 1.0, 2.0, -INF, 0.5, 3.0, 0.1], dict(patience=1)),
            ("inf last", [1.0, 2.0, INF, -INF, 1.0, 2.0, 3.0, 0.0], dict(patience=1)),
        ]
    ),
    case("NaN only", 50 * [NAN], patience=3),
    *(case(f"patience {p}", BAD, patience=p, factor=0.5) for p in (0, 1, 2, 9, 29, 30, 2**40)),
    *(
        case(
            f"cooldown {c}, patience {p}", BAD + SAWTOOTH + BAD, patience=p, cooldown=c, factor=0.5
        )
        for c, p in [(1, 0), (1, 1), (2, 0), (3, 2), (10, 1), (2**40, 1)]
    ),
    case("cooldown, better within", [1, 2, 2, 0.9, 2, 2, 2, 2], patience=0, cooldown=3),
    case("cooldown also where eps stopped the cut", BAD, patience=0, cooldown=3, eps=0.5),
    *(
        case(f"min_lr {m!r}", BAD, patience=1, factor=0.5, min_lr=m)
        for m in (0.025, 0.03, 0.0999999, 0.1, 0.2, 0.1 - 5e-9)
    ),
    *(
        case(f"eps {eps:g}, base_lr {lr:g}", BAD, base_lr=lr, patience=0, factor=factor, eps=eps)
        for lr, factor, eps in [
            (1.0, 0.5, 0.125),  # as large as a cut: not above it
            (1.0, 0.5, 0.0625),
            (1e-7, 0.1, 1e-8),
            (1e-8, 0.1, 1e-8),
            (0.1, 0.1, 0.09),
            (0.1, 0.1, 1.0),
            (1e-30, 0.1, 0.0),
            (1e30, 0.1, 1e-8),
            (0.0, 0.1, 0.0),
        ]
    ),
    case("eps 0, to the end of double", 1100 * [NAN], base_lr=1.0, patience=0, factor=0.5, eps=0.0),
    case("eps 0, stuck above 0", 120 * [NAN], base_lr=1e-320, patience=0, factor=0.9, eps=0.0),
    case("factor 0.99", 1300 * [NAN], patience=0, factor=0.99),
    case("factor just below 1", 20 * [NAN], patience=0, factor=math.nextafter(1, 0), eps=0.0),
    case(
        "threshold above 1, max",
        [1.0, 2.0, 3.0, 7.0, 8.0, 9.0],
        mode="max",
        patience=0,
        threshold=2,
    ),
    case("threshold just below 1", [1.0, 0.5, 1e-9, 1e-9, 0, 0], patience=0, threshold=1 - 1e-9),
    *(
        case(f"neighbours {t:g}", neighbours(t), patience=0, factor=0.9, threshold=t)
        for t in (1e-4, 0.01)
    ),
    *map(random_case, range(80)),
]


def scheduler(kwargs: dict[str, Any]) -> Any:
    """torch's scheduler for the `kwargs` of a case."""
    kwargs = dict(kwargs)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=kwargs.pop("base_lr"))
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **kwargs)


def trace(case: Case) -> dict[str, list[float]]:
    made = scheduler(case.kwargs)
    lrs = [made.optimizer.param_groups[0]["lr"]]
    for metric in case.metrics:
        made.step(metric)
        lrs.append(made.optimizer.param_groups[0]["lr"])
    return {"metric": case.metrics, "lr": lrs}
