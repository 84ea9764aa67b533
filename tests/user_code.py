"""What people write, with the types that a checker has to see. test_types.py runs the checkers.

A line that has to be an error ends with a comment that says so.
"""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.training.train_state import TrainState

import jaxsched as js

# -- constructors ------------------------------------------------------------------------------

step = js.StepLR(0.1, step_size=30)
js.StepLR(0.1, 30, 0.5)
js.StepLR(1, np.int64(30), gamma=np.float32(0.5))
js.StepLR(jnp.array(0.1), 30)
js.StepLR(jnp.array(0.1), jnp.array(30), jnp.array(0.1))
js.StepLR(0.1, 30.0)
multi = js.MultiStepLR(0.1, milestones=[100, 150], gamma=0.1)
js.MultiStepLR(0.1, (100, 150))
js.MultiStepLR(0.1, range(9))
js.MultiStepLR(0.1, jnp.array([100, 150]))
js.MultiStepLR(0.1, np.array([100, 150]))
js.ConstantLR(0.1)
warmup = js.LinearLR(0.1, start_factor=0, total_iters=5)
js.ExponentialLR(0.1, 0.9)
js.PolynomialLR(0.1, 100, power=2)
cosine = js.CosineAnnealingLR(0.1, T_max=90, eta_min=1e-3)
js.CosineAnnealingWarmRestarts(0.1, 10, T_mult=2)
js.SWALR(0.1, swa_lr=0.01, anneal_strategy="linear")
cycle = js.CyclicLR(0.1, 0.3, mode="exp_range", scale_fn=lambda x: 0.5, scale_mode="iterations")
one = js.OneCycleLR(0.1, epochs=3, steps_per_epoch=391, anneal_strategy="linear", three_phase=True)
js.LambdaLR(0.1, lambda count: 0.95**count)
js.LambdaLR(0.1, lambda count: min(1, count), horizon=100)
js.MultiplicativeLR(0.1, lambda count: 0.95, horizon=100)
js.RecordedLR([0.1, 0.2])
js.RecordedLR(np.array([0.1, 0.2]))
sequential = js.SequentialLR([warmup, step], milestones=[5])
js.SequentialLR([warmup, optax.constant_schedule(0.1)], [5])
chained = js.ChainedScheduler([warmup, step])
clamped = js.clamp(cosine, 90)
epochs = js.per_epoch(multi, steps_per_epoch=391)
js.per_epoch(multi, [391, 390])
js.per_epoch(optax.cosine_decay_schedule(0.1, 90), 391)
js.per_epoch(lambda epoch: 0.1, 391)
js.smooth_epochs(cosine, 391)
plateau = js.ReduceLROnPlateau(0.1, "max", patience=5, threshold_mode="abs", min_lr=np.float32(0))
assert_type(js.steps_per_epoch(50_000, 128, drop_last=False), int)

js.StepLR("0.1", 30)  # error
js.StepLR(0.1)  # error
js.StepLR(0.1, 30, gama=0.5)  # error
js.MultiStepLR(0.1, 100)  # error
js.MultiStepLR(0.1, {100: 0.5})  # error
js.CyclicLR(0.1, 0.3, mode="triangle")  # error
js.SWALR(0.1, 0.01, anneal_strategy="cosine")  # error
js.ReduceLROnPlateau(0.1, mode="mim")  # error
js.ReduceLROnPlateau(jnp.array(0.1))  # error
js.per_epoch(0.1, 391)  # error
js.SequentialLR(warmup, [5])  # error
js.ChainedScheduler([0.1])  # error
js.LambdaLR(0.1, 0.5)  # error
step.stepp  # error

# -- what they hold ----------------------------------------------------------------------------

assert_type(step.base_lr, float)
assert_type(step.step_size, int)
assert_type(multi.milestones, tuple[int, ...])
assert_type(sequential.schedulers, tuple[js.Schedule, ...])
assert_type(one.momentum, js.OneCycleLR)
assert_type(cycle.momentum, js.CyclicLR)

# -- calls -------------------------------------------------------------------------------------

assert_type(step(5), float)
assert_type(epochs(np.int64(5)), float)
assert_type(epochs(jnp.arange(5)), jax.Array)
curve = epochs(np.arange(5))
curve.astype(np.float32).tolist()
bad: str = step(5)  # error
worse: str = epochs(jnp.arange(5))  # error


def total(schedule: js.Schedule, updates: int) -> float:
    return sum(schedule(count) for count in range(updates))


total(step, 5)
total(epochs, 5)
total(0.1, 5)  # error

# -- in optax ----------------------------------------------------------------------------------

as_schedule: optax.Schedule = epochs
as_scalar: optax.ScalarOrSchedule = epochs
tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(epochs, momentum=0.9))
optax.adamw(one, b1=0.9)
optax.join_schedules([warmup, step], [5])
tx = optax.inject_hyperparams(optax.sgd)(learning_rate=epochs, momentum=0.9)
params = {"w": jnp.zeros(3)}
opt_state = tx.init(params)
assert_type(js.get_last_lr(opt_state), list[float])

# -- states ------------------------------------------------------------------------------------

state: TrainState = TrainState.create(apply_fn=None, params=params, tx=tx)
assert_type(js.observe(state, 1.0), TrainState)
assert_type(js.set_count(state, 391), TrainState)
model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
assert_type(step(nnx.Variable(jnp.int32(3))), jax.Array)
assert_type(js.set_count(optimizer, 391), nnx.Optimizer[nnx.Linear])

# -- sweeps ------------------------------------------------------------------------------------

stacked = js.stack([js.StepLR(0.1, 30), js.StepLR(0.2, 30)])
assert_type(stacked, js.StepLR)
assert_type(js.unstack(stacked), list[js.StepLR])
