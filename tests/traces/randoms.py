"""Random configurations of every class, within what torch and jaxsched both accept."""

from collections.abc import Callable
from random import Random


def number(random: Random, low: float, high: float) -> float:
    """A number as people write them: three digits, as often in one decade as in another."""
    return float(f"{low * (high / low) ** random.random():.3g}")


def random_base_lr(random):
    return number(random, 1e-3, 10)


def random_step(random):
    if random.random() < 0.3:
        return dict(step_size=random.randint(1, 9), gamma=number(random, 0.6, 1.1))
    kwargs = dict(step_size=random.randint(10, 150))
    if random.random() < 0.8:
        kwargs["gamma"] = random.choice([0.1, 0.2, 0.5, number(random, 0.05, 1.2)])
    return kwargs


def random_multi_step(random):
    last = random.choice([20, 100, 500])
    milestones = [random.randint(0, last) for _ in range(random.randint(1, 12))]
    if random.random() < 0.5:
        milestones += random.choices(milestones, k=2)
    gamma = random.choice([0.1, 0.2, 0.5, number(random, 0.05, 1.2)])
    return dict(milestones=milestones, gamma=gamma)


def random_constant(random):
    return dict(factor=number(random, 1e-3, 1), total_iters=random.randint(1, 130))


def random_linear(random):
    return dict(
        start_factor=number(random, 1e-3, 1),
        # Not 0, where torch stays at a rounding error for ever; that is among the edges.
        end_factor=random.choice([1.0, number(random, 1e-3, 1)]),
        total_iters=random.randint(1, 130),
    )


def random_exponential(random):
    return dict(gamma=random.choice([number(random, 0.5, 1.1), number(random, 0.9, 1)]))


def random_polynomial(random):
    power = random.choice([0.5, 0.9, 1.0, 2.0, number(random, 0.1, 5)])
    return dict(total_iters=random.randint(1, 130), power=power)


def random_cosine(random):
    T_max = random.choice([random.randint(1, 20), random.randint(20, 200)])
    return dict(T_max=T_max, eta_min=random_eta_min(random))


def random_warm_restarts(random):
    T_0, T_mult = random.randint(1, 30), random.randint(1, 4)
    return dict(T_0=T_0, T_mult=T_mult, eta_min=random_eta_min(random))


def random_eta_min(random):
    # At most 10 times base_lr: torch's recursion loses about 1e-14 of the larger of the two.
    return random.choice([0.0, number(random, 1e-8, 1e-2), number(random, 1e-4, 1e-2)])


def random_cyclic(random):
    mode = random.choice(["triangular", "triangular2", "exp_range"])
    kwargs = dict(max_lr=number(random, 1e-3, 10), step_size_up=random.randint(1, 50), mode=mode)
    if random.random() < 0.7:
        kwargs["step_size_down"] = random.choice([0, random.randint(1, 50)])
    if mode == "exp_range":
        kwargs["gamma"] = number(random, 0.9, 1)
    if random.random() < 0.2:
        kwargs["scale_fn"] = ["exponential", number(random, 0.8, 1), 1]
        kwargs["scale_mode"] = random.choice(["cycle", "iterations"])
    kwargs |= random_momentum(random)
    return kwargs


def random_momentum(random):
    if random.random() < 0.5:
        return {}
    low, high = sorted([number(random, 0.5, 0.99), number(random, 0.5, 0.99)])
    return dict(base_momentum=low, max_momentum=high)


def random_one_cycle(random):
    epochs, updates = random.randint(1, 12), random.randint(2, 10)
    if random.random() < 0.5:
        length = dict(epochs=epochs, steps_per_epoch=updates)
    else:
        length = dict(total_steps=epochs * updates)
    pct_start = random.choice([0.3, random.randint(5, 95) / 100])
    if pct_start * epochs * updates == 1:  # torch divides by zero
        pct_start = 0.99
    kwargs = dict(max_lr=number(random, 1e-4, 10), **length, pct_start=pct_start)
    kwargs["anneal_strategy"] = random.choice(["cos", "linear"])
    kwargs["three_phase"] = random.random() < 0.5
    if random.random() < 0.5:
        kwargs |= dict(div_factor=number(random, 1, 100), final_div_factor=number(random, 1, 1e5))
    return kwargs | random_momentum(random)


def random_lambda(random):
    warmup = random.randint(1, 60)
    total = warmup + random.randint(1, 80)
    functions = [
        ["bert", warmup, total],
        ["warmup_cosine", warmup, total],
        ["noam", random.choice([64, 512]), warmup],
        ["exponential", number(random, 0.5, 1), number(random, 0.5, 20)],
        ["staircase", number(random, 0.5, 1), random.randint(5, 200)],
        ["inverse_time", number(random, 1e-3, 1)],
        ["wave", number(random, 0.01, 0.9), number(random, 2, 200)],
    ]
    return dict(lr_lambda=random.choice(functions))


def random_multiplicative(random):
    functions = [
        ["constant", number(random, 0.7, 1.05)],
        ["dip", number(random, 0.1, 1.2), random.randint(1, 30)],
        ["wave", number(random, 0.01, 0.3), number(random, 2, 50)],
        ["inverse_time", number(random, 1e-5, 1e-3)],
    ]
    return dict(lr_lambda=random.choice(functions), horizon=200)


def random_swa(random):
    return dict(
        swa_lr=number(random, 1e-5, 1),
        anneal_epochs=random.choice([random.randint(0, 15), random.randint(15, 150)]),
        anneal_strategy=random.choice(["cos", "linear"]),
    )


def random_sequential(random):
    # torch lets a MultiplicativeLR or SWALR go on from the current lr unless it is the first.
    first = random.choice([*LATER_MEMBERS, "MultiplicativeLR", "SWALR"])
    others = random.choices(LATER_MEMBERS, k=random.randint(1, 3))
    milestones = sorted(random.sample(range(1, 100), len(others)))
    if random.random() < 0.1:
        milestones[0] = 0
    return dict(schedulers=random_members(random, [first, *others]), milestones=milestones)


def random_chained(random):
    members = random_members(random, random.choices(FACTORS, k=random.randint(2, 4)))
    for name, kwargs in members:
        if name == "CosineAnnealingLR":  # no product in torch with another eta_min or past T_max
            kwargs |= dict(T_max=random.randint(119, 300), eta_min=0.0)
    return dict(schedulers=members)


def random_members(random, names):
    base_lr = random_base_lr(random)
    return [[name, dict(base_lr=base_lr, **RANDOM[name](random))] for name in names]


LATER_MEMBERS = [
    *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR"),
    *("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "LambdaLR"),
]
FACTORS = [*LATER_MEMBERS[:7], "MultiplicativeLR"]

RANDOM: dict[str, Callable[[Random], dict]] = {
    "StepLR": random_step,
    "MultiStepLR": random_multi_step,
    "ConstantLR": random_constant,
    "LinearLR": random_linear,
    "ExponentialLR": random_exponential,
    "PolynomialLR": random_polynomial,
    "CosineAnnealingLR": random_cosine,
    "CosineAnnealingWarmRestarts": random_warm_restarts,
    "CyclicLR": random_cyclic,
    "OneCycleLR": random_one_cycle,
    "LambdaLR": random_lambda,
    "MultiplicativeLR": random_multiplicative,
    "SWALR": random_swa,
    "SequentialLR": random_sequential,
    "ChainedScheduler": random_chained,
}
