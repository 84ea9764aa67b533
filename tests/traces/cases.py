"""The table of cases: what torch is asked, and what jaxsched has to answer.

Plain data, without torch or JAX. A case's `kwargs` are those of the jaxsched class of that name
(torch's, and `base_lr` or `horizon`) and are stored as JSON; so the members of a composition are
written [class name, kwargs], and a user's function [name in functions.py, *its parameters].
"""

import functools
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from tests.traces.functions import FUNCTIONS
from tests.traces.randoms import RANDOM, random_base_lr


class Case(NamedTuple):
    name: str
    counts: int
    """How many values: those at the counts 0 to counts - 1."""
    kwargs: dict[str, Any]


def case(name: str, counts: int, **kwargs) -> Case:
    return Case(name, counts, kwargs)


def construct(make: Callable[[str, dict], Any], class_name: str, kwargs: dict) -> Any:
    """make(class_name, kwargs), with members and functions in the place of their descriptions.

    So `construct(lambda name, kwargs: getattr(jaxsched, name)(**kwargs), "StepLR", {...})`.
    """
    kwargs = dict(kwargs)
    if "schedulers" in kwargs:
        kwargs["schedulers"] = [construct(make, *member) for member in kwargs["schedulers"]]
    for key in {"lr_lambda", "scale_fn"} & kwargs.keys():
        function, *parameters = kwargs[key]
        kwargs[key] = functools.partial(FUNCTIONS[function], *parameters)
    return make(class_name, kwargs)


def random_cases(class_name: str, counts: int = 120) -> list[Case]:
    """40 configurations, the same in every version of Python."""
    random = Random(class_name)
    cases = []
    for i in range(40):
        kwargs = RANDOM[class_name](random)
        length = counts
        if class_name == "OneCycleLR":  # has an end, after which torch raises
            length = kwargs.get("total_steps") or kwargs["epochs"] * kwargs["steps_per_epoch"]
        elif "schedulers" not in kwargs:
            kwargs = dict(base_lr=random_base_lr(random), **kwargs)
        cases.append(Case(f"random {i}", length, kwargs))
    return cases


EXTREMES = [  # base_lr and gamma, for about seven decays
    (0.0, 0.1),
    (0.0, 10.0),
    (1e-30, 0.1),
    (1e-300, 0.1),  # stays above 2.2e-308, where doubles begin to lose digits
    (1e-300, 10.0),
    (1e30, 0.1),
    (1e300, 0.1),
]

CASES: dict[str, list[Case]] = {}

CASES["StepLR"] = [
    case("ResNet-50 on ImageNet", 90, base_lr=0.1, step_size=30),
    case("tutorial: tenfold every 5 epochs", 15, base_lr=0.1, step_size=5, gamma=0.1),
    case("tutorial: 0.9 every 10 epochs", 31, base_lr=0.1, step_size=10, gamma=0.9),
    case("step_size 1", 200, base_lr=0.1, step_size=1, gamma=0.97),
    case("step_size past the end", 50, base_lr=0.1, step_size=60),
    case("2000 epochs", 2000, base_lr=0.1, step_size=10),
    case("2000 epochs, step_size 1", 2000, base_lr=0.1, step_size=1, gamma=0.99),
    *(
        case(f"gamma {gamma:g}", 50, base_lr=0.1, step_size=7, gamma=gamma)
        for gamma in (0.0, 1.0, 2.0, 1.5)
    ),
    case("gamma 10, to inf", 340, base_lr=0.1, step_size=1, gamma=10.0),
    case("gamma 1e200, to inf", 20, base_lr=0.1, step_size=3, gamma=1e200),
    case("gamma 1e-200, to 0", 20, base_lr=0.1, step_size=3, gamma=1e-200),
    *(
        case(f"base_lr {lr:g}, gamma {gamma:g}", 29, base_lr=lr, step_size=4, gamma=gamma)
        for lr, gamma in EXTREMES
    ),
    case("base_lr 0, gamma to inf", 340, base_lr=0.0, step_size=1, gamma=10.0),
    *random_cases("StepLR", 600),
]

MANY = [0, 2, 4, 4, 8, 10, 15]
CASES["MultiStepLR"] = [
    case("ResNet-50 on ImageNet", 90, base_lr=0.1, milestones=[30, 60, 80]),
    case("CIFAR, ResNet", 200, base_lr=0.1, milestones=[100, 150], gamma=0.1),
    case("CIFAR, Wide ResNet", 200, base_lr=0.1, milestones=[60, 120, 160], gamma=0.2),
    case("Detectron2 1x", 90000, base_lr=0.02, milestones=[60000, 80000]),
    case("tutorial: 5 and 15 epochs", 20, base_lr=0.1, milestones=[5, 15]),
    case("duplicates", 20, base_lr=0.1, milestones=[5, 5, 10, 10, 10]),
    case("duplicates, unsorted", 20, base_lr=0.1, milestones=[10, 5, 10, 3, 5, 10], gamma=0.3),
    case("unsorted", 100, base_lr=0.1, milestones=[80, 30, 60]),
    case("zero", 20, base_lr=0.1, milestones=[0, 10]),
    case("all zero", 20, base_lr=0.1, milestones=[0, 0, 0], gamma=0.5),
    case("empty", 20, base_lr=0.1, milestones=[]),
    case("one", 3, base_lr=0.1, milestones=[1]),
    case("one after another", 20, base_lr=0.1, milestones=[1, 2, 3, 4, 5, 6, 7, 8]),
    case("past the end", 20, base_lr=0.1, milestones=[5, 1000, 2**31 - 1, 2**40]),
    case("2000 epochs", 2000, base_lr=0.1, milestones=[*range(100, 2000, 100)], gamma=0.5),
    case("512 milestones", 2000, base_lr=0.1, milestones=[*range(3, 1539, 3)], gamma=0.98),
    *(
        case(f"gamma {gamma:g}", 20, base_lr=0.1, milestones=MANY, gamma=gamma)
        for gamma in (0.0, 1.0, 2.0, 1.5)
    ),
    case("gamma 10, to inf", 400, base_lr=0.1, milestones=[*range(1, 400)], gamma=10.0),
    case("gamma 1e200, to inf", 20, base_lr=0.1, milestones=[3, 6, 9], gamma=1e200),
    case("gamma 1e-200, to 0", 20, base_lr=0.1, milestones=[3, 6, 9], gamma=1e-200),
    *(
        case(f"base_lr {lr:g}, gamma {gamma:g}", 20, base_lr=lr, milestones=MANY, gamma=gamma)
        for lr, gamma in EXTREMES
    ),
    case("base_lr 0, gamma to inf", 400, base_lr=0.0, milestones=[*range(1, 400)], gamma=10.0),
    *random_cases("MultiStepLR", 600),
]

CASES["ConstantLR"] = [
    case("defaults", 12, base_lr=0.1),
    case("torch's example", 12, base_lr=0.05, factor=0.5, total_iters=4),
    case("torchvision's constant warmup", 90, base_lr=0.5, factor=0.01, total_iters=5),
    case("factor 1", 12, base_lr=0.1, factor=1.0),
    case("factor tiny", 12, base_lr=0.1, factor=1e-30),
    case("total_iters 1", 5, base_lr=0.1, total_iters=1),
    case("total_iters past the end", 20, base_lr=0.1, total_iters=100),
    case("base_lr 0", 12, base_lr=0.0),
    *random_cases("ConstantLR"),
]

CASES["LinearLR"] = [
    case("defaults", 12, base_lr=0.1),
    case("torch's example", 12, base_lr=0.05, start_factor=0.5, total_iters=4),
    case("Detectron2's warmup", 1100, base_lr=0.02, start_factor=0.001, total_iters=1000),
    case("to 0", 120, base_lr=0.1, start_factor=1.0, end_factor=0.0, total_iters=100),
    # Here torch ends, for ever, at -1.5e-18 and at 4.7e-18.
    case("to 0, a rounding error below", 12, base_lr=0.1, end_factor=0.0),
    case("to 0, a rounding error above", 12, base_lr=0.1, start_factor=0.7, end_factor=0.0),
    case("down", 50, base_lr=0.1, start_factor=0.8, end_factor=0.3, total_iters=30),
    case("start_factor = end_factor", 12, base_lr=0.1, start_factor=0.5, end_factor=0.5),
    case("start_factor tiny", 12, base_lr=0.1, start_factor=1e-30),
    case("total_iters 1", 5, base_lr=0.1, total_iters=1),
    case("total_iters past the end", 20, base_lr=0.1, total_iters=100),
    case("base_lr 0", 12, base_lr=0.0),
    *random_cases("LinearLR"),
]

CASES["ExponentialLR"] = [
    case("0.95 an epoch", 200, base_lr=0.1, gamma=0.95),
    case("slow", 1000, base_lr=0.1, gamma=0.9999),
    *(case(f"gamma {gamma:g}", 50, base_lr=0.1, gamma=gamma) for gamma in (0.0, 1.0, 2.0, 1.5)),
    case("gamma 10, to inf", 340, base_lr=0.1, gamma=10.0),
    case("gamma 1e-200, to 0", 20, base_lr=0.1, gamma=1e-200),
    *(
        case(f"base_lr {lr:g}, gamma {gamma:g}", 8, base_lr=lr, gamma=gamma)
        for lr, gamma in EXTREMES
    ),
    case("base_lr 0, gamma to inf", 340, base_lr=0.0, gamma=10.0),
    *random_cases("ExponentialLR"),
]

CASES["PolynomialLR"] = [
    case("defaults", 12, base_lr=0.1),
    case("torchvision's segmentation", 35, base_lr=0.02, total_iters=30, power=0.9),
    case("DeepLab's poly", 5010, base_lr=0.007, total_iters=5000, power=0.9),
    *(
        case(f"power {power:g}", 50, base_lr=0.1, total_iters=40, power=power)
        for power in (0.0, 0.1, 0.5, 2.0, 5.0)
    ),
    case("total_iters 1", 5, base_lr=0.1, total_iters=1),
    case("total_iters past the end", 20, base_lr=0.1, total_iters=100, power=2.0),
    case("base_lr 0", 12, base_lr=0.0),
    *random_cases("PolynomialLR"),
]

CASES["CosineAnnealingLR"] = [
    case("90 epochs", 91, base_lr=0.1, T_max=90),
    case("200 epochs", 201, base_lr=0.1, T_max=200, eta_min=1e-5),
    # torch's recursion drifts from the closed form: here by 1e-11 near the end of the cycle ...
    case("one long cycle", 2001, base_lr=0.1, T_max=2000),
    # ... and here by 6e-13.
    case("many short cycles", 2000, base_lr=0.1, T_max=7),
    case("T_max 1", 20, base_lr=0.1, T_max=1),
    case("T_max 2", 20, base_lr=0.1, T_max=2, eta_min=0.01),
    case("T_max past the end", 20, base_lr=0.1, T_max=1000),
    case("eta_min above base_lr", 100, base_lr=0.1, T_max=30, eta_min=0.5),
    case("eta_min = base_lr", 100, base_lr=0.1, T_max=30, eta_min=0.1),
    case("base_lr 0", 100, base_lr=0.0, T_max=30),
    case("base_lr 0, eta_min above", 50, base_lr=0.0, T_max=30, eta_min=0.1),
    *random_cases("CosineAnnealingLR"),
]

CASES["CosineAnnealingWarmRestarts"] = [
    case("SGDR 10, 2", 310, base_lr=0.05, T_0=10, T_mult=2),
    case("SGDR 1, 2", 127, base_lr=0.05, T_0=1, T_mult=2),
    case("SGDR 50, 1", 200, base_lr=0.05, T_0=50),
    case("T_0 1", 20, base_lr=0.1, T_0=1),
    case("T_0 past the end", 20, base_lr=0.1, T_0=1000),
    case("T_mult 10", 250, base_lr=0.1, T_0=2, T_mult=10, eta_min=1e-4),
    case("eta_min above base_lr", 100, base_lr=0.1, T_0=10, T_mult=2, eta_min=0.5),
    case("eta_min = base_lr", 100, base_lr=0.1, T_0=10, eta_min=0.1),
    case("base_lr 0", 100, base_lr=0.0, T_0=10),
    *random_cases("CosineAnnealingWarmRestarts"),
]

CYCLE = dict(base_lr=0.001, max_lr=0.006)
CASES["CyclicLR"] = [
    case("defaults", 200, **CYCLE),
    case("triangular", 100, **CYCLE, step_size_up=20),
    case("triangular2", 200, **CYCLE, step_size_up=20, mode="triangular2"),
    case("exp_range", 100, **CYCLE, step_size_up=20, mode="exp_range", gamma=0.99994),
    case("exp_range, growing", 100, **CYCLE, step_size_up=20, mode="exp_range", gamma=1.01),
    case("up faster than down", 100, **CYCLE, step_size_up=5, step_size_down=30),
    case("down faster than up", 100, **CYCLE, step_size_up=30, step_size_down=5),
    case("step_size_up 1", 20, **CYCLE, step_size_up=1),
    case("sawtooth", 50, **CYCLE, step_size_up=10, step_size_down=0),
    case("sawtooth of 1", 10, **CYCLE, step_size_up=1, step_size_down=0),
    case("max_lr below base_lr", 50, base_lr=0.1, max_lr=0.01, step_size_up=10),
    case("base_lr 0", 50, base_lr=0.0, max_lr=0.1, step_size_up=10),
    case("triangular2, long", 300, **CYCLE, step_size_up=1, mode="triangular2"),
    case("scale_fn", 100, **CYCLE, step_size_up=10, scale_fn=["half_sine"]),
    case(
        "scale_fn by iterations",
        100,
        **CYCLE,
        step_size_up=10,
        scale_fn=["exponential", 0.2, 10000],
        scale_mode="iterations",
    ),
    *random_cases("CyclicLR", 100),
]

CASES["OneCycleLR"] = [
    case("torch's example", 100, max_lr=0.01, epochs=10, steps_per_epoch=10),
    case("30 %", 1000, max_lr=0.1, total_steps=1000),
    case("three phases", 200, max_lr=0.1, total_steps=200, three_phase=True),
    case("linear", 101, max_lr=0.1, total_steps=101, anneal_strategy="linear"),
    case(
        "linear, three phases",
        101,
        max_lr=0.1,
        total_steps=101,
        anneal_strategy="linear",
        three_phase=True,
    ),
    *(
        case(
            f"pct_start {pct_start:g}, three_phase={three_phase}",
            20,
            max_lr=0.1,
            total_steps=20,
            pct_start=pct_start,
            three_phase=three_phase,
        )
        for pct_start in (0.0, 0.02, 0.33, 0.5, 0.7, 1.0)
        for three_phase in (False, True)
    ),
    case("total_steps 1", 1, max_lr=0.1, total_steps=1),
    case("total_steps 2", 2, max_lr=0.1, total_steps=2),
    case("total_steps 3, three phases", 3, max_lr=0.1, total_steps=3, three_phase=True),
    case("div_factor 1", 50, max_lr=0.1, total_steps=50, div_factor=1.0, final_div_factor=1.0),
    case("max_lr 0", 50, max_lr=0.0, total_steps=50),
    *random_cases("OneCycleLR"),
]

CASES["LambdaLR"] = [
    case("BERT", 1050, base_lr=2e-5, lr_lambda=["bert", 100, 1000]),
    case("BERT, warmup of 1", 20, base_lr=1.0, lr_lambda=["bert", 1, 9]),
    case("Noam", 1000, base_lr=1.0, lr_lambda=["noam", 512, 400]),
    case("0.97 every 2.4", 350, base_lr=0.016, lr_lambda=["staircase", 0.97, 24]),
    case("0.97 every 2.4, smooth", 350, base_lr=0.016, lr_lambda=["exponential", 0.97, 2.4]),
    case("warmup and cosine", 110, base_lr=5e-5, lr_lambda=["warmup_cosine", 10, 100]),
    case("torch's example, integers", 100, base_lr=0.05, lr_lambda=["epoch_over_30"]),
    case("torch's example", 100, base_lr=0.5, lr_lambda=["exponential", 0.95, 1]),
    case("constant", 10, base_lr=0.1, lr_lambda=["constant", 0.5]),
    case("0", 10, base_lr=0.1, lr_lambda=["constant", 0]),
    case("negative", 40, base_lr=0.1, lr_lambda=["wave", 2.0, 20]),
    case("base_lr 0", 50, base_lr=0.0, lr_lambda=["bert", 10, 30]),
    *random_cases("LambdaLR"),
]

CASES["MultiplicativeLR"] = [
    case("torch's example", 200, base_lr=0.05, lr_lambda=["constant", 0.95], horizon=200),
    case("0.97 once in 2", 100, base_lr=0.1, lr_lambda=["dip", 0.97, 2], horizon=100),
    case("changes at once", 9, base_lr=0.1, lr_lambda=["dip", 0.5, 1], horizon=9),
    case("0", 9, base_lr=0.1, lr_lambda=["dip", 0, 4], horizon=9),
    case("negative", 40, base_lr=0.1, lr_lambda=["constant", -0.9], horizon=40),
    case("base_lr 0", 9, base_lr=0.0, lr_lambda=["constant", 2.0], horizon=9),
    *random_cases("MultiplicativeLR"),
]

CASES["SWALR"] = [
    case("defaults", 20, base_lr=0.5, swa_lr=0.05),
    case(
        "torch's example", 40, base_lr=0.5, swa_lr=0.05, anneal_epochs=20, anneal_strategy="linear"
    ),
    case("long", 1010, base_lr=0.5, swa_lr=0.05, anneal_epochs=1000),
    case("anneal_epochs 0", 5, base_lr=0.5, swa_lr=0.05, anneal_epochs=0),
    case("anneal_epochs 1", 5, base_lr=0.5, swa_lr=0.05, anneal_epochs=1),
    case("swa_lr above base_lr", 20, base_lr=0.05, swa_lr=0.5),
    case("swa_lr = base_lr", 20, base_lr=0.5, swa_lr=0.5),
    case("swa_lr 0", 20, base_lr=0.5, swa_lr=0.0),
    case("base_lr 0", 20, base_lr=0.0, swa_lr=0.05),
    *random_cases("SWALR"),
]

WARMUP = ["LinearLR", {"base_lr": 0.02, "start_factor": 0.001, "total_iters": 1000}]
CASES["SequentialLR"] = [
    case(
        "torch's example: constant, then exponential",
        100,
        schedulers=[
            ["ConstantLR", {"base_lr": 0.05, "factor": 0.1, "total_iters": 20}],
            ["ExponentialLR", {"base_lr": 0.05, "gamma": 0.9}],
        ],
        milestones=[20],
    ),
    case(
        "torchvision: 5 epochs of linear warmup, then cosine",
        101,
        schedulers=[
            ["LinearLR", {"base_lr": 0.5, "start_factor": 0.01, "total_iters": 5}],
            ["CosineAnnealingLR", {"base_lr": 0.5, "T_max": 95, "eta_min": 0.0}],
        ],
        milestones=[5],
    ),
    case(
        "Detectron2: 1000 iterations of warmup, then MultiStepLR on its own clock",
        90000,
        schedulers=[
            WARMUP,
            ["MultiStepLR", {"base_lr": 0.02, "milestones": [59000, 79000]}],
        ],
        milestones=[1000],
    ),
    case("one", 20, schedulers=[["StepLR", {"base_lr": 0.1, "step_size": 5}]], milestones=[]),
    case(
        "milestone 0",
        30,
        schedulers=[
            ["LinearLR", {"base_lr": 0.1}],
            ["CosineAnnealingLR", {"base_lr": 0.1, "T_max": 20}],
        ],
        milestones=[0],
    ),
    case(
        "milestone 1",
        10,
        schedulers=[
            ["ConstantLR", {"base_lr": 0.1, "factor": 0.1}],
            ["StepLR", {"base_lr": 0.1, "step_size": 3}],
        ],
        milestones=[1],
    ),
    case(
        "a milestone of the later member at its start",
        20,
        schedulers=[
            ["LinearLR", {"base_lr": 0.1}],
            ["MultiStepLR", {"base_lr": 0.1, "milestones": [0, 4]}],
        ],
        milestones=[7],
    ),
    case(
        "the same class three times",
        60,
        schedulers=[["StepLR", {"base_lr": 0.1, "step_size": n, "gamma": 0.5}] for n in (3, 5, 7)],
        milestones=[20, 41],
    ),
    case(
        "constant, then one cycle",  # max_lr / div_factor is base_lr, which torch's cycle sets
        60,
        schedulers=[
            ["ConstantLR", {"base_lr": 0.1, "factor": 0.5, "total_iters": 20}],
            ["OneCycleLR", {"max_lr": 1.0, "total_steps": 50, "div_factor": 10.0}],
        ],
        milestones=[10],
    ),
    *random_cases("SequentialLR"),
]

CASES["ChainedScheduler"] = [
    case(
        "torch's example: constant times exponential",
        100,
        schedulers=[
            ["ConstantLR", {"base_lr": 0.05, "factor": 0.1, "total_iters": 20}],
            ["ExponentialLR", {"base_lr": 0.05, "gamma": 0.9}],
        ],
    ),
    case(
        "Detectron2: 1000 iterations of warmup times MultiStepLR",
        90000,
        schedulers=[WARMUP, ["MultiStepLR", {"base_lr": 0.02, "milestones": [60000, 80000]}]],
    ),
    case(
        "linear warmup times cosine",
        101,
        schedulers=[
            ["LinearLR", {"base_lr": 0.5, "start_factor": 0.01, "total_iters": 5}],
            ["CosineAnnealingLR", {"base_lr": 0.5, "T_max": 100}],
        ],
    ),
    case("one", 20, schedulers=[["StepLR", {"base_lr": 0.1, "step_size": 5}]]),
    case(
        "the same twice",
        20,
        schedulers=[["StepLR", {"base_lr": 0.1, "step_size": 5, "gamma": 0.3}]] * 2,
    ),
    case(
        "to 0",
        20,
        schedulers=[
            ["PolynomialLR", {"base_lr": 0.1, "total_iters": 10}],
            ["ExponentialLR", {"base_lr": 0.1, "gamma": 1.1}],
        ],
    ),
    case(
        "base_lr 0",
        20,
        schedulers=[
            ["LinearLR", {"base_lr": 0.0}],
            ["StepLR", {"base_lr": 0.0, "step_size": 5, "gamma": 10.0}],
        ],
    ),
    *random_cases("ChainedScheduler"),
]
