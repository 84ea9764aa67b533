"""Schedules given by a function or by a list of values."""

import functools
from typing import Any, final

import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import (
    FLOAT64_MAX,
    Function,
    OptionalStaticCount,
    Real,
    StaticCount,
    Values,
    function,
    integer,
    is_array,
    is_list,
    of_dtype,
    optional,
    real,
)
from jaxsched._base.hints import describe
from jaxsched._base.ops import PYTHON
from jaxsched._base.schedule import Schedule
from jaxsched._base.table import Course
from jaxsched._base.value import argument


@final
class LambdaLR(Schedule):
    """Multiplies the learning rate by a function of the count.

    For `LambdaLR(0.1, lambda count: 0.95**count)`:

    ```text
    lr = 0.1, 0.095, 0.09025 ...    at counts 0, 1, 2 ...
    ```

    Formula: `base_lr * lr_lambda(count)`. With a horizon it is
    `base_lr * lr_lambda(min(count, horizon - 1))`.

    Args:
        base_lr: learning rate that the function multiplies, >= 0.
        lr_lambda: a function of the count that returns the factor. Without `horizon` JAX has to be
            able to trace it: use `jnp.where`, not `if`. It then receives a Python int if the count
            is a number, and for a NumPy array a Python int for each element in turn. For a JAX
            count it receives an int64 array, inside `jax.enable_x64(True)`, and returns a number or
            an array of that shape. With `horizon` it receives only Python ints and may be any
            Python function, as most of torch's and Hugging Face's are.
        horizon: number of counts (epochs or updates) for which the host computes a table of the
            function, an integer >= 1. With 100 the table has the counts 0 to 99, and the value at
            99 holds afterwards. Use the length of the training. The table is part of the compiled
            program, 4 bytes for each count. None (the default) is no table. Not an array or tracer.

    Raises:
        ValueError: at the first trace: JAX traces `lr_lambda` to other numbers than Python's, as in
            `(count >= 30) + (count >= 60)` and `2**-count`. The message has the count and both
            numbers. With `horizon` Python's numbers are used. A function that answers an int with
            a JAX array, as optax's do, is JAX's own, and is not compared.
        TypeError: `lr_lambda` is a list of functions. In torch it has one function for each
            parameter group. Here use `optax.partition`, with one schedule for each group.

    torch needs no `horizon`, because it runs on the host.

    Source: `torch.optim.lr_scheduler.LambdaLR`, torch 2.13.

    >>> import jax, jaxsched as js
    >>> schedule = js.LambdaLR(0.5, lambda count: 1 / (count + 1))
    >>> [schedule(count) for count in (0, 1, 3)]
    [0.5, 0.25, 0.125]
    >>> def warmup(count):
    ...     return min(1.0, count / 4) if count < 100 else 0.5
    >>> jax.jit(js.LambdaLR(0.5, warmup, horizon=200))(2)
    Array(0.25, dtype=float32, weak_type=True)
    """

    base_lr: Real = argument(real(at_least=0))
    lr_lambda: Function = argument(function, static=True)
    horizon: OptionalStaticCount = argument(
        optional(integer(at_least=1)), default=None, static=True
    )

    @property
    def _is_traced(self):
        return self.horizon is None

    @property
    def _is_smooth(self):
        return self.horizon is None

    @property
    def _is_list(self):
        return self.horizon is not None

    def _value(self, count, fraction, ops):
        if self.horizon is None:
            return self.base_lr * ops.call(self.lr_lambda, count + fraction, "`lr_lambda`")
        return self.base_lr * ops.take(self._factors, ops.minimum(count, self.horizon - 1))

    def _course(self, dtype):
        return None if self.horizon is None else Course(range(self.horizon))

    def _length(self, down_to):
        return self.horizon or 0

    @functools.cached_property
    def _factors(self) -> tuple[float, ...]:
        counts = range(self.horizon or 0)
        return tuple(PYTHON.call(self.lr_lambda, count, "`lr_lambda`") for count in counts)


@final
class MultiplicativeLR(Schedule):
    """Multiplies the learning rate at every count by the factor that a function gives for it.

    For `MultiplicativeLR(0.1, lambda count: 0.95, horizon=100)`:

    ```text
    lr = 0.1, 0.095, 0.09025 ...    at counts 0, 1, 2 ... 99
    lr = 0.1 * 0.95**99             for 99 <= count
    ```

    Formula: `base_lr * lr_lambda(1) * lr_lambda(2) * ... * lr_lambda(count)`.

    Args:
        base_lr: learning rate at count 0, >= 0.
        lr_lambda: a function that receives the count, a Python int, and returns its factor.
        horizon: number of counts (epochs or updates) for which the host computes a table of the
            products, an integer >= 1. With 100 the table has the counts 0 to 99, and the value at
            99 holds afterwards. Use the length of the training. The table is part of the compiled
            program, 4 bytes for each count. Not an array or tracer.

    torch needs no `horizon`, because it keeps the last learning rate and multiplies that. As a
    later member of SequentialLR, torch's MultiplicativeLR goes on from the last learning rate. Here
    it starts from `base_lr`.

    Source: `torch.optim.lr_scheduler.MultiplicativeLR`, torch 2.13.

    >>> import jaxsched as js
    >>> schedule = js.MultiplicativeLR(0.5, lambda count: 0.5, horizon=3)
    >>> [schedule(count) for count in range(5)]
    [0.5, 0.25, 0.125, 0.125, 0.125]
    """

    _is_factor, _is_smooth, _is_list = True, False, True

    base_lr: Real = argument(real(at_least=0))
    lr_lambda: Function = argument(function, static=True)
    horizon: StaticCount = argument(integer(at_least=1), static=True)

    def _value(self, count, fraction, ops):
        product = ops.take(self._products, ops.minimum(count, self.horizon - 1))
        return ops.product(self.base_lr, product)

    def _course(self, dtype):
        return Course(range(self.horizon))

    def _length(self, down_to):
        return self.horizon

    @functools.cached_property
    def _products(self) -> tuple[float, ...]:
        products = [1.0]
        for count in range(1, self.horizon):
            factor = PYTHON.call(self.lr_lambda, count, "`lr_lambda`")
            products.append(min(products[-1] * factor, FLOAT64_MAX))
        return tuple(products)


def _recording(name: str, value: Any) -> Any:
    expected = "a sequence of numbers, at least one"
    if is_array(value) and not isinstance(value, np.ndarray):
        if value.ndim != 1 or not len(value):
            raise TypeError(f"`{name}` must be {expected}, got an array of shape {value.shape}")
        return of_dtype(name, value, expected, jnp.integer, jnp.floating)
    values = np.array(value if is_list(value) else None)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must be {expected}, got {describe(value)}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        wrong = values[~np.isfinite(values)][0]
        raise ValueError(f"`{name}` must be finite numbers, got {wrong}")
    values.flags.writeable = False
    return values


@final
class RecordedLR(Schedule):
    """Replays recorded learning rates, then holds the last one.

    For `RecordedLR([0.1, 0.05, 0.01])`:

    ```text
    lr = 0.1, 0.05, 0.01    at counts 0, 1, 2
    lr = 0.01               for 2 <= count
    ```

    Formula: `values[min(count, len(values) - 1)]`.

    Args:
        values: learning rates at the counts 0, 1, 2 ...: a sequence or an array of one or more
            finite numbers. Kept as a read-only float64 NumPy array. Only a JAX array or tracer is
            kept as it is. Only its dtype and its shape are checked.

    What torch has run is replayed as it was, below 0 as well: a negative `eta_min` or `gamma`, and
    some chains, lead there. An optimizer then goes uphill. `check` says so.

    Two recordings of the same values are equal, unless they hold a JAX array.

    torch has no such class. Use it for any torch scheduler: in torch record
    `scheduler.get_last_lr()` before each update, and replay the values here.

    >>> import jaxsched as js
    >>> schedule = js.RecordedLR([0.1, 0.05, 0.01])
    >>> [schedule(count) for count in range(5)]
    [0.1, 0.05, 0.01, 0.01, 0.01]
    """

    _is_smooth, _is_list = False, True

    values: Values = argument(_recording)

    def _value(self, count, fraction, ops):
        return ops.take(self.values, ops.minimum(count, len(self.values) - 1))

    def _course(self, dtype):
        return Course(range(len(self.values)))

    def _length(self, down_to):
        return len(self.values)

    @functools.cached_property
    def _is_concrete(self):
        return isinstance(self.values, np.ndarray)

    def __eq__(self, other):
        if not (isinstance(other, RecordedLR) and self._is_concrete and other._is_concrete):
            return super().__eq__(other)
        return self is other or np.array_equal(self.values, other.values)

    __hash__ = Schedule.__hash__

    @functools.cached_property
    def _hash(self):
        return hash(self.values.tobytes()) if self._is_concrete else super()._hash

    def __repr__(self):
        return f"RecordedLR({self.values.tolist()})" if self._is_concrete else super().__repr__()
