"""What check finds in the values: learning rates that no run wants, functions that JAX refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.functions import FunctionDiffers
from jaxsched._base.schedule import Schedule
from jaxsched._desk.check.run import Run, name
from jaxsched._desk.curve import MOST_TABULATED
from jaxsched._desk.findings import Finding
from jaxsched._schedules.custom import LambdaLR
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR


def flat_cycles(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(CyclicLR, OneCycleLR):
        is_flat = isinstance(schedule, CyclicLR) and schedule.max_lr == schedule.base_lr
        if is_flat or (isinstance(schedule, OneCycleLR) and schedule._total == 1):
            what = "`max_lr` is `base_lr`" if is_flat else "it has 1 count"
            called = name(member)
            message = f"{called} stays at {schedule(0):g}: {what}."
            advice = f"Leave out the optimizer's learning rate: its own come first, as {called}("
            advice += "base_lr, max_lr)." if is_flat else "max_lr, total_steps)."
            yield Finding("cycle-stands-still", message, advice)


def values(run: Run) -> Iterator[Finding]:
    lrs = run.lrs
    small = ~(lrs > 1e-8 * lrs.max())
    if not (np.isfinite(lrs) & (lrs >= 0)).all():
        count = int(np.argmin(np.isfinite(lrs) & (lrs >= 0)))
        message = f"The learning rate is {lrs[count]:g} at {run.place(count)}."
        yield Finding("lr-out-of-range", message, "Make it finite and >= 0.")
    elif small.mean() > 0.5:
        message = f"The learning rate is 0, or under 1e-8 of its peak, in {small.mean():.0%} of "
        advice = "Let it fall more slowly." if lrs.any() else "Start above 0."
        yield Finding("lr-vanishes", f"{message}{run.span(run.num_counts)}.", advice)
    elif not lrs[:2].any():
        message = f"The learning rate is 0 in the first {run.span(int(np.argmax(lrs > 0)))}."
        advice = "Start above 0, as with `start_factor=0.01`."
        yield Finding("first-updates-do-nothing", message, advice)


def functions(run: Run) -> Iterator[Finding]:
    for member, schedule in run.of(Schedule):
        if not schedule._is_traced:
            continue
        horizon = run.own(member)
        table = f"`LambdaLR(1.0, schedule, horizon={horizon})`, a table made on the host"
        if isinstance(schedule, LambdaLR):
            table = f"`horizon={horizon}`, for a table made on the host"
        few = np.unique(np.linspace(0, horizon - 1, 64).astype(np.int32))
        counts = np.arange(horizon, dtype=np.int32) if horizon <= MOST_TABULATED else few
        # An optimizer calls a function that is no member itself, in float32.
        is_bare = schedule is run.schedule and not run.is_schedule
        fn: Any = schedule._values()[0] if is_bare else schedule
        try:
            with jax.numpy_dtype_promotion("standard"), np.errstate(all="ignore"):
                in_jit = np.asarray(jax.jit(jax.vmap(fn))(jnp.asarray(counts)), np.float64)
        except FunctionDiffers as error:
            message = f"{name(member)}: {error}."
            yield Finding("function-differs-under-jit", message, f"Write {table}.")
            continue
        except Exception as error:  # of the user's function
            message = f"JAX cannot trace {name(member)}: {type(error).__name__}."
            yield Finding("function-not-traceable", message, f"Write {table}.")
            continue
        # Where it changes, a boundary may be late.
        changes = np.flatnonzero(in_jit[1:] != in_jit[:-1]) + 1
        places = np.concatenate([changes[:16], changes[-16:], np.searchsorted(counts, few)])
        places = np.unique(np.clip(places[:, None] + [-1, 0, 1], 0, len(counts) - 1))
        with np.errstate(all="ignore"):
            on_host, in_jit = schedule(counts[places]), in_jit[places]
            peak = np.max(np.abs(on_host[np.isfinite(on_host)]), initial=0)
            same = np.isclose(in_jit, on_host, rtol=1e-5, atol=1e-7 * peak, equal_nan=True)
        if not same.all():
            i = int(np.argmin(same))
            message = (
                f"{name(member)} is {on_host[i]:g} in Python and {in_jit[i]:g} under `jit`, at "
                f"{run.place(member.at(int(counts[places[i]])))}."
            )
            yield Finding("function-differs-under-jit", message, f"Write {table}.")
