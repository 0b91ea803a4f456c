"""Variances of many comparisons with a few seeds each, moderated by what all of them have in common.

Three seeds say little about the variance of one comparison, but a hundred comparisons show how variances are
distributed. With d degrees of freedom each,

    s_k^2 = σ_k^2 χ²_d / d,    1 / σ_k^2 distributed as χ²_d0 / (d0 s0^2)

and given s_k^2, the moderated variance (d0 s0^2 + d s_k^2) / (d0 + d) has d0 + d degrees of freedom. d0 and s0 are
estimated from the mean and the variance of log s_k^2. If variances differ much, d0 is small and each counts for itself;
the less they differ beyond chance, the larger is d0 and the more they are pooled.

Deviation: the variance of log s_k^2 is taken one standard error larger than its estimate. Otherwise d0 is too large by
chance too often for intervals of a hundred comparisons to hold together.

Source: Smyth, "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray
Experiments", Statistical Applications in Genetics and Molecular Biology 3 (1), 2004.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = ["LEAST", "CommonVariance", "fit_common_variance"]

LEAST = 10
"""Number of comparisons below which their variances are not moderated."""
_MOST_DF = 1e6  # more are as good as infinitely many
_FLOOR = 1e-4  # of the median: smaller variances are accidents, or those of layers that do nothing


@dataclass(frozen=True)
class CommonVariance:
    """What many comparisons have in common.

    Args:
        variance: s0^2.
        df: d0, up to 10^6.
    """

    variance: float
    df: float

    def moderate(self, variance: float, df: int) -> tuple[float, float]:
        """Return the moderated variance of a comparison, and its degrees of freedom.

        Args:
            variance: Its own variance.
            df: The degrees of freedom of that.
        """
        total = self.df + df
        return (self.df * self.variance + df * variance) / total, total


def fit_common_variance(variances: Sequence[float], df: int) -> CommonVariance | None:
    """Return what comparisons have in common; None if they are too few, or most of them have no variance.

    Args:
        variances: Their variances.
        df: The degrees of freedom of each.
    """
    given = np.asarray(variances, float)
    if len(given) < LEAST or df < 1 or not np.median(given) > 0:
        return None
    half = df / 2
    logs = np.log(np.maximum(given, _FLOOR * np.median(given))) - special.digamma(half) + math.log(half)
    spread = _at_most(logs) - float(special.polygamma(1, half))
    prior = 2 * _inverse_trigamma(spread)
    correction = float(special.digamma(prior / 2)) - math.log(prior / 2)
    return CommonVariance(math.exp(float(logs.mean()) + correction), prior)


def _at_most(values: NDArray[np.float64]) -> float:
    """Return the variance of a population that values are a sample of, plus its standard error."""
    squares = (values - values.mean()) ** 2
    return float(values.var(ddof=1) + squares.std() / math.sqrt(len(values)))


def _inverse_trigamma(value: float) -> float:
    """Return the number whose trigamma function has a value."""
    low, high = 1e-3, _MOST_DF
    if value <= float(special.polygamma(1, high)):
        return high
    return float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high))
