"""Numbers as people write them: the shortest within bounds, and how many digits one has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

_LONGEST = 17  # digits of a double
_LARGEST_DENOMINATOR = 12
_TYPED = 6  # digits up to which a number is taken for one that was typed


def is_within(found: Any, expected: Any, allowed: Any) -> Any:
    """Whether numbers differ by no more than that. An infinite one is equal to itself only."""
    with np.errstate(invalid="ignore"):
        near = np.abs(found - expected) <= allowed
    return (found == expected) | (near & np.isfinite(expected))


def decimals(low: float, high: float, most: int = 2) -> list[float]:
    """The numbers >= 0 from `low` to `high` with the fewest digits, the most central first."""
    low = max(low, 0.0)
    if not low <= high < math.inf:
        return []
    if low == 0:
        return [0.0]
    # What rounds to a double within is within.
    least = Decimal(low) - Decimal(math.ulp(low)) / 2
    greatest = Decimal(high) + Decimal(math.ulp(high)) / 2
    middle = (least + greatest) / 2
    for place in range(greatest.adjusted() + 1, greatest.adjusted() - _LONGEST - 1, -1):
        first = int(least.scaleb(-place).to_integral_value(ROUND_CEILING))
        last = int(greatest.scaleb(-place).to_integral_value(ROUND_FLOOR))
        if first <= last:
            nearest = min(max(int(middle.scaleb(-place)), first), last)
            near = range(max(first, nearest - most), min(last, nearest + most) + 1)
            ordered = sorted(near, key=lambda k: abs(Decimal(k).scaleb(place) - middle))
            found = [float(f"{k}e{place}") for k in ordered[:most]]
            if found := [x for x in found if low <= x <= high]:
                return found
    return [low]


def fractions(low: float, high: float) -> list[float]:
    """The numbers > 0 from `low` to `high` that are p / q with a small q and no short decimals."""
    found = []
    for q in range(3, _LARGEST_DENOMINATOR + 1):
        p = round((low + high) / 2 * q) if 0 <= low <= high < 1e6 else 0
        if p > 0 and math.gcd(p, q) == 1 and low <= p / q <= high and _written(p / q) > _TYPED:
            found.append(p / q)
    return found


def numbers(low: float, high: float, most: int = 2) -> list[float]:
    """Both, the one with the fewest digits first. A few, since any may be the one that is meant."""
    found = decimals(low, high, most)
    if low <= 0:
        return found
    return sorted([*found, *fractions(low, high)[:most]], key=digits)


def whole_numbers(low: float, high: float, most: int = 12) -> list[int]:
    """The integers >= 1 from `low` to `high`, the roundest first, and of those the most central."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    first, last = max(math.ceil(low), 1), math.floor(high)
    if first > last:
        return []
    found = dict.fromkeys(_rounds(first, last, most))
    return list(found)[:most]


def _rounds(first: int, last: int, most: int) -> Iterator[int]:
    middle = (first + last) / 2
    for place in range(len(str(last)), -1, -1):
        unit = 10**place
        low, high = -(-first // unit), last // unit
        centre = round(middle / unit)
        near = range(max(low, centre - most), min(high, centre + most) + 1)
        yield from sorted((k * unit for k in near), key=lambda k: (digits(k), abs(k - middle)))


def digits(number: float) -> int:
    """How many digits one has to write: of 0.1 one, of 391 three, of 1/3 two, of 30000 one."""
    written = _written(number)
    if written <= _TYPED or not isinstance(number, float):
        return written
    near = Fraction(number).limit_denominator(_LARGEST_DENOMINATOR)
    if near.numerator and near.numerator / near.denominator == number:
        return min(written, len(f"{near.numerator}{near.denominator}"))
    return written


def _written(number: float) -> int:
    return len(Decimal(repr(number)).normalize().as_tuple().digits)
