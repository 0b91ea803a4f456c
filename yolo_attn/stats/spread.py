"""Whether many arms differ from each other more than by chance.

The mean differences of arms to one base are compared with the noise that is left without the means of arms and seeds,
as in an analysis of variance of two factors without replication. The p-value is that of a sign-flip test: it stays
right if some arms are noisier than others, where that of the F distribution is too small.

Source: Winkler et al., "Permutation inference for the general linear model", NeuroImage 92, 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spread", "measure_spread"]

_FLIPS = 1999
_SEED = 0
_ROUNDING = 1e-20  # relative error of a sum of squares of numbers that should be zero


@dataclass(frozen=True)
class Spread:
    """How much arms differ from each other, beside what chance alone would cause.

    Args:
        arms: Number of arms.
        found: Standard deviation of their mean differences to the base.
        expected: The same if they differed by the noise of training alone.
        p: Probability that chance makes them differ at least as much; None if they have no noise.
    """

    arms: int
    found: float
    expected: float
    p: float | None


def measure_spread(values: NDArray[np.float64]) -> Spread:
    """Return how much arms differ from each other.

    Args:
        values: Their differences to the base in the same seeds, (arms, seeds), at least two of both.
    """
    arms, seeds = values.shape
    between, noise = _squares(values - values.mean(axis=0))
    exact = noise <= _ROUNDING * float((values**2).sum())
    return Spread(
        arms,
        found=math.sqrt(float(between) / (arms - 1)),
        expected=math.sqrt(float(noise) / ((arms - 1) * (seeds - 1) * seeds)),
        p=None if exact else _chance(values, float(between / noise)),
    )


def _chance(values: NDArray[np.float64], found: float) -> float:
    """Return the share of random signs with which the arms differ at least as much, relative to their noise.

    Signs belong to the distances from the median of a seed: one arm far from the others shifts the mean of all.
    """
    distances = values - np.median(values, axis=0)
    flipped = distances * (np.random.default_rng(_SEED).integers(0, 2, (_FLIPS, *values.shape)) * 2 - 1)
    between, noise = _squares(flipped - flipped.mean(axis=1, keepdims=True))
    return (1 + int((between / noise >= found).sum())) / (1 + _FLIPS)


def _squares(centered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of squares of the arms' means and of what is left, of values without the means of seeds.

    Args:
        centered: The values, (..., arms, seeds).
    """
    means = centered.mean(axis=-1, keepdims=True)
    return (means**2).sum(axis=(-1, -2)), ((centered - means) ** 2).sum(axis=(-1, -2))
