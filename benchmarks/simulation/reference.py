"""The formulas of docs/statistics.md for arrays of studies, written independently of the package.

`half_width` interpolates the Behrens-Fisher quantile between shares of the two variances, `levels` follows the t
statistics of successive seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

_ANGLES = np.linspace(0, np.pi / 2, 65)
_NORMAL = 400  # degrees of freedom from which Student's t counts as normal


def half_width(training: Any, images: Any, seeds: int, image_df: float, level: float) -> Floats:
    """Return half the width of Behrens-Fisher intervals.

    Args:
        training: Variances of the means due to training (A).
        images: Variances due to the images (B'), of the same shape.
        seeds: Number of seeds.
        image_df: Degrees of freedom of B'.
        level: Probability outside the interval.
    """
    angle = np.arctan2(np.sqrt(training), np.sqrt(images))
    width = np.interp(angle, _ANGLES, _table(seeds - 1, min(float(image_df), _NORMAL), level))
    return np.asarray(width * np.sqrt(training + images))


@cache
def _table(training_df: float, image_df: float, level: float) -> Floats:
    """Return the quantile in standard errors at each angle, by bisection."""
    low, high = np.zeros(len(_ANGLES)), np.ones(len(_ANGLES))
    while (below := _outside(high, training_df, image_df) > level).any():
        high = np.where(below, 2 * high, high)
    for _ in range(40):
        middle = (low + high) / 2
        below = _outside(middle, training_df, image_df) > level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def _outside(width: Floats, training_df: float, image_df: float) -> Floats:
    """Return P(|sin t(training) + cos t(images)| > width) at each angle.

    Given the two chi-squared variables, the sum is normal.
    """
    training, training_weights = _scaled_chi2(training_df, 160)
    images, image_weights = _scaled_chi2(image_df, 80) if image_df < _NORMAL else (np.ones(1), np.ones(1))
    share = (np.sin(_ANGLES) ** 2)[:, None, None]
    variance = share / training[:, None] + (1 - share) / images
    tails = 2 * special.ndtr(-width[:, None, None] / np.sqrt(variance))
    return np.asarray(np.einsum("aij,i,j->a", tails, training_weights, image_weights))


def _scaled_chi2(df: float, nodes: int) -> tuple[Floats, Floats]:
    """Return nodes and weights that integrate over chi2(df) / df, dense at zero."""
    position, weight = np.polynomial.legendre.leggauss(nodes)
    root = (position + 1) / 2
    return special.chdtri(df, 1 - root**2) / df, weight * root


def spent(seeds: Sequence[int], largest: int, alpha: float, power: float) -> Floats:
    """Return the probability spent up to each look: alpha (n / largest)^power."""
    return np.asarray(alpha * (np.array(seeds) / largest) ** power)


def levels(seeds: Sequence[int], total: Sequence[float]) -> list[float]:
    """Return the level of each look such that the probability of a false alarm up to it is as given.

    Args:
        seeds: Number of seeds at each look, ascending.
        total: Probability spent up to each look.
    """
    path, found, before = _Path(seeds[0]), [], 0.0
    for number, probability in zip(seeds, total, strict=True):
        path.advance(number)
        level = optimize.brentq(lambda level: path.outside(level) - (probability - before), 0, 1, xtol=1e-12)  # noqa: B023
        path.stop(level)
        found.append(float(level))
        before = probability
    return found


def false_alarms(seeds: Sequence[int], level: float) -> float:
    """Return the probability that a test at one level rejects in at least one of several looks."""
    path, found = _Path(seeds[0]), 0.0
    for number in seeds:
        path.advance(number)
        found += path.outside(level)
        path.stop(level)
    return found


class _Path:
    """Distribution of r = (sum of d) / sqrt(sum of d^2) of studies that continue, without a difference.

    r is a Markov chain: with x the next difference, r' = r cos(phi) + sin(phi), sin(phi) = x / sqrt(sum of d^2), and
    phi has a density proportional to cos(phi)^(n - 1), independent of the past. Student's t is a function of r.
    """

    _CELLS = 600

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self.edges = self._grid(seeds)
        inside = special.stdtr(seeds - 1, self._t(self.edges[1:-1]))
        self.mass = np.diff(np.r_[0.0, inside, 1.0])
        self.center = (self.edges[:-1] + self.edges[1:]) / 2
        self.source: tuple[Floats, Floats] | None = None  # mass and center one seed earlier

    def _grid(self, seeds: int) -> Floats:
        upper = np.sin(np.linspace(0, np.pi / 2, self._CELLS // 2 + 1)) * np.sqrt(seeds)
        return np.concatenate([-upper[:0:-1], upper])

    def _t(self, r: Any) -> Any:
        return r * np.sqrt((self.seeds - 1) / (self.seeds - r**2))

    def _bound(self, level: float) -> float:
        """Return |r| at a level."""
        if level <= 0:
            return float(np.sqrt(self.seeds))
        t = -special.stdtrit(self.seeds - 1, level / 2)
        return float(np.sqrt(self.seeds / ((self.seeds - 1) / t**2 + 1))) if t > 0 else 0.0

    def advance(self, seeds: int) -> None:
        """Add seeds without a look."""
        while self.seeds < seeds:
            edges = self._grid(self.seeds + 1)
            above = edges[None, self._CELLS // 2 :]  # from zero
            upper = _exceeds(above, self.center[:, None], self.seeds)
            lower = _exceeds(above, -self.center[:, None], self.seeds)
            beyond = np.concatenate([1 - lower[:, :0:-1], upper], axis=1)
            beyond[:, 0], beyond[:, -1] = 1, 0
            self.source = self.mass, self.center
            self.mass = -np.diff(self.mass @ beyond)
            self.edges, self.seeds = edges, self.seeds + 1
            self.center = (edges[:-1] + edges[1:]) / 2

    def outside(self, level: float) -> float:
        """Return the probability of reaching this look and being significant."""
        if self.source is None:
            return level
        (mass, center), bound = self.source, self._bound(level)
        return float(mass @ (_exceeds(bound, center, self.seeds - 1) + _exceeds(bound, -center, self.seeds - 1)))

    def stop(self, level: float) -> None:
        """Remove the significant studies."""
        bound = self._bound(level)
        low, high = np.clip(self.edges[:-1], -bound, bound), np.clip(self.edges[1:], -bound, bound)
        self.mass = self.mass * (high - low) / np.diff(self.edges)
        self.center = np.where(high > low, (low + high) / 2, self.center)


def _exceeds(bound: Any, r: Floats, seeds: int) -> Floats:
    """Return P(r' > bound), bound >= 0: r' is a sine of phi + atan(r) of amplitude sqrt(1 + r^2)."""
    amplitude, shift = np.sqrt(1 + r**2), np.arctan(r)
    angle = np.arcsin(np.clip(bound / amplitude, 0, 1))
    return np.where(bound < amplitude, _phi(np.pi - angle - shift, seeds) - _phi(angle - shift, seeds), 0.0)


def _phi(angle: Floats, seeds: int) -> Floats:
    sine = np.sin(np.clip(angle, -np.pi / 2, np.pi / 2))
    return np.asarray(0.5 + 0.5 * np.sign(sine) * special.betainc(0.5, seeds / 2, sine**2))
