"""Widths and group counts derived from a number of channels."""

from __future__ import annotations

from math import gcd

__all__ = ["fitting_groups", "hidden_width"]


def hidden_width(channels: int, reduction: float, minimum: int = 1) -> int:
    """Return channels / reduction rounded down, as published code does, but never less than `minimum`.

    With few channels that code would create a bottleneck of width zero, whose gate is a constant.
    """
    return max(minimum, int(channels // reduction))


def fitting_groups(channels: int, groups: int) -> int:
    """Return the greatest common divisor of the channels and the requested number of groups."""
    return gcd(channels, groups)
