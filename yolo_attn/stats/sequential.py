"""Error rates of comparisons that are looked at after several numbers of seeds.

An interval of level 1 - α covers the true difference with that probability at one look. Whoever looks after every seed,
and stops as soon as the interval excludes zero, is wrong far more often. Repeated confidence intervals (Jennison and
Turnbull, "Interim Analyses: The Repeated Confidence Interval Approach", 1989) cover the true difference at all looks
together with probability 1 - α: the interval at look n has the level 1 - a_n, and the a_n are chosen such that the
probability of a first error at look n is what a spending function allots to it (Lan and DeMets, "Discrete Sequential
Boundaries for Clinical Trials", 1983).

The levels are exact for differences with normally distributed training noise of unknown variance, whose statistic after
n seeds is Student's t with n - 1 degrees of freedom. With S and Q the sum and the sum of squares of n differences,
t = sqrt(n - 1) tan(φ), where sin(φ) = S / sqrt(n Q). If there is no true difference, the direction of the vector of
differences is independent of its length, so the φ of successive n form a Markov chain: the next difference is
z = τ / sqrt(n) in units of sqrt(Q), where τ is Student's t with n degrees of freedom (compare Jennison and Turnbull,
"Exact Calculations for Sequential t, χ² and F Tests", 1991). The distribution of |φ| before the first error is computed
on a grid.

The noise of the test images is common to all looks: a further seed gives it no further chance of an error. Only the
part of the interval that is due to training is therefore widened, by the ratio of Student's quantiles at a_n and at α
(`look_factor`). This is exact without noise of the images, and has the level 1 - α without noise of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["error_rate", "look_factor", "look_levels", "spend"]

Floats = NDArray[np.float64]
Spending = Callable[[float], float]

_CELLS = 400
_HALVINGS = 60
_EXPONENT = 2.0  # the fewest runs of several spending functions in simulations


def spend(fraction: float) -> float:
    """Return the part of the error rate that is spent when a fraction of the largest number of seeds is trained."""
    return float(fraction**_EXPONENT)


@lru_cache(maxsize=64)
def look_levels(alpha: float, first: int, last: int, spending: Spending = spend) -> Mapping[int, float]:
    """Return the two-sided error level a_n of the interval at each look, by number of seeds.

    Args:
        alpha: Error rate of all looks together.
        first: Number of seeds at the first look, at least 2.
        last: Largest number of seeds; there is a look after each seed from `first` on.
        spending: Part of `alpha` that is spent at a fraction of the largest number of seeds, from 0 to 1.
    """
    chain = _Chain(first)
    levels = {}
    spent = 0.0
    for seeds in range(first, last + 1):
        due = alpha * spending(seeds / last)
        bound = chain.bound(due - spent)
        levels[seeds] = 2 * float(special.stdtr(seeds - 1, -np.sqrt(seeds - 1) * np.tan(bound)))
        chain.stop_above(bound)
        chain.add_seed()
        spent = due
    return levels


def look_factor(alpha: float, seeds: int, first: int, last: int) -> float:
    """Return the factor of the standard error due to training that accounts for looks after every seed.

    Args:
        alpha: Error rate of all looks together.
        seeds: Number of seeds at this look.
        first: Number of seeds at the first look, at least 2.
        last: Largest number of seeds.
    """
    level = look_levels(alpha, first, last)[seeds]
    return max(1.0, float(special.stdtrit(seeds - 1, level / 2) / special.stdtrit(seeds - 1, alpha / 2)))


def error_rate(levels: Mapping[int, float]) -> float:
    """Return the probability of an error at any look.

    Args:
        levels: Two-sided error level of the interval at each look, by number of seeds.
    """
    first, last = min(levels), max(levels)
    chain, rate = _Chain(first), 0.0
    for seeds in range(first, last + 1):
        if seeds in levels:
            distance = -special.stdtrit(seeds - 1, levels[seeds] / 2)
            bound = float(np.arctan(distance / np.sqrt(seeds - 1)))
            rate += chain.probability_above(bound)
            chain.stop_above(bound)
        chain.add_seed()
    return rate


class _Chain:
    """The distribution of |φ| after some number of seeds, restricted to studies without an error so far.

    Args:
        seeds: The number of seeds, at least 2.
    """

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._largest = np.pi / 2  # |φ| of the remaining studies
        self._above: Callable[[Floats], Floats] = lambda bound: (
            2 * special.stdtr(seeds - 1, -np.sqrt(seeds - 1) * np.tan(bound))
        )

    def probability_above(self, bound: float) -> float:
        """Return the probability that |φ| exceeds a bound."""
        return float(self._above(np.array([bound]))[0])

    def bound(self, probability: float) -> float:
        """Return the bound that |φ| exceeds with a probability."""
        low, high = 0.0, np.pi / 2
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.probability_above(middle) > probability else (low, middle)
        return (low + high) / 2

    def stop_above(self, bound: float) -> None:
        """Remove the studies whose |φ| exceeds a bound."""
        self._largest = bound

    def add_seed(self) -> None:
        """Advance by one seed."""
        seeds, edges = self._seeds, np.linspace(0, self._largest, _CELLS + 1)
        mass = -np.diff(self._above(edges))
        middle = np.sin((edges[1:] + edges[:-1]) / 2)
        self._above = lambda bound: mass @ _exceeds(np.sin(bound), middle, seeds)
        self._seeds, self._largest = seeds + 1, np.pi / 2


def _exceeds(bound: Floats, sine: Floats, seeds: int) -> Floats:
    """Return the probability [S, B] that |sin(φ)| exceeds bounds after another seed.

    The condition (sqrt(n) s + z)² > a (1 + z²) with a = (n + 1) bound² holds between the roots of a quadratic equation
    in z if a > 1, and outside them if a < 1.

    Args:
        bound: [B] bounds from 0 to 1.
        sine: [S] sin(φ) before (s).
        seeds: Number of seeds before (n).
    """
    a = (seeds + 1) * np.asarray(bound) ** 2
    a = np.where(np.abs(a - 1) < 1e-9, 1 + 1e-9, a)  # noqa: PLR2004 (the equation is linear at 1)
    center = np.sqrt(seeds) * sine[:, None]
    root = np.sqrt(np.maximum(a * (1 + center**2 - a), 0))
    ends = (center - root) / (a - 1), (center + root) / (a - 1)
    low, high = (special.stdtr(seeds, np.sqrt(seeds) * end) for end in (np.minimum(*ends), np.maximum(*ends)))
    between = high - low
    return np.asarray(np.where(a > 1, between, 1 - between))
