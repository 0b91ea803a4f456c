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

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["tail_probability", "upper_quantile"]

Floats = NDArray[np.float64]

_STEP, _REACH = 0.05, 15.0  # of the trapezoidal rule in the inverse hyperbolic sine of a t variable
_SHARES = 65
_ITERATIONS, _PRECISION = 18, 1e-13  # of the logarithm of a quantile
_LEAST, _NEGLIGIBLE = 1e-300, 1e-20


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
    weights /= weights.sum()
    kept = weights > _NEGLIGIBLE
    return y[kept], weights[kept]


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
    found = np.empty(share.shape)
    first = share >= 0.5  # noqa: PLR2004 (the larger half)
    for part, dfs in ((first, (df1, df2)), (~first, (df2, df1))):
        found[part] = _mixed(distance[part], large[part], small[part], *dfs)
    return found


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
    low, high = (np.full(_SHARES, np.log(end)) for end in (min(ends) * 0.9, max(ends) * 1.1))

    def excess(log_distance: Floats) -> Floats:  # a tail is nearly straight in logarithms
        found = tail_probability(np.exp(log_distance), share, df1, df2)
        return np.asarray(np.log(np.maximum(found, _LEAST) / tail))

    return angles, np.exp(_find_zeros(excess, low, high))


def _find_zeros(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Return the zeros of a decreasing function between lower and upper ends, by the Illinois method.

    Its slope is near -1 or steeper, so small values are at a small distance to the zeros.
    """
    above, below = function(low), function(high)
    moved_low = moved_high = np.zeros(low.shape, bool)
    for _ in range(_ITERATIONS):
        middle = low + (high - low) * above / (above - below)
        value = function(middle)
        if np.abs(value).max() < _PRECISION:
            break
        up = value > 0
        # An end that stays a second time gets half its value, or the other end would approach the zero slowly.
        above = np.where(up, value, np.where(moved_high, above / 2, above))
        below = np.where(up, np.where(moved_low, below / 2, below), value)
        low, high = np.where(up, middle, low), np.where(up, high, middle)
        moved_low, moved_high = up, ~up
    return middle


def _interpolate(angle: Floats, angles: Floats, distances: Floats) -> Any:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(angles, distances)(angle)
