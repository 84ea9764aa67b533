"""What torch's and optax's habits are answered: every message, in messages.txt, top to bottom.

`python -m tests.test_hints` writes that file again.
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsched as js
from tests.schedules import linear

MESSAGES = Path(__file__).parent / "messages.txt"
MODEL = linear()
PARAMS = {"w": jnp.ones(2)}
PLATEAU = js.ReduceLROnPlateau(0.1)
SGD = optax.inject_hyperparams(optax.sgd)(learning_rate=PLATEAU)


class TorchOptimizer:
    """As a person has it in the other window; `torch.optim` shows its class so, too."""

    param_groups = [{"lr": 0.1}]

    def __repr__(self):
        return "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.1\n" * 9


class TorchTensor:
    """As torch's: its dtype is none of NumPy's."""

    dtype = "torch.int64"

    def numpy(self):
        return np.array(3)


torch_sgd, torch_tensor = TorchOptimizer(), TorchTensor()
step = js.StepLR(0.1, 30)


def branch(count):
    return 1.0 if count < 5 else max(count, 9) / 9


def update(tx, params=PARAMS):
    return tx.update(params, tx.init(params), params)


MISTAKES = {
    "An optimizer or a model where the learning rate goes": {
        "js.StepLR(torch_sgd, 30)": lambda: js.StepLR(torch_sgd, 30),
        "js.StepLR(torch_sgd, step_size=30, gamma=0.1)": lambda: js.StepLR(torch_sgd, 30, 0.1),
        "js.OneCycleLR(torch_sgd, max_lr=0.1, total_steps=9)": lambda: js.OneCycleLR(
            torch_sgd, max_lr=0.1, total_steps=9
        ),
        "js.ExponentialLR(optax.sgd(0.1), 0.9)": lambda: js.ExponentialLR(optax.sgd(0.1), 0.9),
        "js.CosineAnnealingLR(model, 90)": lambda: js.CosineAnnealingLR(MODEL, 90),
        "js.ReduceLROnPlateau(torch_sgd, 'min')": lambda: js.ReduceLROnPlateau(torch_sgd, "min"),
        "js.SequentialLR(torch_sgd, [step], [])": lambda: js.SequentialLR(torch_sgd, [step], []),
        "js.ChainedScheduler([step], torch_sgd)": lambda: js.ChainedScheduler([step], torch_sgd),
        "js.StepLR([0.1, 0.01], 30)": lambda: js.StepLR([0.1, 0.01], 30),
        "js.StepLR(torch_tensor, 30)": lambda: js.StepLR(torch_tensor, 30),
        "js.StepLR('0.1', 30)": lambda: js.StepLR("0.1", 30),
    },
    "Arguments of torch that are not here": {
        f"js.StepLR(0.1, 30, {keyword}=...)": lambda keyword=keyword: js.StepLR(
            0.1, 30, **{keyword: 1}
        )
        for keyword in ("last_epoch", "verbose", "lr", "learning_rate", "optimizer", "warmup_steps")
    }
    | {
        "js.StepLR(optimizer=torch_sgd, step_size=30)": lambda: js.StepLR(
            optimizer=torch_sgd, step_size=30
        ),
        "js.CyclicLR(0.1, 0.2, cycle_momentum=False)": lambda: js.CyclicLR(
            0.1, 0.2, cycle_momentum=False
        ),
        "js.OneCycleLR(0.05, max_lr=0.1, total_steps=9)": lambda: js.OneCycleLR(
            0.05, max_lr=0.1, total_steps=9
        ),
        "js.OneCycleLR(0.1)": lambda: js.OneCycleLR(0.1),
        "js.OneCycleLR(0.1, epochs=3)": lambda: js.OneCycleLR(0.1, epochs=3),
        "js.CyclicLR(0.1, base_lr=0.01, max_lr=0.1)": lambda: js.CyclicLR(
            0.1, base_lr=0.01, max_lr=0.1
        ),
        "js.ReduceLROnPlateau(0.1, verbose=True)": lambda: js.ReduceLROnPlateau(0.1, verbose=True),
    },
    "Methods of torch that are not here": {
        f"schedule.{name}": lambda name=name: getattr(step, name)
        for name in (
            *("step", "get_last_lr", "get_lr", "state_dict", "load_state_dict", "last_epoch"),
            *("base_lrs", "optimizer", "gama", "plot", "lr", "replace", "per_epoch"),
        )
    }
    | {
        f"plateau.{name}": lambda name=name: getattr(PLATEAU, name)
        for name in ("step", "state_dict", "best", "lr", "get_last_lr", "per_epoch")
    },
    "A schedule as a number or a list": {
        "0.5 * step": lambda: 0.5 * step,
        "step / 2": lambda: step / 2,
        "1 - step": lambda: 1 - step,
        "-step": lambda: -step,
        "np.ones(2) * step": lambda: np.ones(2) * step,
        "jnp.ones(2) * step": lambda: jnp.ones(2) * step,
        "2 * PLATEAU": lambda: 2 * PLATEAU,
        "step[10]": lambda: step[10],
        "step[:10]": lambda: step[:10],
        "step([0, 30])": lambda: step([0, 30]),
        "step(range(3))": lambda: step(range(3)),
        "step(torch_tensor)": lambda: step(torch_tensor),
    },
    "Compositions": {
        "js.SequentialLR(0.1, [step, step], milestones=[5])": lambda: js.SequentialLR(
            0.1, [step, step], milestones=[5]
        ),
        "js.SequentialLR(0.1, [step])": lambda: js.SequentialLR(0.1, [step]),
        "js.ChainedScheduler(0.1, [step])": lambda: js.ChainedScheduler(0.1, [step]),
        "js.ChainedScheduler(0.1)": lambda: js.ChainedScheduler(0.1),
        "js.ChainedScheduler(step, step)": lambda: js.ChainedScheduler(step, step),
        "js.SequentialLR(step, step, [5])": lambda: js.SequentialLR(step, step, [5]),
        "js.SequentialLR([step, PLATEAU], [5])": lambda: js.SequentialLR([step, PLATEAU], [5]),
        "js.ChainedScheduler([step, PLATEAU])": lambda: js.ChainedScheduler([step, PLATEAU]),
        "js.ChainedScheduler([step, js.CyclicLR(0.1, 0.2)])": lambda: js.ChainedScheduler(
            [step, js.CyclicLR(0.1, 0.2)]
        ),
        "js.per_epoch(PLATEAU, 391)": lambda: js.per_epoch(PLATEAU, 391),
        "js.per_epoch(optax.sgd(0.1), 391)": lambda: js.per_epoch(optax.sgd(0.1), 391),
        "js.per_epoch(0.1, 391)": lambda: js.per_epoch(0.1, 391),
        "js.per_epoch(js.per_epoch(step, 391), 391)": lambda: js.per_epoch(
            js.per_epoch(step, 391), 391
        ),
        "js.smooth_epochs(step, 391)": lambda: js.smooth_epochs(step, 391),
    },
    "optax's boundaries and scales": {
        "js.MultiStepLR(0.1, {100: 0.5, 150: 0.2})": lambda: js.MultiStepLR(
            0.1, {100: 0.5, 150: 0.2}
        ),
        "js.SequentialLR({0: step}, [])": lambda: js.SequentialLR({0: step}, []),
        "js.SequentialLR([step, step], {5: 1})": lambda: js.SequentialLR([step, step], {5: 1}),
        "js.per_epoch(step, 50_000 / 128)": lambda: js.per_epoch(step, 50_000 / 128),
        "js.per_epoch(step, {0: 391})": lambda: js.per_epoch(step, {0: 391}),
        "js.RecordedLR({0: 0.1})": lambda: js.RecordedLR({0: 0.1}),
    },
    "A schedule where an optimizer goes, or the class itself": {
        "nnx.Optimizer(model, step, wrt=nnx.Param)": lambda: nnx.Optimizer(
            MODEL, step, wrt=nnx.Param
        ),
        "optax.chain(optax.clip(1.0), step).init(params)": lambda: optax.chain(
            optax.clip(1.0), step
        ).init(PARAMS),
        "js.per_epoch(js.StepLR, 10)": lambda: js.per_epoch(js.StepLR, 10),
        "js.SequentialLR([js.LinearLR, step], [5])": lambda: js.SequentialLR(
            [js.LinearLR, step], [5]
        ),
        "js.LambdaLR(0.1, js.StepLR)": lambda: js.LambdaLR(0.1, js.StepLR),
        "optax.sgd(js.StepLR)": lambda: update(optax.sgd(js.StepLR)),
        "optax.sgd(js.ConstantLR)": lambda: update(optax.sgd(js.ConstantLR)),
        "optax.sgd(PLATEAU)": lambda: update(optax.sgd(PLATEAU)),
    },
    "Counts": {
        "step(2.5)": lambda: step(2.5),
        "step(jnp.float32(2))": lambda: step(jnp.float32(2)),
        "step(True)": lambda: step(True),
        "step('3')": lambda: step("3"),
    },
    "The state": {
        "js.observe(1.0, state)": lambda: js.observe(1.0, SGD.init(PARAMS)),
        "js.observe(optax.sgd(0.1).init(params), 1.0)": lambda: js.observe(
            optax.sgd(0.1).init(PARAMS), 1.0
        ),
        "js.observe(tx, 1.0)": lambda: js.observe(SGD, 1.0),
        "js.get_last_lr(tx, step)": lambda: js.get_last_lr(SGD, step),
        "js.get_last_lr(tx)": lambda: js.get_last_lr(SGD),
        "js.get_last_lr(step)": lambda: js.get_last_lr(step),
        "js.get_last_lr(PLATEAU)": lambda: js.get_last_lr(PLATEAU),
        "js.get_last_lr(optax.sgd(step).init(params))": lambda: js.get_last_lr(
            optax.sgd(step).init(PARAMS)
        ),
        "js.set_count(tx, 3)": lambda: js.set_count(SGD, 3),
        "plateau(state of another)": lambda: js.ReduceLROnPlateau(0.1, patience=5)(PLATEAU.init()),
    },
    "A function that JAX cannot trace": {
        "jax.jit(js.LambdaLR(0.1, branch))(3)": lambda: jax.jit(js.LambdaLR(0.1, branch))(3),
        "jax.jit(js.LambdaLR(0.1, math.cos))(3)": lambda: jax.jit(js.LambdaLR(0.1, math.cos))(3),
        "jax.jit(js.LambdaLR(0.1, np.cos))(3)": lambda: jax.jit(js.LambdaLR(0.1, np.cos))(3),
        "jax.jit(js.LambdaLR(0.1, [0.5, 0.1, 0.2, 0.3].__getitem__))(3)": lambda: jax.jit(
            js.LambdaLR(0.1, [0.5, 0.1, 0.2, 0.3].__getitem__)
        )(3),
        "jax.jit(js.CyclicLR(0.1, 0.2, scale_fn=branch))(3)": lambda: jax.jit(
            js.CyclicLR(0.1, 0.2, scale_fn=branch)
        )(3),
        "jax.jit(js.per_epoch(branch, 5))(3)": lambda: jax.jit(js.per_epoch(branch, 5))(3),
        "jax.jit(js.SequentialLR([step, branch], [5]))(3)": lambda: jax.jit(
            js.SequentialLR([step, branch], [5])
        )(3),
    },
    "Names": {
        f"js.{name}": lambda name=name: getattr(js, name)
        for name in (
            *("MultistepLR", "OneCycle", "ReduceLRonPlateau", "perepoch", "WarmupCosine"),
            *("warmup_cosine_decay_schedule", "piecewise_constant_schedule", "join_schedules"),
            *("NoamLR", "CosineLRScheduler", "inverse_sqrt", "constant_schedule", "Adam"),
        )
    },
}


def answer(mistake):
    try:
        mistake()
    except (TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise AssertionError("nothing was said")


def messages():
    lines = []
    for title, mistakes in MISTAKES.items():
        lines += [title, "=" * len(title), ""]
        for code, mistake in mistakes.items():
            lines += [code, f"    {answer(mistake)}", ""]
    return "\n".join(lines)


def test_every_message_is_the_one_in_the_file():
    assert messages() == MESSAGES.read_text()


def test_hasattr_still_answers():
    for name in ("init", "update", "step", "nothing", "__array__", "_fields"):
        assert not hasattr(step, name)
        assert getattr(step, name, None) is None
    assert not hasattr(js, "MultistepLR")
    assert callable(PLATEAU.init) and callable(PLATEAU.update)


def test_an_error_from_within_keeps_its_message():
    def broken(count):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="^mine$"):
        js.LambdaLR(0.1, broken)(3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'step_size'"):
        js.StepLR(0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'gama'"):
        js.StepLR(0.1, 3, gama=0.5)


def test_a_factor_of_0_is_one_cut_to_min_lr():
    plateau = js.ReduceLROnPlateau(0.5, factor=0, patience=0, min_lr=0.125)
    state, lrs = plateau.init(), []
    for metric in (1.0, 2.0, 2.0, 2.0):
        state = plateau.update(state, metric=metric)
        lrs.append(float(plateau(state)))
    assert lrs == [0.5, 0.125, 0.125, 0.125]
    zero = js.ReduceLROnPlateau(0.5, factor=0, patience=0)
    assert zero(js.observe(js.observe(zero.init(), 1.0), 2.0)) == 0.0


if __name__ == "__main__":
    MESSAGES.write_text(messages())
