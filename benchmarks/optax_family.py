"""Each scheduler beside the nearest optax schedule, on torch's stored traces.

    python -m benchmarks.optax_family

1. Recipes: the first count at which the learning rate is off by more than 1e-6 of torch's; the
   largest difference, as a part of torch's value (where that is not 0) and of the highest one, nan
   if there is a NaN; and how many values are float32(torch's double) to the last bit. "x 2,503":
   each epoch of the trace lasts that many updates (ImageNet in batches of 512).
2. Cases: of all stored cases of a class that the optax schedule has arguments for, in how many is
   every value within 1e-6 of torch's? Left out are those that no float32 schedule could follow:
   values above 1e38 or below 1.18e-38, milestones past 2**31.

Both run in float32, under jit, over every count.
"""

import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsched as js

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from traces import cases, load  # noqa: E402

UPDATES = 2503  # in an epoch


# -- torch's arguments, as optax takes them; None where it has no such schedule ----------------


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
    # Each cycle is written out: as many as fill the longest trace.
    lengths = [T_0 * T_mult**i for i in range(310)]
    ends = itertools.accumulate(lengths)
    cycles = 1 + sum(1 for _ in itertools.takewhile(lambda end: end < 310, ends))
    return optax.sgdr_schedule([dict(cycle, decay_steps=length) for length in lengths[:cycles]])


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


FAMILY = [  # torch's class, the nearest in optax, its arguments
    ("StepLR", "exponential_decay, staircase", step),
    ("MultiStepLR", "piecewise_constant_schedule", multi_step),
    ("ConstantLR", "piecewise_constant_schedule", constant),
    ("LinearLR", "linear_schedule", linear),
    ("ExponentialLR", "exponential_decay", exponential),
    ("PolynomialLR", "polynomial_schedule", polynomial),
    ("CosineAnnealingLR", "cosine_decay_schedule", cosine),
    ("CosineAnnealingWarmRestarts", "sgdr_schedule", warm_restarts),
    ("OneCycleLR", "cosine_ or linear_onecycle_schedule", one_cycle),
    ("OneCycleLR", "the same, total_steps - 1", one_cycle_shorter),
    ("LambdaLR", "a function in float32", custom),
    ("SWALR", "cosine_decay_ or linear_schedule", swa),
    ("SequentialLR", "join_schedules", sequential),
]
NEAREST = {class_name: translate for class_name, _, translate in FAMILY}
RECIPES = {
    "StepLR": ["ResNet-50 on ImageNet"],
    "MultiStepLR": ["ResNet-50 on ImageNet", "Detectron2 1x"],
    "ConstantLR": ["torchvision's constant warmup"],
    "LinearLR": ["Detectron2's warmup"],
    "ExponentialLR": ["0.95 an epoch"],
    "PolynomialLR": ["torchvision's segmentation", "DeepLab's poly"],
    "CosineAnnealingLR": ["one long cycle", "many short cycles"],
    "CosineAnnealingWarmRestarts": ["SGDR 10, 2"],
    "OneCycleLR": ["30 %", "linear, three phases"],
    "LambdaLR": ["Noam", "BERT", "0.97 every 2.4"],
    "SWALR": ["long"],
    "SequentialLR": [
        "torchvision: 5 epochs of linear warmup, then cosine",
        "Detectron2: 1000 iterations of warmup, then MultiStepLR on its own clock",
    ],
}
IN_EPOCHS = ["ResNet-50 on ImageNet", "torchvision's constant warmup"]


# -- the comparison ----------------------------------------------------------------------------


def build_jaxsched(class_name, kwargs):
    return cases.construct(lambda name, kw: getattr(js, name)(**kw), class_name, kwargs)


def build_optax(class_name, kwargs, translate):
    table = NEAREST | {class_name: translate}
    return cases.construct(
        lambda name, kw: table[name](**kw) if name in table else None, class_name, kwargs
    )


def values(schedules, lengths):
    """The float32 values of each schedule, over its counts."""

    @jax.jit
    def program(counts):
        return [jax.vmap(s)(counts[:n]) for s, n in zip(schedules, lengths, strict=True)]

    return [np.asarray(v, np.float64) for v in program(jnp.arange(max(lengths)))]


def difference(got, torch):
    # Where torch's recursion should come to 0, it leaves a rounding error.
    residue = (got == 0) & (abs(torch) < 1e-15 * abs(torch).max())
    return np.where(residue, 0, abs(got - torch))


def is_off(got, torch):
    return ~(difference(got, torch) <= 1e-6 * abs(torch))  # NaN is off


def recipe_row(class_name, translate, name):
    kwargs, torch = next((kwargs, torch) for n, kwargs, torch in load(class_name) if n == name)
    ours = build_jaxsched(class_name, kwargs)
    if name in IN_EPOCHS:
        ours, torch = js.per_epoch(ours, UPDATES), np.repeat(torch, UPDATES)
        epochs = {"step_size", "milestones", "total_iters"} & kwargs.keys()
        in_updates = {k: (np.array(kwargs[k]) * UPDATES).tolist() for k in epochs}
        kwargs, name = kwargs | in_updates, f"{name}, x {UPDATES:,}"
    theirs, ours = values([build_optax(class_name, kwargs, translate), ours], 2 * [len(torch)])
    off, far = is_off(theirs, torch), difference(theirs, torch)
    first = f"{off.argmax():,}" if off.any() else "none"
    of_value = np.max(far[torch != 0] / abs(torch[torch != 0]))
    same = [np.mean(v == torch.astype(np.float32)) for v in (theirs, ours)]
    return [
        *(name, f"{len(torch):,}", first, f"{off.sum():,}"),
        *(f"{of_value:.1e}", f"{far.max() / abs(torch).max():.1e}"),
        *(f"{share:.2%}" for share in same),
    ]


def fits(kwargs, torch):
    size = abs(torch[torch != 0])
    return (
        np.isfinite(torch).all()
        and size.max(initial=1) < 1e38
        and size.min(initial=1) >= np.finfo(np.float32).tiny
        and max(kwargs.get("milestones", []), default=0) < 2**31
    )


def case_row(class_name, translate):
    found = []
    for _, kwargs, torch in load(class_name):
        if fits(kwargs, torch):
            theirs = build_optax(class_name, kwargs, translate)
            if theirs is not None:
                found.append((theirs, build_jaxsched(class_name, kwargs), torch))
    theirs, ours, torch = zip(*found, strict=True)
    lengths = [*map(len, torch)]
    return [
        sum(not is_off(v, t).any() for v, t in zip(values(s, lengths), torch, strict=True))
        for s in (theirs, ours)
    ] + [len(found)]


def main():
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}\n")
    print("| torch | optax | recipe | counts | first off | off | largest, of the value ", end="")
    print("| of the highest | identical, optax | jaxsched |\n" + 10 * "|---" + "|")
    for class_name, label, translate in FAMILY:
        for name in RECIPES[class_name]:
            row = recipe_row(class_name, translate, name)
            print("| " + " | ".join([class_name, label, *row]) + " |")

    print("\n| torch | optax | within 1e-6 | jaxsched |\n|---|---|---|---|")
    total = np.zeros(3, int)
    for class_name, label, translate in FAMILY:
        row = case_row(class_name, translate)
        if translate is not one_cycle_shorter:  # the same cases
            total += row
        print(f"| {class_name} | {label} | {row[0]} of {row[2]} | {row[1]} of {row[2]} |")
    theirs, ours, number = total
    print(f"| all | | {theirs} of {number}, {theirs / number:.0%} | {ours} of {number} |")


if __name__ == "__main__":
    main()
