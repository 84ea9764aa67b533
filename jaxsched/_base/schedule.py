"""The base of all schedules: an immutable value, called with a count, exact to the last bit.

In the family modules a class has its arguments, one formula, `_value`, and the counts at which the
value changes, `_course`. Everything that all classes share is here: the pytree, the kinds of count,
the precision, and the table in which a device looks up a short schedule.
"""

import atexit
import collections
import dataclasses
import functools
import math
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol, overload

import jax
import jax.core
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxsched._base.arguments import COUNT_MAX, INT32_MAX, is_array
from jaxsched._base.hints import describe, hint_for_count
from jaxsched._base.jax_ops import JaxOps, as_result, widened
from jaxsched._base.ops import NUMPY, PYTHON, Ops
from jaxsched._base.table import MOST_PLACES, Course, Table, tabulate
from jaxsched._base.value import Frozen, Static

_programs: weakref.WeakValueDictionary[Static, Any] = weakref.WeakValueDictionary()
_recent_programs: collections.deque[Any] = collections.deque(maxlen=16)  # of 1.5 MB each
# One that lives on to the end, as with a function of the main module, would be looked up after this
# module is taken down.
atexit.register(_programs.clear)


class _HoldsArray(Protocol):
    """An nnx.Variable, a Keras variable."""

    def __jax_array__(self) -> Any: ...


class Schedule(Frozen):
    """A learning rate for every count. All schedules are instances of its subclasses.

    A count is the number of epochs or of optimizer updates that have passed. A schedule is called
    with a count and returns the learning rate:

    ```text
    count                                       learning rate
    int or NumPy integer                        float
    NumPy array of integers                     float64 NumPy array of that shape
    JAX array or tracer, any integer dtype      float32 JAX array of that shape
    the same, under `jax_enable_x64`            float64 JAX array of that shape
    ```

    The JAX array is weakly typed, as a Python number is: it takes the dtype of what it multiplies,
    so that parameters of any dtype keep theirs. An object with `__jax_array__`, such as an
    `nnx.Variable`, counts as its array. A count below 0 counts as 0, and a count above 2**63 - 1 as
    2**63 - 1.

    Arguments are checked when a schedule is made. A wrong argument raises a TypeError or ValueError
    that names it. Real numbers, sizes and milestones may also be arrays or tracers, unless the
    class says otherwise. Only the dtype of these is checked. A schedule that holds one returns a
    JAX array for every count, in the shape to which the count and the arguments broadcast.

    A schedule is a value that cannot be changed. It prints as the call that makes it, compares,
    hashes and pickles. Arrays in it compare by identity. It is also a pytree, so that a function
    under `jit`, `vmap` or `grad` can take it as an argument.

    Use this class in annotations. It cannot be instantiated, and its subclasses are final.

    Raises:
        TypeError: the count is not an integer: a bool, a float, or an array of these.
    """

    _is_factor = False
    """Whether the value is base_lr times a factor that does not depend on base_lr."""
    _is_smooth = True
    """Whether there are values between two counts, as smooth_epochs needs them."""
    _is_list = False
    """Whether it is a list of values. Its table may then have any length."""
    _is_traced = False
    """Whether it calls a user's function, which JAX has to trace."""
    _repr_html_: ClassVar[Callable[["Schedule"], str | None]]  # set by the package: the desk draws

    def __init_subclass__(cls) -> None:
        for base in cls.__bases__:
            if base is not Schedule and issubclass(base, Schedule):
                raise TypeError(f"{base.__name__} is final and cannot be subclassed")
        super().__init_subclass__()
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        children = [f.name for f in fields if not f.metadata["static"]]
        static = [f.name for f in fields if f.metadata["static"]]

        def flatten(self):
            return [getattr(self, n) for n in children], Static(getattr(self, n) for n in static)

        def flatten_with_keys(self):
            values, aux = flatten(self)
            return list(zip(map(jax.tree_util.GetAttrKey, children), values, strict=True)), aux

        def unflatten(aux, values):
            # Unchecked: JAX puts None, object() and tracers where the numbers were.
            self = object.__new__(cls)
            vars(self).update(zip(children, values, strict=True))
            vars(self).update(zip(static, aux, strict=True))
            return self

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        jax.export.register_pytree_node_serialization(
            cls,
            serialized_name=f"{cls.__module__}.{cls.__qualname__}",
            serialize_auxdata=Static.to_json,
            deserialize_auxdata=Static.from_json,
        )

    @abstractmethod
    def _value(self, count: Any, fraction: Any, ops: Ops) -> Any:
        """The formula: the value in double precision, at an integer count >= 0.

        `fraction` is how much of the way to the next count has passed, from 0 to 1. It is the int 0
        except in smooth_epochs. A schedule that is not smooth ignores it.
        """

    def _at(self, count: Any, fraction: Any, ops: Ops) -> Any:
        """The value as a member of a composition: its look-up in a table, or its formula, rounded
        to the dtype of `ops`."""
        if ops.dtype is None:
            return self._value(count, fraction, ops)
        table = self._table(ops.dtype) if isinstance(fraction, int) else None
        value = self._value(count, fraction, ops) if table is None else table.look_up(count, ops)
        return jnp.asarray(value).astype(ops.dtype)

    def _course(self, dtype: Any) -> Course | None:
        """When the value changes. None if it neither repeats nor stays at a last value.

        Called only if all arguments are Python's numbers. `dtype` is the dtype of the result, in
        which some schedules stop changing earlier.
        """
        return None

    def _length(self, down_to: float) -> int:
        """The counts until the schedule is over: its last change, the end of its first cycle, or
        the fall to `down_to` times its first value. 0 if there is no such count."""
        course = self._course(np.float64)
        return 0 if course is None else course.period or course.starts[-1]

    @overload
    def __call__(self, count: int | np.integer[Any]) -> float: ...
    @overload
    def __call__(self, count: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]: ...
    @overload
    def __call__(self, count: jax.Array) -> jax.Array: ...
    @overload
    def __call__(self, count: _HoldsArray) -> jax.Array: ...
    @overload  # as optax.Schedule is called
    def __call__(self, count: jax.typing.ArrayLike) -> jax.Array | np.ndarray[Any, Any] | float: ...
    def __call__(self, count: Any) -> Any:
        # The usual case comes first. The tests of the other cases take a microsecond.
        if type(count) is int and 0 <= count <= COUNT_MAX and self._is_concrete:
            return self._value(count, 0, PYTHON)
        is_number = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
        if not (is_number or is_array(count)):  # perhaps an nnx.Variable, a Keras variable
            count = getattr(count, "__jax_array__", lambda: count)()
        if not (is_number or (is_array(count) and jnp.issubdtype(count.dtype, jnp.integer))):
            got = f"{describe(count)}{hint_for_count(count)}"
            raise TypeError(f"`count` must be an integer or an array of them, got {got}")
        if is_number:
            count = min(max(int(count), 0), COUNT_MAX)
        if self._is_concrete and is_number:
            return self._value(count, 0, PYTHON)
        if self._is_concrete and isinstance(count, np.ndarray):
            return self._on_host(count)
        if self._is_concrete and not isinstance(count, jax.core.Tracer):
            return self._program(count)  # where each operation is dispatched by itself
        return self._on_device(count)

    def _on_host(self, count: np.ndarray) -> np.ndarray:
        if count.dtype.itemsize == 8:
            count = np.minimum(count, np.asarray(COUNT_MAX, count.dtype))
        with np.errstate(over="ignore", under="ignore"):
            value = self._value(np.maximum(count.astype(np.int64), 0), 0, NUMPY)
        return np.array(np.broadcast_to(value, count.shape))

    def _on_device(self, count: Any) -> jax.Array:
        # Read before the context changes it: float64 if the user enabled it, else float32.
        dtype = jnp.result_type(float)
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            if isinstance(count, int):
                count = np.asarray(count, np.int32 if count <= INT32_MAX else np.int64)
            arrays, compute = None, self._computed
            if not self._is_concrete:
                arrays = jax.tree.map(lambda x: x if is_array(x) else None, self)
                numbers = jax.tree.leaves((count, arrays))
                if not any(isinstance(x, jax.core.Tracer) for x in numbers):
                    compute = self._program
            return compute(dtype, self._kind(count.dtype, dtype), count, arrays)

    def _computed(self, dtype: np.dtype, kind: Any, count: Any, arrays: Any) -> jax.Array:
        compute = functools.partial(self._in_context, dtype, kind)
        value = _on_auto_axes(compute, count, arrays)
        with jax.enable_x64(dtype == np.float64):
            return as_result(value)

    def _in_context(self, dtype: np.dtype, kind: Any, count: Any, arrays: Any) -> jax.Array:
        if count.dtype.itemsize == 8:
            count = jnp.minimum(count, np.asarray(COUNT_MAX, count.dtype))
        count = jnp.maximum(jnp.asarray(count), 0).astype(kind)
        schedule = self if arrays is None else widened(self, arrays, kind)
        value = schedule._at(count, 0, JaxOps(dtype))
        return jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, count.shape))

    def _table(self, dtype: np.dtype) -> Table | None:
        """The table in which a device looks up the values. None if there are too many values, or if
        they are not known yet."""
        if dtype not in self._tables:
            self._tables[dtype] = self._tabulate(dtype)
        return self._tables[dtype]

    def _tabulate(self, dtype: np.dtype) -> Table | None:
        if not self._is_concrete or any(member._is_traced for member in self._walk()):
            return None
        course, most = self._course(dtype), math.inf if self._is_list else MOST_PLACES
        return None if course is None else tabulate(course, self._rounded(dtype), most)

    def _rounded(self, dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
        def rounded(counts: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore", under="ignore"):
                return self._on_host(counts).astype(dtype)

        return rounded

    @functools.cached_property
    def _tables(self) -> dict[np.dtype, Table | None]:
        return {}

    @functools.cached_property
    def _is_concrete(self) -> bool:
        """Whether it holds numbers only, so that it can be called on the host."""

        def is_member(x: Any) -> bool:
            return isinstance(x, Schedule) and x is not self

        leaves = jax.tree.leaves(self, is_leaf=is_member)
        return all(x._is_concrete if is_member(x) else type(x) in (int, float) for x in leaves)

    @functools.cached_property
    def _program(self) -> Callable[..., jax.Array]:
        """The compiled program: of the count, or of arrays too. Equal schedules share it while one
        of them lives, and a while longer, so that a schedule that is made in a loop is not compiled
        each time."""
        # Of a copy, so that the program keeps neither the schedule that keeps it nor its arrays.
        if self._is_concrete:
            twin = object.__new__(type(self))
            vars(twin).update(vars(self))  # with what is computed already
        else:
            twin = jax.tree.map(lambda x: None if is_array(x) else x, self)
        key = Static((type(self), *twin._values()))
        program = _programs.get(key)
        if program is None:
            compute, static = (
                (twin._on_device, ()) if self._is_concrete else (twin._computed, (0, 1))
            )
            program = _programs[key] = jax.jit(compute, static_argnums=static)
            _recent_programs.append(program)
        return program

    def _kind(self, count: np.dtype, dtype: np.dtype) -> type[np.integer]:
        """The narrowest integer type that holds the counts and the sum of any two arguments."""
        largest = int(jnp.iinfo(count).max)
        if self._table(dtype) is None:
            numbers = [n for member in self._walk() for n in member._integers()]
            largest = max(
                [largest, *(2 * (np.iinfo(n.dtype).max if is_array(n) else n) for n in numbers)]
            )
        kinds = (np.int32, np.uint32)
        return next((kind for kind in kinds if largest <= np.iinfo(kind).max), np.uint64)

    def _integers(self) -> Iterator[Any]:
        """The integers in the formula, without the count."""
        for value in self.__getstate__().values():
            for x in value if isinstance(value, tuple) else (value,):
                if isinstance(x, int) or (is_array(x) and x.dtype.kind in "iu"):
                    yield x


def _on_auto_axes(fn: Callable[..., jax.Array], count: Any, arrays: Any) -> jax.Array:
    """fn(count, arrays), with the sharding of the count.

    On explicit axes JAX requires a sharding for the result of each look-up. Here the compiler
    chooses it.
    """
    shardings = [jax.typeof(x).sharding for x in (count, *jax.tree.leaves(arrays))]
    explicit = jax.sharding.AxisType.Explicit
    mesh = next((s.mesh for s in shardings if explicit in s.mesh.axis_types), None)
    if mesh is None:
        return fn(count, arrays)
    axes = zip(mesh.axis_names, mesh.axis_types, strict=True)
    axes = tuple(name for name, kind in axes if kind == explicit)
    out = jax.sharding.NamedSharding(mesh, shardings[0].spec)
    return jax.sharding.auto_axes(axes=axes, out_sharding=out)(fn)(count, arrays)
