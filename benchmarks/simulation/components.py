"""Studies reduced to what the test sees: differences of runs, an image part common to all seeds, its estimate.

Every arm has a run per seed and an influence of every image. The noise of the baseline is shared by all variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .reference import Floats, half_width

Noise = Callable[[np.random.Generator, tuple[int, int, int]], Floats]
DIRECT = 60  # images up to which influences are sampled one by one; beyond, their mean is normal
_SPARSE = 0.2  # share of the images that have an influence


@dataclass(frozen=True)
class Studies:
    """S studies of K variants.

    Args:
        differences: [S, K, n] difference of every run to the baseline's.
        images: [S, K] estimated variance due to the images, unbiased (B').
        count: Number of images (N).
    """

    differences: Floats
    images: Floats
    count: int

    def means(self, seeds: int) -> Floats:
        """Return [S, K] the means of the first seeds."""
        return np.asarray(self.differences[:, :, :seeds].mean(axis=-1))

    def half_widths(self, seeds: int, level: float, stretch: float = 1.0) -> Floats:
        """Return [S, K] half the widths of the intervals.

        Args:
            seeds: Number of seeds that are used.
            level: Probability outside the interval.
            stretch: Factor of the training variance (multiplicity of looks).
        """
        training = self.differences[:, :, :seeds].var(axis=-1, ddof=1) / seeds
        return self.half_widths_of(training * stretch, seeds, level)

    def half_widths_of(self, training: Floats, seeds: int, level: float) -> Floats:
        """Return the same for given training variances of the means [S, K]."""
        return half_width(training, self.images, seeds, self.count - 1, level)

    def outside(self, seeds: int, level: float) -> NDArray[np.bool_]:
        """Return [S, K] whether the intervals exclude zero."""
        return np.asarray(np.abs(self.means(seeds)) > self.half_widths(seeds, level))


def simulate(
    rng: np.random.Generator,
    studies: int,
    *,
    variants: int = 1,
    seeds: int = 3,
    images: int = 120,
    image: float = 0.0,
    noise: Noise | None = None,
    influence: str = "normal",
) -> Studies:
    """Return studies without true differences.

    Args:
        rng: Random numbers.
        studies: Number of studies (S).
        variants: Number of variants (K).
        seeds: Number of seeds (n).
        images: Number of images (N).
        image: Standard error of a difference due to the images; that of one run's difference due to training is 1.
        noise: Noise of runs [S, K + 1, n] with the baseline first; standard normal by default.
        influence: Distribution of what one image adds to an arm, a key of `INFLUENCES`.
    """
    shape = (studies, variants + 1, seeds)
    runs = (rng.standard_normal(shape) if noise is None else noise(rng, shape)) / 2**0.5
    if images <= DIRECT or influence != "normal":
        parts = INFLUENCES[influence](rng, (studies, variants + 1, images)) * image * (images / 2) ** 0.5
        between = parts[:, 1:] - parts[:, :1]
        shift, estimate = between.mean(axis=-1), between.var(axis=-1, ddof=1) / images
    else:
        arms = rng.standard_normal((studies, variants + 1)) * image / 2**0.5
        shift = arms[:, 1:] - arms[:, :1]
        estimate = image**2 * rng.chisquare(images - 1, shift.shape) / (images - 1)
    return Studies(runs[:, 1:] - runs[:, :1] + shift[:, :, None], estimate, images)


def _sparse(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Four images in five have no influence."""
    return np.asarray(rng.standard_normal(shape) * (rng.random(shape) < _SPARSE) / _SPARSE**0.5)


INFLUENCES: Mapping[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "skewed": lambda rng, shape: rng.exponential(1.0, shape) - 1,
    "sparse": _sparse,
}

COLLAPSE = 10.0  # what a collapsed run loses, in standard deviations of a run
RATE = 0.1


def _collapsing(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    return np.asarray(rng.standard_normal(shape) - COLLAPSE * (rng.random(shape) < RATE))


def _variants_only(shift: float) -> Noise:
    """Only variants collapse; the baseline is lower by the shift."""

    def noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        runs = _collapsing(rng, shape)
        runs[:, 0] = rng.standard_normal(runs[:, 0].shape) - shift
        return runs

    return noise


def _variants(scale: float, skewed: bool) -> Noise:
    """Variants are noisier than the baseline."""

    def noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        runs = rng.standard_normal(shape)
        size = runs[:, 1:].shape
        runs[:, 1:] = scale * (rng.exponential(1.0, size) - 1 if skewed else rng.standard_normal(size))
        return runs

    return noise


NOISES: Mapping[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (t with 3 df)": lambda rng, shape: rng.standard_t(3, shape) / 3**0.5,
    "skewed (exponential), every arm": lambda rng, shape: rng.exponential(1.0, shape) - 1,
    "one run in ten collapses, every arm": _collapsing,
    "a variant three times noisier": _variants(3.0, skewed=False),
    "a variant three times noisier and skewed": _variants(3.0, skewed=True),
    "only variants collapse, equal otherwise": _variants_only(0.0),
    "only variants collapse, equal means": _variants_only(RATE * COLLAPSE),
}
