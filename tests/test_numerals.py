"""Numbers within bounds, as people write them."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from jaxsched._desk.numerals import decimals, digits, fractions, numbers, whole_numbers

REALS = st.floats(1e-12, 1e6)
WIDTHS = st.floats(1e-15, 0.5)


@given(REALS, WIDTHS)
def test_decimals_lie_within_their_bounds_and_none_there_is_shorter(low, width):
    high = low * (1 + width)
    found = decimals(low, high)
    assert found and all(low <= x <= high for x in found)
    length = len(Decimal(repr(found[0])).normalize().as_tuple().digits)
    shorter = [float(f"{x:.{length - 2}e}") for x in (low, high, found[0])] if length > 1 else []
    assert not any(low <= x <= high for x in shorter)


@pytest.mark.parametrize("typed", [0.1, 0.05, 3e-4, 0.94, 0.99994, 1.0, 2.5, 1e-7, 0.3, 12.0])
@pytest.mark.parametrize("error", [2**-23, 1e-13, 1e-9])
def test_a_typed_number_comes_back(typed, error):
    assert numbers(typed * (1 - error), typed * (1 + error))[0] == typed


@pytest.mark.parametrize("p, q", [(1, 3), (2, 3), (1, 6), (1, 7), (5, 12), (4, 3)])
def test_a_fraction_comes_back(p, q):
    assert fractions(p / q * (1 - 2**-23), p / q * (1 + 2**-23)) == [p / q]
    assert numbers(p / q * (1 - 2**-23), p / q * (1 + 2**-23))[0] == p / q
    assert digits(p / q) == len(f"{p}{q}")


@given(st.integers(1, 10**6), st.integers(0, 10**5))
def test_whole_numbers_lie_within_their_bounds_the_roundest_first(low, width):
    found = whole_numbers(low - 0.5, low + width + 0.5)
    assert found and all(low <= n <= low + width for n in found)
    assert len(set(found)) == len(found) >= min(width + 1, 12)
    assert digits(found[0]) == min(map(digits, found))
    if width < 3000:
        assert digits(found[0]) == min(map(digits, range(low, low + width + 1)))


@pytest.mark.parametrize("low, high", [(2.0, 1.0), (-2.0, -1.0), (1.0, float("inf"))])
def test_nothing_lies_within_bounds_that_hold_nothing(low, high):
    assert decimals(low, high) == fractions(low, high) == []
    assert whole_numbers(low, high) == []


def test_zero_is_the_shortest_number_of_all():
    assert numbers(-1e-9, 1e-9) == numbers(0.0, 0.2) == [0.0]
    assert digits(0.0) == 1


def test_examples():
    assert decimals(0.09999999, 0.10000001) == [0.1] and decimals(0.21, 0.39)[0] == 0.3
    assert fractions(0.4999999, 0.5000001) == []
    assert numbers(0.33333332, 0.33333336, 1) == [1 / 3, 0.33333334]
    assert whole_numbers(95, 104, 3) == [100, 99, 98] and whole_numbers(3.1, 3.9) == []
    numbers_of = (0.1, 391, 1 / 3, 30000, 2.5e-4, 0, 0.123456789)
    assert [*map(digits, numbers_of)] == [1, 3, 2, 1, 2, 1, 9]
