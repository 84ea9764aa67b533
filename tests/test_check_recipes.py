"""check on well-known recipes, as one writes them in jaxsched: clean, and with a mistake in it."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxsched as js
from tests.marks import one_in


def warmup(base_lr, total_iters, start_factor=0.01):
    return js.LinearLR(base_lr, start_factor=start_factor, total_iters=total_iters)


def then(first, milestone, second):
    return js.SequentialLR([first, second], milestones=[milestone])


def linear_to_zero(num_warmup, total):
    def factor(count):
        up = count / max(1, num_warmup)
        return jnp.minimum(up, jnp.maximum(0.0, (total - count) / max(1, total - num_warmup)))

    return factor


def inverse_sqrt(num_warmup):
    return lambda count: jnp.minimum((count + 1) / num_warmup, ((count + 1) / num_warmup) ** -0.5)


def get_lr(count, warmup_iters=2000, lr_decay_iters=600_000, learning_rate=6e-4, min_lr=6e-5):
    """nanoGPT's, a Python function."""
    if count < warmup_iters:
        return learning_rate * (count + 1) / (warmup_iters + 1)
    if count > lr_decay_iters:
        return min_lr
    ratio = (count - warmup_iters) / (lr_decay_iters - warmup_iters)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)


def one_cycle(y1, y2, steps):
    """ultralytics', in its own words."""
    return lambda x: jnp.maximum((1 - jnp.cos(x * math.pi / steps)) / 2, 0) * (y2 - y1) + y1


CLEAN = {  # a recipe: schedule, counts of the run, updates in an epoch
    "torchvision, ResNet-50": (js.per_epoch(js.StepLR(0.1, 30), 1252), 90 * 1252, 1252),
    "torchvision, ResNet-50 v2": (
        js.per_epoch(then(warmup(0.5, 5), 5, js.CosineAnnealingLR(0.5, 595)), 1252),
        600 * 1252,
        1252,
    ),
    "torchvision, MobileNetV2": (
        js.per_epoch(js.StepLR(0.045, 1, gamma=0.98), 500),
        300 * 500,
        500,
    ),
    "torchvision, VGG": (js.per_epoch(js.StepLR(0.01, 30), 5005), 90 * 5005, 5005),
    "torchvision, detection": (
        js.ChainedScheduler(
            [warmup(0.02, 1000, 0.001), js.per_epoch(js.MultiStepLR(0.02, [16, 22]), 7330)]
        ),
        26 * 7330,
        7330,
    ),
    "torchvision, segmentation": (js.PolynomialLR(0.02, 30 * 5786, power=0.9), 30 * 5786, 5786),
    "torchvision, segmentation with warmup": (
        then(warmup(0.02, 5 * 578), 5 * 578, js.PolynomialLR(0.02, 25 * 578, power=0.9)),
        30 * 578,
        578,
    ),
    "torchvision, video": (
        then(
            warmup(0.64, 10 * 3759, 0.001),
            10 * 3759,
            js.MultiStepLR(0.64, [10 * 3759, 20 * 3759, 30 * 3759]),
        ),
        45 * 3759,
        3759,
    ),
    "torchvision, RAFT": (
        js.OneCycleLR(4e-4, 100_100, pct_start=0.05, anneal_strategy="linear"),
        100_100,
        None,
    ),
    "He et al., CIFAR": (js.MultiStepLR(0.1, [32_000, 48_000]), 64_000, 391),
    "He et al., ResNet-110": (
        then(js.ConstantLR(0.01, factor=1.0), 400, js.MultiStepLR(0.1, [31_600, 47_600])),
        64_000,
        391,
    ),
    "WRN-28-10": (js.per_epoch(js.MultiStepLR(0.1, [60, 120, 160], 0.2), 391), 200 * 391, 391),
    "timm, cosine by epoch": (
        js.per_epoch(then(warmup(1e-3, 5, 1e-3), 5, js.CosineAnnealingLR(1e-3, 295)), 1251),
        300 * 1251,
        1251,
    ),
    "timm, step of EfficientNet": (
        js.LambdaLR(0.016, lambda n: 0.97 ** (n // 303), horizon=450 * 125),
        450 * 125,
        125,
    ),
    "DeiT": (
        js.per_epoch(
            then(warmup(5e-4, 5, 2e-3), 5, js.CosineAnnealingLR(5e-4, 295, eta_min=1e-5)), 1251
        ),
        300 * 1251,
        1251,
    ),
    "Swin": (
        then(
            warmup(1e-3, 20 * 1251, 5e-4),
            20 * 1251,
            js.CosineAnnealingLR(1e-3, 280 * 1251, eta_min=5e-6),
        ),
        300 * 1251,
        1251,
    ),
    "MAE": (
        js.smooth_epochs(
            then(js.LinearLR(1.5e-4, 0.0, total_iters=40), 40, js.CosineAnnealingLR(1.5e-4, 760)),
            312,
        ),
        800 * 312,
        312,
    ),
    "SimCLR": (
        js.smooth_epochs(
            then(js.LinearLR(4.8, 0.0, total_iters=10), 10, js.CosineAnnealingLR(4.8, 990)), 312
        ),
        1000 * 312,
        312,
    ),
    "MoCo": (js.per_epoch(js.MultiStepLR(0.03, [120, 160]), 5004), 200 * 5004, 5004),
    "MoCo v2": (js.per_epoch(js.CosineAnnealingLR(0.03, 200), 5004), 200 * 5004, 5004),
    "BYOL-like, warmup in the first epoch": (
        then(warmup(0.2, 500), 500, js.per_epoch(js.CosineAnnealingLR(0.2, 90), 1251)),
        90 * 1251,
        1251,
    ),
    "Hugging Face, linear": (js.LambdaLR(5e-5, linear_to_zero(50, 1000)), 1000, 100),
    "Hugging Face, linear, of two lines": (
        then(js.LinearLR(5e-5, 0.0, total_iters=500), 500, js.LinearLR(5e-5, 1.0, 0.0, 9500)),
        10_000,
        1000,
    ),
    "Hugging Face, constant with warmup": (js.LinearLR(5e-5, 0.0, total_iters=50), 10_000, 1000),
    "Hugging Face, cosine": (
        then(js.LinearLR(5e-5, 0.0, total_iters=500), 500, js.CosineAnnealingLR(5e-5, 9500)),
        10_000,
        None,
    ),
    "Hugging Face, inverse square root": (js.LambdaLR(1e-3, inverse_sqrt(100)), 1000, None),
    "Hugging Face, a few epochs": (
        then(js.LinearLR(2e-5, 0.0, total_iters=22), 22, js.LinearLR(2e-5, 1.0, 0.0, 323)),
        345,
        115,
    ),
    "BERT": (
        then(js.LinearLR(1e-4, 0.0, total_iters=10_000), 10_000, js.PolynomialLR(1e-4, 990_000)),
        1_000_000,
        None,
    ),
    "nanoGPT, its function": (js.LambdaLR(1.0, get_lr, horizon=60_000), 60_000, None),
    "nanoGPT": (
        then(
            js.LinearLR(6e-4, 1 / 2000, total_iters=2000),
            2000,
            js.CosineAnnealingLR(6e-4, 598_000, eta_min=6e-5),
        ),
        600_000,
        None,
    ),
    "nanoGPT, Shakespeare": (
        then(warmup(1e-3, 100), 100, js.CosineAnnealingLR(1e-3, 4900, eta_min=1e-4)),
        5000,
        None,
    ),
    "LLaMA": (
        then(warmup(3e-4, 2000), 2000, js.CosineAnnealingLR(3e-4, 248_000, eta_min=3e-5)),
        250_000,
        None,
    ),
    "WSD": (
        js.SequentialLR(
            [warmup(1e-3, 2000), js.ConstantLR(1e-3, 1.0), js.LinearLR(1e-3, 1.0, 0.0, 10_000)],
            [2000, 90_000],
        ),
        100_000,
        None,
    ),
    "YOLOv5": (
        js.ChainedScheduler(
            [
                js.LinearLR(0.01, 0.0, total_iters=3 * 1849),
                js.smooth_epochs(js.LinearLR(0.01, 1.0, 0.01, total_iters=300), 1849),
            ]
        ),
        300 * 1849,
        1849,
    ),
    "YOLOv8, cos_lr": (js.per_epoch(js.LambdaLR(0.01, one_cycle(1, 0.01, 100)), 6), 100 * 6, 6),
    "detectron2, 1x": (
        js.ChainedScheduler([warmup(0.02, 1000, 0.001), js.MultiStepLR(0.02, [60_000, 80_000])]),
        90_000,
        7330,
    ),
    "detectron2, 3x": (
        js.ChainedScheduler([warmup(0.02, 1000, 0.001), js.MultiStepLR(0.02, [210_000, 250_000])]),
        270_000,
        None,
    ),
    "detectron2, few shots": (
        js.ChainedScheduler([warmup(0.001, 10, 0.001), js.MultiStepLR(0.001, [3000, 3600])]),
        4000,
        None,
    ),
    "detectron2, cosine": (
        js.ChainedScheduler([warmup(0.02, 1000, 0.001), js.CosineAnnealingLR(0.02, 90_000)]),
        90_000,
        7330,
    ),
    "mmdetection, 1x": (
        js.ChainedScheduler(
            [warmup(0.02, 500, 0.001), js.per_epoch(js.MultiStepLR(0.02, [8, 11]), 7330)]
        ),
        12 * 7330,
        7330,
    ),
    "RTMDet": (
        js.SequentialLR(
            [
                warmup(4e-3, 1000, 1e-5),
                js.ConstantLR(4e-3, factor=1.0),
                js.CosineAnnealingLR(4e-3, 150 * 925, eta_min=2e-4),
            ],
            [1000, 150 * 925],
        ),
        300 * 925,
        925,
    ),
    "DETR": (js.per_epoch(js.StepLR(1e-4, 200), 1478), 300 * 1478, 1478),
    "fairseq, inverse_sqrt": (js.LambdaLR(5e-4, inverse_sqrt(100)), 2000, None),
    "fairseq, polynomial_decay": (
        then(js.LinearLR(1e-5, 0.0, total_iters=122), 122, js.PolynomialLR(1e-5, 1914)),
        2036,
        None,
    ),
    "fairseq, tri_stage": (
        js.SequentialLR(
            [
                warmup(5e-5, 8000),
                js.ConstantLR(5e-5, factor=1.0),
                js.ExponentialLR(5e-5, 0.01 ** (1 / 40_000)),
            ],
            [8000, 40_000],
        ),
        80_000,
        None,
    ),
    "torch's SWA": (
        js.per_epoch(then(js.CosineAnnealingLR(0.1, 300), 160, js.SWALR(0.05, 0.05)), 391),
        300 * 391,
        391,
    ),
    "SWA of a constant": (
        js.per_epoch(then(js.StepLR(0.1, 50), 75, js.SWALR(0.01, 0.05, anneal_epochs=5)), 391),
        100 * 391,
        391,
    ),
    "SGDR": (js.smooth_epochs(js.CosineAnnealingWarmRestarts(0.05, 10, 2), 391), 150 * 391, 391),
    "SGDR, snapshots": (js.CosineAnnealingWarmRestarts(0.1, 50 * 391), 300 * 391, 391),
    "super-convergence": (js.OneCycleLR(0.8, epochs=30, steps_per_epoch=98), 30 * 98, 98),
    "cyclical": (js.CyclicLR(1e-3, 6e-3, 8 * 391), 48 * 391, 391),
    "CycleGAN": (
        js.per_epoch(
            then(js.ConstantLR(2e-4, factor=1.0), 100, js.LinearLR(2e-4, 1.0, 0.0, 101)), 1334
        ),
        200 * 1334,
        1334,
    ),
    "PPO": (js.LinearLR(2.5e-4, 1.0, 0.0, total_iters=976), 976, None),
    "a short epoch, a warmup in updates": (
        js.ChainedScheduler([warmup(0.1, 10), js.per_epoch(js.StepLR(0.1, 10), 22)]),
        30 * 22,
        22,
    ),
    "CosineAnnealingLR, one count short": (js.CosineAnnealingLR(0.1, 90), 89, None),
    "epochs of their own lengths": (
        js.per_epoch(js.MultiStepLR(0.1, [30, 60]), [390, 391]),
        90 * 391 - 1,
        [390, 391],
    ),
    "a plateau": (js.ReduceLROnPlateau(0.1), 40 * 391 - 1, [390, 391]),
}


@pytest.mark.parametrize("recipe", one_in(3, CLEAN))
def test_no_known_recipe_is_found_fault_with(recipe):
    schedule, num_counts, steps = CLEAN[recipe]
    assert js.check(schedule, num_counts, steps_per_epoch=steps) == []
    if steps is not None:
        assert js.check(schedule, num_counts) == []


RUN = 90 * 391
EPOCHS_5, UPDATES_5 = warmup(0.1, 5), warmup(0.1, 5 * 391)
DECAY, COSINE = js.MultiStepLR(0.1, [30, 60]), js.CosineAnnealingLR(0.1, 85)
PLANTED = [  # a schedule, what is found, what to write: of a run of 90 epochs of 391 updates
    (
        then(EPOCHS_5, 5, js.per_epoch(DECAY, 391)),
        "two-units",
        then(js.per_epoch(EPOCHS_5, 391), 1955, js.per_epoch(DECAY, 391)),
    ),
    (
        then(EPOCHS_5, 1955, js.per_epoch(DECAY, 391)),
        "two-units",
        then(js.per_epoch(EPOCHS_5, 391), 1955, js.per_epoch(DECAY, 391)),
    ),
    (
        then(UPDATES_5, 5, js.per_epoch(DECAY, 391)),
        "two-units",
        then(UPDATES_5, 1955, js.per_epoch(DECAY, 391)),
    ),
    (
        then(
            js.per_epoch(warmup(0.1, 40), 391), 40, js.per_epoch(js.CosineAnnealingLR(0.1, 50), 391)
        ),
        "two-units",
        then(
            js.per_epoch(warmup(0.1, 40), 391),
            40 * 391,
            js.per_epoch(js.CosineAnnealingLR(0.1, 50), 391),
        ),
    ),
    (
        then(EPOCHS_5, 5, js.smooth_epochs(COSINE, 391)),
        "two-units",
        then(js.smooth_epochs(EPOCHS_5, 391), 1955, js.smooth_epochs(COSINE, 391)),
    ),
    (
        then(UPDATES_5, 5, js.CosineAnnealingLR(0.1, 85 * 391)),
        "two-units",
        then(UPDATES_5, 1955, js.CosineAnnealingLR(0.1, 85 * 391)),
    ),
    (
        then(EPOCHS_5, 5, js.CosineAnnealingLR(0.1, 85 * 391)),
        "two-units",
        then(js.per_epoch(EPOCHS_5, 391), 1955, js.CosineAnnealingLR(0.1, 85 * 391)),
    ),
    (
        js.SequentialLR([UPDATES_5, js.per_epoch(DECAY, 391), js.ConstantLR(1e-4, 1.0)], [5, 80]),
        "two-units",
        js.SequentialLR(
            [UPDATES_5, js.per_epoch(DECAY, 391), js.ConstantLR(1e-4, 1.0)], [1955, 80 * 391]
        ),
    ),
    (
        js.ChainedScheduler([EPOCHS_5, js.per_epoch(DECAY, 391)]),
        "two-units",
        js.ChainedScheduler([js.per_epoch(EPOCHS_5, 391), js.per_epoch(DECAY, 391)]),
    ),
    (
        js.ChainedScheduler([js.ConstantLR(0.1, 0.1), js.per_epoch(DECAY, 391)]),
        "two-units",
        js.ChainedScheduler([js.per_epoch(js.ConstantLR(0.1, 0.1), 391), js.per_epoch(DECAY, 391)]),
    ),
    (
        js.ChainedScheduler([js.per_epoch(EPOCHS_5, 391), DECAY]),
        "epochs-fed-updates",
        js.ChainedScheduler([js.per_epoch(EPOCHS_5, 391), js.per_epoch(DECAY, 391)]),
    ),
    (
        js.per_epoch(js.MultiStepLR(0.1, [30 * 391, 60 * 391]), 391),
        "updates-fed-epochs",
        js.MultiStepLR(0.1, [30 * 391, 60 * 391]),
    ),
    (js.per_epoch(js.StepLR(0.1, 30 * 391), 391), "updates-fed-epochs", js.StepLR(0.1, 30 * 391)),
    (
        js.smooth_epochs(js.CosineAnnealingLR(0.1, RUN), 391),
        "updates-fed-epochs",
        js.CosineAnnealingLR(0.1, RUN),
    ),
    (js.per_epoch(js.PolynomialLR(0.1, RUN), 391), "updates-fed-epochs", js.PolynomialLR(0.1, RUN)),
    (js.per_epoch(js.OneCycleLR(0.1, RUN), 391), "updates-fed-epochs", js.OneCycleLR(0.1, RUN)),
    (
        js.per_epoch(then(UPDATES_5, 1955, js.CosineAnnealingLR(0.1, 85 * 391)), 391),
        "updates-fed-epochs",
        then(UPDATES_5, 1955, js.CosineAnnealingLR(0.1, 85 * 391)),
    ),
    (
        js.per_epoch(then(UPDATES_5, 5, COSINE), 391),
        "updates-fed-epochs",
        js.per_epoch(then(EPOCHS_5, 5, COSINE), 391),
    ),
    (
        js.per_epoch(js.ChainedScheduler([UPDATES_5, DECAY]), 391),
        "updates-fed-epochs",
        js.per_epoch(js.ChainedScheduler([EPOCHS_5, DECAY]), 391),
    ),
    (
        js.per_epoch(then(EPOCHS_5, 5, js.CosineAnnealingLR(0.1, 90)), 391),
        "decay-longer-than-run",
        js.per_epoch(then(EPOCHS_5, 5, COSINE), 391),
    ),
    (
        then(UPDATES_5, 1955, js.CosineAnnealingLR(0.1, RUN)),
        "decay-longer-than-run",
        then(UPDATES_5, 1955, js.CosineAnnealingLR(0.1, RUN - 1955)),
    ),
    (
        js.smooth_epochs(then(EPOCHS_5, 5, js.PolynomialLR(0.1, 90)), 391),
        "decay-longer-than-run",
        js.smooth_epochs(then(EPOCHS_5, 5, js.PolynomialLR(0.1, 85)), 391),
    ),
    (
        then(UPDATES_5, 1955, js.LinearLR(0.1, 1.0, 0.0, RUN)),
        "decay-longer-than-run",
        then(UPDATES_5, 1955, js.LinearLR(0.1, 1.0, 0.0, RUN - 1955)),
    ),
    (
        js.per_epoch(js.CosineAnnealingLR(0.1, 200), 391),
        "decay-longer-than-run",
        js.per_epoch(js.CosineAnnealingLR(0.1, 90), 391),
    ),
    (
        js.per_epoch(js.PolynomialLR(0.1, 60), 391),
        "decay-shorter-than-run",
        js.per_epoch(js.PolynomialLR(0.1, 90), 391),
    ),
    (
        js.per_epoch(js.PolynomialLR(0.1, 30), 391),
        "decay-shorter-than-run",
        js.per_epoch(js.PolynomialLR(0.1, 90), 391),
    ),
    (
        then(UPDATES_5, 1955, js.LinearLR(0.1, 1.0, 0.0, 60 * 391)),
        "decay-shorter-than-run",
        then(UPDATES_5, 1955, js.LinearLR(0.1, 1.0, 0.0, 85 * 391)),
    ),
    (
        js.per_epoch(js.CosineAnnealingWarmRestarts(0.1, 12, 2), 391),
        "cycle-cut-short",
        js.per_epoch(js.CosineAnnealingWarmRestarts(0.1, 13, 2), 391),
    ),
    (
        js.CosineAnnealingWarmRestarts(0.1, 2 * RUN),
        "cycle-cut-short",
        js.CosineAnnealingWarmRestarts(0.1, RUN),
    ),
    (js.CyclicLR(0.001, 0.1, 30_000), "cycle-cut-short", js.CyclicLR(0.001, 0.1, RUN // 2)),
    (
        js.per_epoch(js.CyclicLR(0.001, 0.1, 60, 120), 391),
        "cycle-cut-short",
        js.per_epoch(js.CyclicLR(0.001, 0.1, 30, 60), 391),
    ),
    (
        js.per_epoch(then(DECAY, 75, js.SWALR(0.1, 0.05)), 391),
        "swa-jumps-up",
        js.per_epoch(then(DECAY, 75, js.SWALR(0.001, 0.05)), 391),
    ),
    (
        then(js.per_epoch(DECAY, 391), 75 * 391, js.per_epoch(js.SWALR(0.1, 0.05), 391)),
        "swa-jumps-up",
        then(js.per_epoch(DECAY, 391), 75 * 391, js.per_epoch(js.SWALR(0.001, 0.05), 391)),
    ),
]


def line(finding):
    return eval(finding.advice.split("`")[-2], dict(vars(js)))


@pytest.mark.parametrize(("schedule", "code", "right"), PLANTED)
def test_a_mistake_is_found_by_its_name_and_the_corrected_schedule_is_whole(schedule, code, right):
    found = js.check(schedule, RUN, steps_per_epoch=391)
    assert [finding.code for finding in found] == code.split(), found
    counts = np.arange(RUN)
    np.testing.assert_allclose(line(found[0])(counts), right(counts), rtol=1e-12)
    assert js.check(right, RUN, steps_per_epoch=391) == []


@st.composite
def recipes(draw):
    """A recipe in epochs: its members, and what is around them; and the run."""
    epochs = draw(st.integers(20, 300))
    length = draw(st.integers(60, 60_000 // epochs + 60))
    num_warmup = draw(st.integers(2, epochs // 4))
    left = epochs - num_warmup
    steps = sorted({left // 3, 2 * left // 3})
    kinds = [
        js.CosineAnnealingLR(0.1, left),
        js.CosineAnnealingLR(0.1, left, eta_min=1e-4),
        js.PolynomialLR(0.1, left, power=0.9),
        js.MultiStepLR(0.1, steps),
        js.StepLR(0.1, max(left // 3, 2)),
        js.ExponentialLR(0.1, draw(st.floats(0.95, 0.99))),
        js.LinearLR(0.1, 1.0, 0.0, left),
    ]
    return epochs, length, num_warmup, draw(st.sampled_from(kinds))


def in_updates(schedule, length):
    """The same schedule, whose sizes count updates."""
    match schedule:
        case js.CosineAnnealingLR(T_max=n):
            return js.CosineAnnealingLR(0.1, n * length, schedule.eta_min)
        case js.PolynomialLR(total_iters=n):
            return js.PolynomialLR(0.1, n * length, schedule.power)
        case js.LinearLR(start_factor=start, end_factor=end, total_iters=n):
            return js.LinearLR(0.1, start, end, n * length)
        case js.MultiStepLR(milestones=milestones):
            return js.MultiStepLR(0.1, [m * length for m in milestones])
        case js.StepLR(step_size=n):
            return js.StepLR(0.1, n * length)
    return js.ExponentialLR(0.1, schedule.gamma ** (1 / length))


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(recipes(), st.sampled_from([js.per_epoch, js.smooth_epochs]))
def test_a_recipe_is_clean_in_each_unit_and_each_mistake_of_units_is_found(recipe, adapt):
    epochs, length, num_warmup, decay = recipe
    run, linear = epochs * length, warmup(0.1, num_warmup)
    if not decay._is_smooth:
        adapt = js.per_epoch
    right = [
        adapt(then(linear, num_warmup, decay), length),
        then(adapt(linear, length), num_warmup * length, adapt(decay, length)),
        then(in_updates(linear, length), num_warmup * length, adapt(decay, length)),
        then(in_updates(linear, length), num_warmup * length, in_updates(decay, length)),
        js.ChainedScheduler(
            [in_updates(linear, length), js.per_epoch(js.StepLR(0.1, epochs // 3), length)]
        ),
    ]
    for schedule in right:
        assert js.check(schedule, run, steps_per_epoch=length) == []
        assert js.check(schedule, run) == []
    wrong = [
        then(adapt(linear, length), num_warmup, adapt(decay, length)),
        then(in_updates(linear, length), num_warmup, adapt(decay, length)),
        then(in_updates(linear, length), num_warmup, in_updates(decay, length)),
    ]
    if num_warmup <= length / 10 and num_warmup <= 50:
        wrong.append(then(linear, num_warmup, adapt(decay, length)))
        wrong.append(
            js.ChainedScheduler([linear, js.per_epoch(js.StepLR(0.1, epochs // 3), length)])
        )
    for schedule in wrong:
        found = js.check(schedule, run, steps_per_epoch=length)
        assert [finding.code for finding in found] == ["two-units"], schedule
        assert js.check(line(found[0]), run, steps_per_epoch=length) == []
    updates = then(in_updates(linear, length), num_warmup * length, in_updates(decay, length))
    found = js.check(adapt(updates, length), run, steps_per_epoch=length)
    if isinstance(decay, js.ExponentialLR):  # whose gamma has no unit
        updates = then(linear, num_warmup, updates.schedulers[1])
        updates = adapt(updates, length)
    if not isinstance(decay, js.ExponentialLR) or num_warmup * length > 2 * epochs:
        assert [finding.code for finding in found] == ["updates-fed-epochs"]
        np.testing.assert_allclose(line(found[0])(np.arange(run)), updates(np.arange(run)))
