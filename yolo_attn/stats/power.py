"""The noise of differences, and what a study detects with it: differences, seeds and test images.

The numbers follow from the noise of earlier differences, and from the rule of the verdicts: the interval of a
difference excludes zero, or is inside the margin. More seeds reduce the noise of training, more test images mainly that
of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from yolo_attn.stats.behrens_fisher import upper_quantile
from yolo_attn.stats.compare import MIN_SEEDS

__all__ = [
    "MOST_SEEDS",
    "Noise",
    "Requirement",
    "minimum_detectable",
    "minimum_detectable_range",
    "pooled_noise",
    "probability_equivalent",
    "requirement",
    "sd_of_base",
]

MOST_SEEDS = 100  # beyond, other ways to reduce the noise cost less
_BALANCE = math.sqrt(0.5)  # training then contributes half of the variance
_LEAST_SHARE = 1e-9
_NODES, _GENERATOR = 610, 377  # Fibonacci numbers: pairs of quantiles on a lattice that fills the square evenly
_MOST_DF = 1e6
_SHARED_BASELINE = 0.25  # squared correlation of two differences to the same baseline with equal noise

Floats = NDArray[np.float64]

Factor = Callable[[int], float]
"""Factor of the standard error due to training that accounts for looks, by number of seeds."""


@dataclass(frozen=True)
class Noise:
    """Noise of a difference, estimated from several differences.

    Args:
        training: Standard deviation over seeds of one run's difference.
        images: Standard error due to the test images.
        df: Degrees of freedom of `training`; infinite if it is known.
        image_df: Degrees of freedom of `images`; infinite if it is known.
    """

    training: float
    images: float
    df: float = math.inf
    image_df: float = math.inf

    def limits(self, level: float = 0.9) -> tuple[float, float]:
        """Return an interval for `training`, given how well it is known."""
        if math.isinf(self.df):
            return self.training, self.training
        low, high = (
            self.training * math.sqrt(self.df / special.chdtri(self.df, tail))
            for tail in ((1 - level) / 2, (1 + level) / 2)
        )
        return low, high


def pooled_noise(noises: Iterable[tuple[float | None, float | None, int]], image_df: float = math.inf) -> Noise | None:
    """Return the root mean squares of the noise of several differences to one baseline.

    A difference without any noise compares a model with itself and is skipped. The result is None if no other is left.
    The differences share their baseline, so their noises are correlated and have fewer degrees of freedom together than
    independent ones.

    Args:
        noises: sd_training, se_images and the number of seeds of each difference; those with an unknown value are
            skipped.
        image_df: Degrees of freedom of the noise of the test images, which all differences share.
    """
    known = [
        (training, images, seeds - 1)
        for training, images, seeds in noises
        if training is not None and images is not None and (training or images)
    ]
    if not known:
        return None
    training, images, df = (np.array(part, np.float64) for part in zip(*known, strict=True))
    pooled_df = df.sum() / (1 + (len(known) - 1) * _SHARED_BASELINE)
    mean_square = (training**2 * df).sum() / df.sum()
    return Noise(math.sqrt(mean_square), math.sqrt(np.mean(images**2)), float(pooled_df), image_df)


def sd_of_base(sd_training: float, sd_bases: float, seeds: int) -> float:
    """Return the standard deviation over bases of the mean over some seeds of each.

    Args:
        sd_training: Standard deviation over seeds that start from the same base.
        sd_bases: Standard deviation over bases, without that over seeds.
        seeds: Number of seeds of each base.
    """
    return math.hypot(sd_bases, sd_training / math.sqrt(seeds))


def minimum_detectable(
    seeds: int,
    sd_training: float,
    se_images: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    look_factor: float = 1.0,
    image_df: float = math.inf,
) -> float:
    """Return the smallest true difference that a study finds with the given power.

    Args:
        seeds: Number of common seeds, at least 2.
        sd_training: Standard deviation over seeds of one run's difference.
        se_images: Standard error due to the test images.
        alpha: Two-sided level of the interval.
        power: Probability of finding a difference of that size.
        look_factor: Factor of the standard error due to training in the interval that accounts for looks.
        image_df: Degrees of freedom with which the standard error due to the test images is estimated.

    Raises:
        ValueError: There are fewer than 2 seeds.
    """
    from scipy import optimize  # not needed in the processes of runs, which import this module

    if seeds <= 1:
        raise ValueError(f"seeds={seeds}: training noise requires at least 2 seeds")
    scale = math.sqrt(sd_training**2 / seeds + se_images**2)
    if scale == 0:
        return 0.0
    half = _half_widths(seeds, Noise(sd_training, se_images, image_df=image_df), alpha, look_factor)

    def lacking(size: float) -> float:
        found = special.ndtr((size - half) / scale) + special.ndtr((-size - half) / scale)
        return float(found.mean()) - power

    return float(optimize.brentq(lacking, 0.0, float(half.max()) + 10 * scale))


def _half_widths(seeds: int, noise: Noise, alpha: float, look_factor: float) -> Floats:
    """Return half the width of the interval of a difference at evenly spread quantiles of its estimated variances.

    Args:
        seeds: Number of common seeds, at least 2.
        noise: The true noise, and the degrees of freedom with which a study estimates that of the images.
        alpha: Two-sided level.
        look_factor: Factor of the standard error due to training that accounts for looks.
    """
    point, image_df = np.arange(_NODES), min(noise.image_df, _MOST_DF)
    training = (look_factor * noise.training) ** 2 / seeds * _mean_square(point, seeds - 1)
    images = noise.images**2 * _mean_square(point * _GENERATOR % _NODES, image_df)
    total = training + images
    return np.asarray(upper_quantile(alpha / 2, training / total, seeds - 1, image_df) * np.sqrt(total))


def _mean_square(point: NDArray[np.intp], df: float) -> Floats:
    """Return quantiles of an estimated variance whose true value is 1."""
    return np.asarray(special.chdtri(df, 1 - (point + 0.5) / _NODES) / df)


def minimum_detectable_range(
    seeds: int,
    noise: Noise,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    look_factor: float = 1.0,
    level: float = 0.9,
) -> tuple[float, float]:
    """Return an interval for the smallest detectable difference, given how well the noise of training is known.

    Args:
        seeds: Number of common seeds, at least 2.
        noise: The noise, from earlier results.
        alpha: Two-sided level of the interval.
        power: Probability of finding a difference of that size.
        look_factor: As for `minimum_detectable`.
        level: Level of the interval.
    """
    how = {"alpha": alpha, "power": power, "look_factor": look_factor, "image_df": noise.image_df}
    ends = {
        training: minimum_detectable(seeds, training, noise.images, **how)
        for training in dict.fromkeys(noise.limits(level))
    }
    return min(ends.values()), max(ends.values())


@dataclass(frozen=True)
class Requirement:
    """What a study needs to detect a difference.

    Args:
        seeds: Seeds of each arm; None if more than `MOST_SEEDS`.
        fewest: The same if training is as little noisy as the earlier results allow.
        most: The same if training is as noisy as the earlier results allow.
        images: Test images that are needed as well; None if those of the study suffice.
    """

    seeds: int | None
    fewest: int | None
    most: int | None
    images: int | None = None


def requirement(size: float, noise: Noise, images: int, alpha: float, look_factor: Factor) -> Requirement:
    """Return what a study needs to detect a difference with a probability of 80 %.

    If no number of seeds suffices, because of the noise of the test images, the images are those with which training
    and images contribute equally to the noise. It may be fewer in fact, because more images also reduce the part of the
    training noise that is different on every image.

    Args:
        size: The difference.
        noise: The noise of a difference.
        images: Test images that it was measured on.
        alpha: Two-sided level of one interval.
        look_factor: Factor that accounts for looks.
    """
    from scipy import optimize

    def seeds_for(difference: float, training: float, image_error: float) -> int | None:
        def suffice(seeds: int) -> bool:
            how = {"alpha": alpha, "look_factor": look_factor(seeds), "image_df": noise.image_df}
            return minimum_detectable(seeds, training, image_error, **how) <= difference

        return _seeds(suffice)

    low, high = noise.limits()
    seeds = seeds_for(size, noise.training, noise.images)
    if seeds is not None:
        ends = (seeds_for(size, training, noise.images) for training in (low, high))
        return Requirement(seeds, *ends)
    seeds, fewest, most = (seeds_for(size * _BALANCE, training, 0.0) for training in (noise.training, low, high))
    if seeds is None:
        return Requirement(None, fewest, most)
    factor = look_factor(seeds)

    def excess(share: float) -> float:
        error, df = noise.images * math.sqrt(share), noise.image_df / share
        found = minimum_detectable(seeds, noise.training, error, alpha=alpha, look_factor=factor, image_df=df)
        return found - size

    needed = images / float(optimize.brentq(excess, _LEAST_SHARE, 1.0))
    return Requirement(seeds, fewest, most, math.ceil(needed))


def _seeds(suffice: Callable[[int], bool]) -> int | None:
    """Return the fewest seeds that suffice, None if they are more than `MOST_SEEDS`."""
    enough, too_few = MIN_SEEDS, MIN_SEEDS - 1
    while not suffice(enough):
        if enough == MOST_SEEDS:
            return None
        enough, too_few = min(2 * enough, MOST_SEEDS), enough
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        enough, too_few = (middle, too_few) if suffice(middle) else (enough, middle)
    return enough


def probability_equivalent(seeds: int, noise: Noise, margin: float, alpha: float, look_factor: float = 1.0) -> float:
    """Return the probability that the interval of a difference is inside a margin if there is no difference.

    Args:
        seeds: Number of common seeds, at least 2.
        noise: The noise of a difference.
        margin: The margin.
        alpha: Two-sided level of the interval.
        look_factor: Factor of the standard error due to training that accounts for looks.
    """
    scale = math.sqrt(noise.training**2 / seeds + noise.images**2)
    if scale == 0:
        return 1.0
    room = np.maximum(margin - _half_widths(seeds, noise, alpha, look_factor), 0.0)
    return float(np.mean(2 * special.ndtr(room / scale) - 1))
