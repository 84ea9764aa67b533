"""The same schedule in each library, from torch's arguments: a function of a count or a scheduler.

A schedule is written as its class and its arguments, as in tests/traces: `("StepLR",
{"base_lr": 0.1, "step_size": 30})`. A library that has no such class, or not these arguments,
gives None.
"""

import itertools

import jax
import jax.numpy as jnp
import optax

import jaxsched as js
from tests.traces.cases import construct

try:
    import torch
except ImportError:
    torch = None
try:
    import brainstate
    import braintools
except ImportError:
    brainstate = braintools = None


def family(updates):
    """One of each class, for that many updates; for optax and torch too where they have it."""
    warmup = ["LinearLR", {"base_lr": 0.1, "start_factor": 0.01, "total_iters": updates // 10}]
    cosine = ["CosineAnnealingLR", {"base_lr": 0.1, "T_max": updates - updates // 10}]
    step = ["StepLR", {"base_lr": 0.1, "step_size": updates // 3}]
    return {
        "StepLR": step,
        **{f"MultiStepLR, {n} milestones": milestones(n, updates) for n in (2, 8, 64, 512)},
        "ConstantLR": ["ConstantLR", {"base_lr": 0.1, "total_iters": updates // 2}],
        "LinearLR": warmup,
        "ExponentialLR": ["ExponentialLR", {"base_lr": 0.1, "gamma": 0.01 ** (1 / updates)}],
        "PolynomialLR": ["PolynomialLR", {"base_lr": 0.1, "total_iters": updates, "power": 0.9}],
        "CosineAnnealingLR": ["CosineAnnealingLR", {"base_lr": 0.1, "T_max": updates}],
        "CosineAnnealingWarmRestarts": [
            "CosineAnnealingWarmRestarts",
            {"base_lr": 0.1, "T_0": updates // 10, "T_mult": 2},
        ],
        "SWALR": ["SWALR", {"base_lr": 0.1, "swa_lr": 0.01, "anneal_epochs": updates}],
        "CyclicLR": [
            "CyclicLR",
            {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": updates // 8, "mode": "triangular2"},
        ],
        "OneCycleLR": ["OneCycleLR", {"max_lr": 0.1, "total_steps": updates}],
        "LambdaLR": ["LambdaLR", {"base_lr": 0.1, "lr_lambda": ["inverse_time", 0.01]}],
        "MultiplicativeLR": [
            "MultiplicativeLR",
            {"base_lr": 0.1, "lr_lambda": ["constant", 0.99], "horizon": 1000},
        ],
        "SequentialLR": [
            "SequentialLR",
            {"schedulers": [warmup, cosine], "milestones": [updates // 10]},
        ],
        "ChainedScheduler": ["ChainedScheduler", {"schedulers": [warmup, step]}],
    }


def milestones(number, updates=1000):
    at = [updates * (i + 1) // (number + 1) for i in range(number)]
    return ["MultiStepLR", {"base_lr": 0.1, "milestones": at, "gamma": 0.95}]


def sequence(number):
    """A SequentialLR of that many members, of four classes."""
    classes = [
        ["LinearLR", {"base_lr": 0.1, "total_iters": 100}],
        ["CosineAnnealingLR", {"base_lr": 0.1, "T_max": 100}],
        ["StepLR", {"base_lr": 0.1, "step_size": 30}],
        ["ExponentialLR", {"base_lr": 0.1, "gamma": 0.99}],
    ]
    members = list(itertools.islice(itertools.cycle(classes), number))
    return ["SequentialLR", {"schedulers": members, "milestones": [*range(100, number * 100, 100)]}]


def jaxsched(class_name, kwargs):
    return construct(lambda name, kw: getattr(js, name)(**kw), class_name, kwargs)


def adapters():
    """jaxsched's own, and the schedule that replays."""
    cosine = js.CosineAnnealingLR(0.1, 90)
    return {
        "per_epoch": js.per_epoch(js.MultiStepLR(0.1, [30, 60, 80]), 391),
        "smooth_epochs": js.smooth_epochs(cosine, 391),
        "clamp": js.clamp(cosine, 90),
        "RecordedLR": js.RecordedLR([0.1, 0.05, 0.02, 0.01]),
    }


# -- torch -------------------------------------------------------------------------------------


def torch_scheduler(class_name, kwargs):
    """A scheduler, ready to `step()`."""
    assert torch is not None
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    optimizer.step()  # torch warns without

    def make(name, kw):
        kw = {k: v for k, v in kw.items() if k != "horizon"}
        if name == "ChainedScheduler":
            return torch.optim.lr_scheduler.ChainedScheduler(**kw)
        if name != "CyclicLR":  # the rest take base_lr from the optimizer
            kw.pop("base_lr", None)
        room = torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler
        return getattr(room, name)(optimizer, **kw)

    scheduler = construct(make, class_name, kwargs)
    optimizer.step()
    return scheduler


# -- optax -------------------------------------------------------------------------------------


def step(base_lr, step_size, gamma=0.1):
    return optax.exponential_decay(base_lr, step_size, gamma, staircase=True)


def multi_step(base_lr, milestones, gamma=0.1):
    scales = {m: gamma ** milestones.count(m) for m in milestones}  # a dict holds one of each
    return optax.piecewise_constant_schedule(base_lr, scales)


def constant(base_lr, factor=1 / 3, total_iters=5):
    return optax.piecewise_constant_schedule(base_lr * factor, {total_iters: 1 / factor})


def linear(base_lr, start_factor=1 / 3, end_factor=1.0, total_iters=5):
    return optax.linear_schedule(base_lr * start_factor, base_lr * end_factor, total_iters)


def exponential(base_lr, gamma):
    return optax.exponential_decay(base_lr, 1, gamma)


def polynomial(base_lr, total_iters=5, power=1.0):
    return optax.polynomial_schedule(base_lr, 0.0, power, total_iters)


def cosine(base_lr, T_max, eta_min=0.0):
    # The end is given as a part of base_lr.
    return optax.cosine_decay_schedule(base_lr, T_max, eta_min / base_lr) if base_lr else None


def warm_restarts(base_lr, T_0, T_mult=1, eta_min=0.0):
    cycle = dict(init_value=base_lr, peak_value=base_lr, warmup_steps=0, end_value=eta_min)
    # Each cycle is written out: as many as fill the longest trace, and `family`.
    cycles, end = [], 0
    while end < max(310, 10 * T_0):
        cycles.append(dict(cycle, decay_steps=T_0 * T_mult ** len(cycles)))
        end += cycles[-1]["decay_steps"]
    return optax.sgdr_schedule(cycles)


def one_cycle(max_lr, total_steps=None, epochs=1, steps_per_epoch=1, shorter=0, **kwargs):
    steps = (total_steps or epochs * steps_per_epoch) - shorter
    factors = {k: kwargs[k] for k in ("div_factor", "final_div_factor") if k in kwargs}
    start = kwargs.get("pct_start", 0.3)
    kind = kwargs.get("anneal_strategy", "cos"), kwargs.get("three_phase", False)
    if steps and kind == ("cos", False):
        return optax.cosine_onecycle_schedule(steps, max_lr, start, **factors)
    if steps and kind == ("linear", True):
        return optax.linear_onecycle_schedule(steps, max_lr, start, 2 * start, **factors)


def one_cycle_shorter(**kwargs):
    return one_cycle(**kwargs, shorter=1)


def custom(base_lr, lr_lambda):
    return lambda count: base_lr * lr_lambda(count)


def swa(base_lr, swa_lr, anneal_epochs=10, anneal_strategy="cos"):
    if anneal_strategy == "linear":
        return optax.linear_schedule(base_lr, swa_lr, anneal_epochs)
    return cosine(base_lr, anneal_epochs, swa_lr) if anneal_epochs else None


def sequential(schedulers, milestones):
    return optax.join_schedules(schedulers, milestones) if all(schedulers) else None


OPTAX = {  # the nearest to torch's class, and its arguments
    "StepLR": ("exponential_decay, staircase", step),
    "MultiStepLR": ("piecewise_constant_schedule", multi_step),
    "ConstantLR": ("piecewise_constant_schedule", constant),
    "LinearLR": ("linear_schedule", linear),
    "ExponentialLR": ("exponential_decay", exponential),
    "PolynomialLR": ("polynomial_schedule", polynomial),
    "CosineAnnealingLR": ("cosine_decay_schedule", cosine),
    "CosineAnnealingWarmRestarts": ("sgdr_schedule", warm_restarts),
    "OneCycleLR": ("cosine_ or linear_onecycle_schedule", one_cycle),
    "LambdaLR": ("a function in float32", custom),
    "SWALR": ("cosine_decay_ or linear_schedule", swa),
    "SequentialLR": ("join_schedules", sequential),
}


def in_optax(class_name, kwargs, instead=None):
    """`instead`: another function for this class, the members' stay."""

    def make(name, kw):
        if name == class_name and instead:
            return instead(**kw)
        return OPTAX[name][1](**kw) if name in OPTAX else None

    return construct(make, class_name, kwargs)


# -- braintools --------------------------------------------------------------------------------


def in_braintools(class_name, kwargs):
    """A scheduler of braintools, which like torch's keeps the count itself."""

    def make(name, kw):
        # Its CyclicLR and OneCycleLR leave the momentum alone, and it has no third phase.
        left_out = {"base_momentum", "max_momentum"}
        if not kw.get("three_phase"):
            left_out.add("three_phase")
        kw = {k: v for k, v in kw.items() if k not in left_out}
        return getattr(braintools.optim, name)(**kw)

    # Under jit its SequentialLR fails, and where it asks for the current learning rate that
    # failure is swallowed.
    if braintools is None or class_name == "SequentialLR":
        return None
    try:
        return construct(make, class_name, kwargs)
    except (AttributeError, TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None


def steps_of(scheduler, counts):
    """What a scheduler of braintools gives in as many steps as counts, for use under jit."""

    def body(_):
        lr = scheduler.get_lr()[0]
        scheduler.step()
        return jnp.float32(lr)

    return brainstate.transform.for_loop(body, counts)


VERSIONS = {
    "jax": jax.__version__,
    "optax": optax.__version__,
    "torch": torch.__version__ if torch else "not installed",
    "braintools": braintools.__version__ if braintools else "not installed",
}
