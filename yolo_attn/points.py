"""Differences of metrics in points, as text."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["NONE", "signed", "signed_ends"]

NONE = "-"
"""The text of a number that is unknown."""
_EXACT = 6  # decimals of a point; what differs beyond them is rounding


def signed(value: float | None) -> str:
    """Return a difference of 0.0097 as +0.97."""
    return NONE if value is None else f"{round(100 * value, 2) + 0.0:+.2f}"  # + 0.0 turns -0.0 into 0.0


def signed_ends(low: float | None, high: float | None) -> tuple[str, str]:
    """Return the ends of an interval of differences, rounded so that a verdict can be read off the text.

    They are rounded outward, so an end that is printed as the margin is not beyond it. An end that is not zero gets as
    many decimals as it takes to show that.
    """
    return _end(low, math.floor), _end(high, math.ceil)


def _end(value: float | None, outward: Callable[[float], int]) -> str:
    if value is None:
        return NONE
    points, decimals = round(100 * value, _EXACT), 2
    while points and not round(points, decimals) and decimals < _EXACT:
        decimals += 1
    rounded = outward(round(points * 10**decimals, _EXACT)) / 10**decimals
    return f"{rounded + 0.0:+.{decimals}f}"
