"""Many schedules of one kind as one pytree, for `vmap`, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import INT32_MAX, is_list
from jaxsched._base.hints import describe, hint_for_list
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.decay import MultiStepLR

S = TypeVar("S", bound=Schedule)
_NEVER = INT32_MAX
"""A milestone that never comes: the largest int32."""


def stack(schedules: Sequence[S]) -> S:
    """Stacks schedules of one kind: each number becomes an array with one element for each.

    ```text
    stack([StepLR(0.1, 30), StepLR(0.2, 20)])
        base_lr      [0.1, 0.2]    float32
        step_size    [30, 20]      int32
        gamma        [0.1, 0.1]    float32
    ```

    `jax.vmap` over the result runs all of them in one program, whole training runs too.

    Args:
        schedules: schedules of one class, one or more, with the same structure: members of the same
            classes, and the same modes and functions. Milestones of a MultiStepLR may differ in
            number: those that have fewer are padded with 2**31 - 1, which never comes.

    Returns:
        A schedule of that class that holds arrays, with a leading axis of len(schedules): float32
        (float64 under `jax_enable_x64`) and int32.

    Raises:
        TypeError, ValueError: `schedules` are not as above; the message names the argument that
            differs.

    >>> import jax, jaxsched as js
    >>> schedules = [js.MultiStepLR(0.5, [1], gamma=0.5), js.MultiStepLR(0.25, [1, 2], gamma=0.5)]
    >>> stacked = js.stack(schedules)
    >>> jax.jit(jax.vmap(lambda schedule: schedule(2)))(stacked)
    Array([0.25  , 0.0625], dtype=float32, weak_type=True)
    >>> js.unstack(stacked) == schedules
    True
    """
    given = [*schedules] if is_list(schedules) else []  # which may be a generator
    if not is_list(schedules) or not all(isinstance(s, Schedule) for s in given):
        got = f"{describe(schedules)}{hint_for_list(schedules)}"
        raise TypeError(f"`schedules` must be a sequence of schedules, got {got}")
    if not given:
        raise ValueError("`schedules` must be one or more, got none")
    padded = _padded("", given)
    return jax.tree.map(lambda *numbers: _as_array(numbers), *padded)


def unstack(schedule: S) -> list[S]:
    """Takes apart what `stack` put together: schedules with Python's numbers, which print.

    ```text
    unstack(stack(schedules)) == schedules    for numbers of up to six digits
    ```

    Args:
        schedule: a schedule whose numbers are arrays with one leading axis, of one length.

    Returns:
        A list of schedules. Each number is the shortest one that is the array's float32, so that
        0.1 comes back as 0.1, also in a RecordedLR. Milestones that never come, 2**31 - 1, are left
        out.

    Raises:
        TypeError, ValueError: `schedule` is none, or is not stacked.

    >>> import jax.numpy as jnp, jaxsched as js
    >>> js.unstack(js.StepLR(jnp.array([0.1, 0.2]), jnp.array([30, 20]), jnp.array([0.1, 0.5])))
    [StepLR(0.1, step_size=30, gamma=0.1), StepLR(0.2, step_size=20, gamma=0.5)]
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"`schedule` must be a stacked schedule, got {describe(schedule)}")
    leaves, structure = jax.tree.flatten(schedule)
    arrays = [np.asarray(leaf) for leaf in leaves]
    lengths = {array.shape[:1] for array in arrays}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            "`schedule` must hold arrays with one leading axis of one length, got the shapes "
            f"{[array.shape for array in arrays]}"
        )
    ((number,),) = lengths
    return [
        structure.unflatten([_as_number(array[i]) for array in arrays])._rebuilt(_without_padding)
        for i in range(number)
    ]


def _padded(path: str, schedules: list[Any]) -> list[Any]:
    """The same with milestones padded; refused where they have not the same structure."""
    kinds = sorted({type(schedule).__name__ for schedule in schedules})
    if len(kinds) > 1:
        where = path.rstrip(".") or "schedules"
        raise ValueError(f"`{where}` must be of one class, got {' and '.join(kinds)}")
    columns = {}
    for field in dataclasses.fields(schedules[0]):
        values = [getattr(schedule, field.name) for schedule in schedules]
        if isinstance(schedules[0], MultiStepLR) and all(isinstance(v, tuple) for v in values):
            most = max(map(len, values))
            values = [(*v, *[_NEVER] * (most - len(v))) for v in values]
        columns[field.name] = _column(path + field.name, values, field.metadata["static"])
    rows = zip(*columns.values(), strict=True)
    return [
        dataclasses.replace(schedule, **dict(zip(columns, row, strict=True)))
        for schedule, row in zip(schedules, rows, strict=True)
    ]


def _column(path: str, values: list[Any], static: bool = False) -> list[Any]:
    """One argument of all of them."""
    first = values[0]
    if all(isinstance(value, Schedule) for value in values):
        return _padded(f"{path}.", values)
    if all(isinstance(value, tuple) and len(value) == len(first) for value in values) and first:
        members = enumerate(zip(*values, strict=True))
        members = [_column(f"{path}[{i}]", list(member)) for i, member in members]
        return list(zip(*members, strict=True))
    for value in values:
        if (value != first) if static else (_shape(value) != _shape(first)):
            raise ValueError(
                f"`{path}` must be {'the same' if static else 'alike'} in all `schedules`, "
                f"got {describe(first)} and {describe(value)}"
            )
    return values


def _shape(value: Any) -> Any:
    return len(value) if isinstance(value, tuple) else value if value is None else np.shape(value)


def _as_array(numbers: Sequence[Any]) -> jax.Array:
    if all(isinstance(n, int) for n in numbers):
        if max(numbers) > _NEVER:
            raise ValueError(f"`schedules` must have integers below 2**31, got {max(numbers)}")
        return jnp.asarray(numbers, jnp.int32)
    dtype = jnp.result_type(float)
    return jnp.stack([jnp.asarray(n, dtype if isinstance(n, float) else None) for n in numbers])


def _as_number(value: Any) -> Any:
    if value.dtype.kind in "iu":
        return value if value.ndim else int(value)
    shortest = [float(str(x)) for x in value.ravel()]  # NumPy prints the shortest one
    return np.reshape(shortest, value.shape) if value.ndim else shortest[0]


def _without_padding(schedule: Any) -> Any:
    """Built again, with the checks of its arguments."""
    changes = {}
    if isinstance(schedule, MultiStepLR):
        changes["milestones"] = [m for m in schedule.milestones if m != _NEVER]
    return dataclasses.replace(schedule, **changes)
