"""What runs by default: one case of each kind. Its variants are slow, and `.ci/run` runs them."""

import pytest


def slow_case(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def one_in(number, cases):
    """The first of each so many cases by default, the others slow."""
    return [
        pytest.param(*case, marks=pytest.mark.slow if place % number else ())
        for place, case in enumerate(case if isinstance(case, tuple) else (case,) for case in cases)
    ]
