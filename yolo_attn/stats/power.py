"""The size of a study: seeds and test images that are needed to detect a difference, or to show that there is none.

The numbers follow from the noise of earlier differences, and from the rule of the verdicts: the interval of a
difference excludes zero, or is inside the margin. More seeds reduce the noise of training, more test images mainly that
of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from yolo_attn.stats.compare import MIN_SEEDS, Noise, half_widths, minimum_detectable

__all__ = ["MOST_SEEDS", "Requirement", "probability_equivalent", "requirement"]

MOST_SEEDS = 100  # beyond, other ways to reduce the noise cost less
_BALANCE = math.sqrt(0.5)  # training then contributes half of the variance
_LEAST_SHARE = 1e-9

Factor = Callable[[int], float]
"""Factor of the standard error due to training that accounts for looks, by number of seeds."""


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
        return _seeds(
            lambda seeds: (
                minimum_detectable(seeds, training, image_error, alpha=alpha, look_factor=look_factor(seeds))
                <= difference
            )
        )

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
        error = noise.images * math.sqrt(share)
        return minimum_detectable(seeds, noise.training, error, alpha=alpha, look_factor=factor) - size

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
    room = np.maximum(margin - half_widths(seeds, noise.training, noise.images, alpha, look_factor), 0.0)
    return float(np.mean(2 * special.ndtr(room / scale) - 1))
