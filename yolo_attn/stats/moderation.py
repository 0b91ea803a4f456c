"""Noise of many arms with a few seeds each: variances moderated by what those of all arms have in common.

Three seeds say little about the variance of one arm's runs, but a hundred arms show how variances are distributed. With
d degrees of freedom each,

    s_k^2 = σ_k^2 χ²_d / d,    1 / σ_k^2 distributed as χ²_d0 / (d0 s0^2)

and given s_k^2, the moderated variance (d0 s0^2 + d s_k^2) / (d0 + d) has d0 + d degrees of freedom. d0 and s0 are
estimated from the mean and the variance of log s_k^2. If variances differ much, d0 is small and each counts for itself;
the less they differ beyond chance, the larger is d0 and the more they are pooled.

Differences to one base in the same seeds have the noise of the base's runs in common. Therefore s_k^2 is that of single
runs, without what a seed changes in all arms; the base counts as one more arm; and the variance of a difference is the
sum of its arm's and the base's. The sum is given the degrees of freedom of one of them, which is cautious.

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

__all__ = [
    "LEAST",
    "CommonVariance",
    "ModeratedVariances",
    "fit_common_variance",
    "moderate_differences",
]

LEAST = 10
"""Number of arms below which their variances are not moderated."""
_MOST_DF = 1e6  # more are as good as infinitely many
_FLOOR = 1e-4  # of the median: smaller variances are accidents, or those of layers that do nothing


@dataclass(frozen=True)
class CommonVariance:
    """What the variances of many arms have in common.

    Args:
        variance: s0^2.
        df: d0, up to 10^6.
    """

    variance: float
    df: float

    def moderate(self, variances: NDArray[np.float64], df: int) -> NDArray[np.float64]:
        """Return the moderated variances, which have d0 + df degrees of freedom.

        Args:
            variances: The variances of the arms.
            df: The degrees of freedom of each.
        """
        return (self.df * self.variance + df * variances) / (self.df + df)


@dataclass(frozen=True)
class ModeratedVariances:
    """The noise of differences to one base.

    Args:
        common: What the variances of single runs, in all arms and the base, have in common.
        differences: Variance of the difference in one seed, for each arm.
        df: Its degrees of freedom.
    """

    common: CommonVariance
    differences: NDArray[np.float64]
    df: float


def moderate_differences(values: NDArray[np.float64]) -> ModeratedVariances | None:
    """Return the noise of differences; None with too few arms or seeds, or if most arms have no variance.

    Args:
        values: The differences of arms to their base in the same seeds, (arms, seeds).
    """
    arms, seeds = len(values) + 1, values.shape[-1]
    runs = np.vstack([values, np.zeros(seeds)])  # what the base's runs have is, reversed, in all others
    residuals = _without_effects(runs)
    variances = (residuals**2).sum(axis=1) / max(1, seeds - 1) * arms / (arms - 1)
    common = fit_common_variance(list(variances), seeds - 1)
    if common is None:
        return None
    *those, base = common.moderate(variances, seeds - 1)
    return ModeratedVariances(common, np.array(those) + base, common.df + seeds - 1)


def _without_effects(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (arms, seeds) without the means of arms and what a seed changes in all arms.

    The latter is a median: with the mean, the failed training of one arm would count as noise of all others.
    """
    distances = values - values.mean(axis=1, keepdims=True)
    common = np.median(distances, axis=0)
    return np.asarray(distances - (common - common.mean()))


def fit_common_variance(variances: Sequence[float], df: int) -> CommonVariance | None:
    """Return what arms have in common; None if they are too few, or most of them have no variance.

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
    low, high = 1e-3, _MOST_DF / 2
    if value <= float(special.polygamma(1, high)):
        return high
    return float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high))
