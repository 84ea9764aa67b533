"""Functions that a user would pass as `lr_lambda` or `scale_fn`, for Python's numbers and JAX.

Their parameters come first, so that `functools.partial` leaves the count. `count / 1` is the
count as a float, also under JAX's strict promotion.
"""

import math
from collections.abc import Callable


class Python:
    """What torch calls a function with: Python's numbers."""

    cos, sin, minimum, maximum = math.cos, math.sin, min, max

    @staticmethod
    def where(condition, yes, no):
        return yes if condition else no


def on(count):
    """The namespace for a count: jax.numpy for a JAX array or tracer."""
    return count.__array_namespace__() if hasattr(count, "__array_namespace__") else Python


def bert(warmup, total, count):
    """Linear warmup and decay, as Hugging Face's `get_linear_schedule_with_warmup`."""
    ops = on(count)
    return ops.maximum(0.0, ops.minimum(count / warmup, (total - count) / (total - warmup)))


def warmup_cosine(warmup, total, count):
    """Linear warmup, then half a cosine to 0."""
    ops = on(count)
    progress = ops.minimum(ops.maximum(0.0, (count - warmup) / (total - warmup)), 1.0)
    return ops.where(count < warmup, count / warmup, (1 + ops.cos(math.pi * progress)) / 2)


def noam(d_model, warmup, count):
    """The Transformer's warmup and inverse square root."""
    step = on(count).maximum(count, 1) / 1
    return d_model**-0.5 * on(count).minimum(step**-0.5, step * warmup**-1.5)


def exponential(rate, every, count):
    """As EfficientNet's decay, 0.97 every 2.4 epochs, but smooth."""
    return rate ** (count / 1 / every)


def staircase(rate, tenths, count):
    """EfficientNet's own; `tenths` is 24 for every 2.4 epochs."""
    return rate ** (count * 10 // tenths / 1)


def inverse_time(rate, count):
    return 1 / (1 + rate * (count / 1))


def epoch_over_30(count):
    """An example from torch's documentation: an integer, 0 at first, then growing."""
    return count // 30


def constant(factor, count):
    return factor


def dip(factor, every, count):
    return on(count).where(count % every == 0, factor, 1.0)


def wave(height, period, count):
    return 1 + height * on(count).sin(2 * math.pi / period * (count / 1))


def half_sine(count):
    """The usual example of a `scale_fn`."""
    return 0.5 * (1 + on(count).sin(math.pi / 2 * (count / 1)))


_ALL = [bert, warmup_cosine, noam, exponential, staircase, inverse_time]
_ALL += [epoch_over_30, constant, dip, wave, half_sine]
FUNCTIONS: dict[str, Callable] = {function.__name__: function for function in _ALL}
