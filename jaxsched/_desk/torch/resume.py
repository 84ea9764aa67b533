"""An optimizer state that goes on where a torch scheduler stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import INT32_MAX
from jaxsched._base.hints import describe
from jaxsched._base.ops import PYTHON
from jaxsched._desk.curve import EpochLengths
from jaxsched._desk.torch.from_torch import from_torch
from jaxsched._desk.torch.objects import (
    aside,
    chain_members,
    check_kind,
    class_of,
    is_timm,
    lr_of,
    number,
    record,
)
from jaxsched._desk.torch.states import check_plateau, check_state, is_plateau, position
from jaxsched._schedules.epochs import Clock
from jaxsched._schedules.plateau import PlateauState, ReduceLROnPlateau
from jaxsched._state import map_plateaus, plateaus, set_count

State = TypeVar("State")


def resume_from_torch(
    opt_state: State, scheduler: Any, *, steps_per_epoch: EpochLengths = 1
) -> State:
    """Brings an optimizer state to where a torch scheduler stands, to go on from there.

    ```text
    torch's scheduler, stepped              opt_state
    12 times, at each update                set_count(opt_state, 12)
    12 times, at the end of each epoch      set_count(opt_state, 12 * steps_per_epoch)
    ReduceLROnPlateau                       its best, its counters and its cuts, in each plateau
    ```

    The next updates use the learning rates that torch would use. Call it once for each scheduler
    that torch steps: a plateau leaves the counts alone, and the others leave plateaus alone.

    Args:
        opt_state: an optax optimizer state, new or not, whose schedule is the scheduler's, as
            `from_torch` makes it. Or what holds one: a `TrainState`, an `nnx.Optimizer`, any
            pytree. See `set_count`.
        scheduler: a scheduler of torch, or its `state_dict()`. Of a class that is not torch's own
            only one whose `last_epoch` provably counts its steps.
        steps_per_epoch: optimizer updates between two `scheduler.step()`, as `per_epoch` takes
            them: an integer >= 1, or a sequence with the length of each epoch.

    Returns:
        The same with its counts, or its plateaus, set. An `nnx.Optimizer` is changed in place and
        returned.

    Raises:
        TypeError, ValueError: `scheduler` is no scheduler that counts, or no state of one: a whole
            checkpoint, an optimizer's, one with a key missing. timm's do not count: use
            `set_count`.
        ValueError: torch stands between two updates, as after `scheduler.step(1.3)` with 4 updates
            in an epoch; or the state and the plateau do not fit: there is no plateau in it, it has
            other arguments, or torch's learning rate is none that its cuts give; or optax's int32
            cannot hold the updates.

    torch does not count cuts. They are found from the learning rate. A plateau with a base_lr of 1
    multiplies another schedule. There the learning rate is taken over the scheduler's base learning
    rate, so give the scheduler itself, and not before its warmup has ended.

    torch does this by `load_state_dict`.

    >>> import jax.numpy as jnp, optax, jaxsched as js
    >>> tx = optax.inject_hyperparams(optax.sgd)(js.per_epoch(js.StepLR(0.5, 2, gamma=0.5), 10))
    >>> params = grads = jnp.ones(2)
    >>> state = js.resume_from_torch(tx.init(params), {"last_epoch": 3}, steps_per_epoch=10)
    >>> updates, state = tx.update(grads, state, params)
    >>> js.get_last_lr(state)
    [0.25]
    """
    clock = Clock(steps_per_epoch)
    state = _state_of(scheduler)
    if is_plateau(state):
        check_plateau(state)
        if clock.lengths != 1:
            raise ValueError(
                f"`steps_per_epoch` must be left out for a plateau, which counts metrics, got "
                f"{steps_per_epoch!r}"
            )
        return _resume_plateau(opt_state, scheduler, state)
    updates = _updates_at(position(state), clock)
    if updates > INT32_MAX:
        raise ValueError(
            f"`scheduler` must stand at no more than {INT32_MAX} updates, which optax counts in "
            f"int32, got {updates}"
        )
    return set_count(opt_state, updates)


def _state_of(scheduler: Any) -> Mapping[str, Any]:
    """The attributes of a scheduler, of whose count there is no doubt."""
    if isinstance(scheduler, Mapping):
        check_state(scheduler)
        return dict(scheduler)
    check_kind(scheduler)
    if is_timm(scheduler):
        raise TypeError(
            f"`scheduler` must count its steps, got {describe(scheduler)} of timm, which does "
            "not: use set_count(opt_state, updates)"
        )
    state = vars(scheduler)
    if class_of(scheduler) is None or not _are_torchs(scheduler):
        try:
            if is_plateau(state):
                raise ValueError(f"`scheduler` must be torch's plateau, got {describe(scheduler)}")
            with aside():
                record(scheduler, [*range(len(scheduler.optimizer.param_groups))], 1)
        except ValueError as error:
            message = f"{error}. Or set the count yourself, by set_count(opt_state, updates)"
            raise ValueError(message) from error
    return state


def _are_torchs(scheduler: Any) -> bool:
    """Whether the members by which a chain counts are torch's; a SequentialLR counts itself."""
    is_chain = class_of(scheduler) == "ChainedScheduler"
    return all(map(class_of, chain_members(scheduler))) if is_chain else True


def _updates_at(position: tuple[int, float], clock: Clock) -> int:
    epoch, fraction = position
    before = clock.first_update(epoch, PYTHON)
    length = clock.epoch(before, PYTHON)[2]
    within = round(fraction * length)
    if not math.isclose(within, fraction * length, abs_tol=1e-6 * length):
        raise ValueError(
            f"`scheduler` must stand at an update, got {epoch + fraction:.6g} epochs, with "
            f"`steps_per_epoch` {length}"
        )
    return before + within


# -- the plateau -----------------------------------------------------------------------------------


def _resume_plateau(opt_state: Any, scheduler: Any, torch: Mapping[str, Any]) -> Any:
    """`torch` is the scheduler's state_dict() or its attributes."""
    cuts = _cuts(plateaus(opt_state), scheduler, torch)

    def told(state: PlateauState) -> PlateauState:
        worst, dtype = state.schedule._worst(state.best.dtype), np.dtype(state.best.dtype)
        with np.errstate(over="ignore"):
            best = np.asarray(float(torch["best"]), np.float64).astype(dtype)
        largest = np.iinfo(np.int32).max
        values = (
            worst if best == math.copysign(math.inf, worst) else best,
            min(torch["num_bad_epochs"], largest - 1),
            min(torch["cooldown_counter"], largest),
            cuts[state.schedule],
        )
        leaves = [jnp.full_like(old, new) for old, new in zip(state[:-1], values, strict=True)]
        return PlateauState(*leaves, plateau=state.plateau)

    return map_plateaus(told, opt_state)


def _cuts(
    ours: list[ReduceLROnPlateau], scheduler: Any, torch: Mapping[str, Any]
) -> dict[ReduceLROnPlateau, int]:
    """How many cuts each plateau has had, by the learning rates of torch's param groups."""
    possible = {}
    for plateau in ours:
        for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown"):
            if torch[name] != getattr(plateau, name):
                raise ValueError(
                    f"`opt_state` must hold torch's plateau, which has `{name}` {torch[name]!r}, "
                    f"got {plateau!r}"
                )
        _check_limits(plateau, scheduler, torch)
        most = torch["last_epoch"] // (torch["patience"] + 1)
        if plateau.base_lr == 1 and not most:
            possible[plateau] = {0}  # in a warmup the learning rate would not say so
            continue
        steps = plateau._lrs[: most + 1]
        nearest = [(int(abs(steps - lr).argmin()), lr) for lr in _lrs(plateau, scheduler, torch)]
        possible[plateau] = {k for k, lr in nearest if math.isclose(steps[k], lr, rel_tol=1e-6)}
    common = set.intersection(*possible.values())  # torch cuts all param groups at once
    for plateau, cuts in possible.items():
        if len(cuts) > 1:
            possible[plateau] = cuts = common
        if len(cuts) != 1:
            lrs = ", ".join(f"{lr:.6g}" for lr in _lrs(plateau, scheduler, torch))
            raise ValueError(
                f"`opt_state` must hold a plateau that comes to torch's learning rate by a known "
                f"number of cuts, got {plateau!r} for {lrs}"
            )
    return {plateau: next(iter(cuts)) for plateau, cuts in possible.items()}


def _lrs(plateau: ReduceLROnPlateau, scheduler: Any, torch: Mapping[str, Any]) -> list[float]:
    """Those of torch's param groups, each over its base learning rate if `plateau` is a factor."""
    if isinstance(scheduler, Mapping):
        if plateau.base_lr == 1:
            raise ValueError(
                "`scheduler` must be the scheduler itself and not its state_dict(), which has no "
                f"base learning rate, for a factor: {plateau!r}"
            )
        return [number(lr) for lr in torch["_last_lr"]]
    groups = range(len(scheduler.optimizer.param_groups))
    lrs = [lr_of(scheduler, group) for group in groups]
    if plateau.base_lr != 1:
        return lrs
    return [lr / first for lr, first in zip(lrs, _first_lrs(scheduler), strict=True)]


def _first_lrs(scheduler: Any) -> list[float]:
    """Of each param group, the learning rate before the first cut."""
    groups = scheduler.optimizer.param_groups
    return [
        lr_of(scheduler, g, "initial_lr")
        if "initial_lr" in groups[g]
        else from_torch(scheduler, group=g).base_lr  # pyright: ignore[reportAttributeAccessIssue]
        for g in range(len(groups))
    ]


def _check_limits(plateau: ReduceLROnPlateau, scheduler: Any, torch: Mapping[str, Any]) -> None:
    """Whether `min_lr` and `eps` are those of one of torch's param groups."""
    is_factor = plateau.base_lr == 1 and not isinstance(scheduler, Mapping)
    firsts = _first_lrs(scheduler) if is_factor else [1.0] * len(torch["min_lrs"])
    for name, values in {"min_lr": torch["min_lrs"], "eps": [torch["eps"]] * len(firsts)}.items():
        expected = [value / first for value, first in zip(values, firsts, strict=False) if first]
        if not any(math.isclose(getattr(plateau, name), x, rel_tol=1e-6) for x in expected):
            raise ValueError(
                f"`opt_state` must hold torch's plateau, which has `{name}` "
                f"{', '.join(f'{x:.6g}' for x in dict.fromkeys(expected))}"
                f"{', over the base learning rate' if is_factor else ''}, got {plateau!r}"
            )
