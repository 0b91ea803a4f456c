"""The Behrens-Fisher distribution: a sum of two independent Student's t variables with a given share of the variance.

A mean whose variance is the sum of two estimated components has this distribution around its true value in Fisher's
fiducial argument, and in a Bayesian one with independent priors 1/σ² on both components (Jeffreys):

    X = sqrt(w) T1 + sqrt(1 - w) T2        T1, T2: Student's t with n1 and n2 degrees of freedom

w is the first component's share of the estimated variance. Intervals from it cover their target at least as often as
they state for the usual problem (Robinson, "Properties of Student's t and of the Behrens-Fisher Solution to the Two
Means Problem", 1976). The normal approximation with Satterthwaite's degrees of freedom covers too rarely with few
degrees of freedom.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["tail_probability", "upper_quantile"]

Floats = NDArray[np.float64]

_STEP, _REACH = 0.05, 15.0  # of the trapezoidal rule in the inverse hyperbolic sine of a t variable
_SHARES = 65
_HALVINGS = 48


@lru_cache(maxsize=64)
def _nodes(df: float) -> tuple[Floats, Floats]:
    """Return values of a t variable and their weights.

    The trapezoidal rule converges exponentially for an analytic integrand on the whole line, and the substitution
    y = sinh(s) reaches the tails of a single degree of freedom.
    """
    s = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    y = np.sinh(s)
    log_density = -(df + 1) / 2 * np.log1p(y**2 / df)
    weights = np.exp(log_density) * np.cosh(s)
    return y, weights / weights.sum()


def tail_probability(distance: ArrayLike, share: ArrayLike, df1: float, df2: float) -> Floats:
    """Return P(X > distance).

    Args:
        distance: [C] or a number.
        share: [C] share of the first component in the variance (w), from 0 to 1.
        df1: Degrees of freedom of the first component.
        df2: Degrees of freedom of the second component.
    """
    distance, share = np.broadcast_arrays(np.asarray(distance, np.float64), np.asarray(share, np.float64))
    # The tail of the larger component is exact; the integral over the smaller one is then over a smooth function.
    large, small = np.sqrt(np.maximum(share, 1 - share)), np.sqrt(np.minimum(share, 1 - share))
    first = _mixed(distance, large, small, df1, df2)
    second = _mixed(distance, large, small, df2, df1)
    return np.asarray(np.where(share >= 0.5, first, second))  # noqa: PLR2004 (the larger half)


def _mixed(distance: Floats, large: Floats, small: Floats, df_large: float, df_small: float) -> Floats:
    y, weights = _nodes(df_small)
    inside = (distance[..., None] - small[..., None] * y) / large[..., None]
    return np.asarray(special.stdtr(df_large, -inside) @ weights)


def upper_quantile(tail: float, share: ArrayLike, df1: float, df2: float) -> Floats:
    """Return the distance that X exceeds with a probability.

    Args:
        tail: The probability, below 0.5.
        share: [C] share of the first component in the variance, from 0 to 1.
        df1: Degrees of freedom of the first component.
        df2: Degrees of freedom of the second component.
    """
    angle = np.arcsin(np.sqrt(np.clip(np.asarray(share, np.float64), 0, 1)))
    angles, distances = _quantile_table(tail, df1, df2)
    return np.asarray(_interpolate(angle, angles, distances))


@lru_cache(maxsize=512)
def _quantile_table(tail: float, df1: float, df2: float) -> tuple[Floats, Floats]:
    """Return angles arcsin(sqrt(w)) and the quantiles there."""
    angles = np.linspace(0, np.pi / 2, _SHARES)
    share = np.sin(angles) ** 2
    ends = -special.stdtrit(df1, tail), -special.stdtrit(df2, tail), -special.ndtri(tail)
    low, high = np.full(_SHARES, min(ends) * 0.9), np.full(_SHARES, max(ends) * 1.5)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = tail_probability(middle, share, df1, df2) > tail
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return angles, (low + high) / 2


def _interpolate(angle: Floats, angles: Floats, distances: Floats) -> Any:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(angles, distances)(angle)
