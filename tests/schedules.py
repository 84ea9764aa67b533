"""One of each public schedule: what all of them promise is tested on these.

`SHORT` are tables on a device, `LONG` are formulas there; `MORE` are their other branches.
"""

import jax
import numpy as np
import optax
from flax import nnx

import jaxsched as js


def inverse(count):
    return 1.0 / (count / 1 + 1.0)


def half(count):
    return 0.5


def warmup(count):
    """As torch's and Hugging Face's are: JAX cannot trace it."""
    if count < 3:
        return float(count) / max(1, 3)
    return max(0.0, (9 - count) / 6)


ARGUMENTS = {  # of each class by itself
    "StepLR": {"base_lr": 0.1, "step_size": 3},
    "MultiStepLR": {"base_lr": 0.1, "milestones": [2, 5, 5]},
    "ConstantLR": {"base_lr": 0.1},
    "LinearLR": {"base_lr": 0.1},
    "ExponentialLR": {"base_lr": 0.1, "gamma": 0.9},
    "PolynomialLR": {"base_lr": 0.1, "power": 1.5},
    "CosineAnnealingLR": {"base_lr": 0.1, "T_max": 4},
    "CosineAnnealingWarmRestarts": {"base_lr": 0.1, "T_0": 2},
    "SWALR": {"base_lr": 0.1, "swa_lr": 0.01, "anneal_epochs": 5},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.3, "step_size_up": 2, "step_size_down": 3},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 9},
    "LambdaLR": {"base_lr": 0.1, "lr_lambda": inverse},
    "MultiplicativeLR": {"base_lr": 0.1, "lr_lambda": half, "horizon": 6},
    "RecordedLR": {"values": [0.1, 0.3, 0.2]},
    "SequentialLR": {
        "schedulers": [js.LinearLR(0.1), js.per_epoch(js.StepLR(0.1, 1), 2)],
        "milestones": [4],
    },
    "ChainedScheduler": {"schedulers": [js.LinearLR(0.1), js.clamp(js.StepLR(0.1, 2), 4)]},
    "clamp": {"schedule": js.CosineAnnealingLR(0.1, 4), "last_count": 4},
    "per_epoch": {"schedule": js.StepLR(0.1, 2), "steps_per_epoch": 3},
    "smooth_epochs": {"schedule": js.CosineAnnealingLR(0.1, 4), "steps_per_epoch": 3},
}
SHORT = [getattr(js, name)(**arguments) for name, arguments in ARGUMENTS.items()]

MANY = 10**5
LONG = [
    js.StepLR(0.1, 3, gamma=1 - 1e-7),
    js.MultiStepLR(0.1, [2, 5000, 5000, MANY, 10**6 + 1]),
    js.ConstantLR(0.1, total_iters=MANY),
    js.LinearLR(0.1, total_iters=MANY),
    js.ExponentialLR(0.1, 0.99999),
    js.PolynomialLR(0.1, MANY, power=1.5),
    js.CosineAnnealingLR(0.1, MANY, eta_min=0.01),
    js.CosineAnnealingWarmRestarts(0.1, 2, 2, eta_min=0.01),
    js.SWALR(0.1, 0.01, MANY),
    js.CyclicLR(0.1, 0.3, 2000, 3000, "exp_range", 0.9999),
    js.OneCycleLR(0.1, MANY),
    js.LambdaLR(0.1, inverse),
    js.MultiplicativeLR(0.1, half, horizon=5000),
    js.RecordedLR(np.linspace(0.1, 0.2, 5001)),
    js.SequentialLR([js.LinearLR(0.1, total_iters=MANY), js.ExponentialLR(0.1, 0.99999)], [5000]),
    js.ChainedScheduler([js.LinearLR(0.1, total_iters=MANY), js.StepLR(0.1, 2, 0.9999)]),
    js.clamp(js.CosineAnnealingLR(0.1, MANY), MANY),
    js.per_epoch(js.CosineAnnealingWarmRestarts(0.1, 2, 2), [3, 1, 2]),
    js.smooth_epochs(js.ExponentialLR(0.1, 0.9), 391),
]
LONG_COUNTS = np.array(
    [0, 1, 2, 3, 4999, 5000, 5001, MANY - 1, MANY, MANY + 1, 10**6 + 1, 2**31 - 1]
)

MORE = [
    js.StepLR(1, np.int32(3), gamma=np.float32(0.5)),
    js.MultiStepLR(0.1, []),
    js.PolynomialLR(0.1, power=2),
    js.PolynomialLR(0.1, MANY, power=2),
    js.SWALR(0.1, 0.01, MANY, "linear"),
    js.CosineAnnealingWarmRestarts(0.1, MANY),
    js.CyclicLR(0.1, 0.3, 2, 3, "triangular2"),
    js.CyclicLR(0.1, 0.3, 5000, mode="triangular2"),
    js.CyclicLR(0.1, 0.3, 2).momentum,
    js.OneCycleLR(0.1, epochs=3, steps_per_epoch=3, three_phase=True).momentum,
    js.OneCycleLR(0.1, MANY, anneal_strategy="linear", three_phase=True),
    js.SequentialLR(
        [js.LinearLR(0.1), js.ConstantLR(0.2), js.CosineAnnealingLR(0.3, MANY)], [3, 9]
    ),
    js.per_epoch(js.MultiStepLR(0.1, [1, 3]), [3, 1, 2]),
    js.smooth_epochs(js.LinearLR(0.1, total_iters=3), [3, 1, 2]),
]
OF_FUNCTIONS = [  # whose repr does not evaluate back
    js.CyclicLR(0.1, 0.3, 2, scale_fn=inverse),
    js.LambdaLR(0.1, warmup, horizon=10),
    js.LambdaLR(0.1, warmup, horizon=5000),
    js.per_epoch(js.LambdaLR(0.1, warmup, horizon=5), 3),
    js.per_epoch(inverse, 3),
    js.smooth_epochs(js.LambdaLR(0.1, inverse), 3),
    js.SequentialLR([inverse, js.LambdaLR(0.1, inverse)], [4]),
]


def in_epochs(schedule):
    """Whether it may go into an adapter: holds none."""
    return not any(isinstance(part, (js.per_epoch, js.smooth_epochs)) for part in schedule._walk())


def traced(schedule):
    """The schedule with arrays in the place of its numbers, as in a sweep: float32, int32."""
    return jax.tree.map(
        lambda x: jax.numpy.asarray(x, np.int32 if isinstance(x, int) else np.float32), schedule
    )


def jitted(schedules, counts):
    """Their values at the counts, from one program."""
    return jax.jit(lambda counts: [schedule(counts) for schedule in schedules])(counts)


def linear():
    """A layer whose kernel is 0: what is random takes long to compile."""
    return nnx.Linear(1, 1, kernel_init=nnx.initializers.zeros_init(), rngs=nnx.Rngs(0))


def injected(schedule, momentum=None):
    """SGD whose state holds the learning rate, and the state of a ReduceLROnPlateau."""
    return optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=momentum)


def assert_same(schedule, expected, counts=range(40), atol=0.0):
    """On the host and on the device."""
    np.testing.assert_allclose([*map(schedule, map(int, counts))], expected, rtol=1e-14, atol=atol)
    counts = np.asarray(counts)
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-14, atol=atol)
    got = np.asarray(jax.jit(schedule)(counts))
    np.testing.assert_array_max_ulp(got, np.asarray(expected, np.float32))
