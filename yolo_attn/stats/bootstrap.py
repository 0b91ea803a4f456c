"""How average precision would vary with other test images: the bootstrap over images.

A replicate draws as many images as there are, with replacement. An image that is drawn twice counts twice: replicates
that drop the repetitions are smaller sets, and understate the noise (standard error x 0.76). Matching is not done
again; an image's weight is how often it was drawn. Two models are compared under the same weights, which makes the
differences paired (Everingham et al., "Assessing the Significance of Performance Differences on the PASCAL VOC
Challenges via Bootstrapping", 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.ap import average_precisions, summarise
from yolo_attn.stats.matches import Matches

__all__ = ["REPLICATES", "SEED", "Draws", "draws", "image_weights"]

REPLICATES = 1000
SEED = 0
_AT_A_TIME = 250  # replicates; bounds the memory of the average precisions


@dataclass(frozen=True)
class Draws:
    """Metrics of one evaluated checkpoint in R replicates.

    Args:
        metrics: [R, 6] as `METRICS`.
        per_class: [R, K] mAP50-95 of each class; not a number where a replicate has no object of it.
    """

    metrics: NDArray[np.float64]
    per_class: NDArray[np.float64]


@lru_cache(maxsize=4)
def image_weights(images: int, replicates: int = REPLICATES, seed: int = SEED) -> NDArray[np.int16]:
    """Return how often each image is drawn in each replicate.

    Args:
        images: Number of images.
        replicates: Number of replicates.
        seed: The same seed gives the same weights, whichever model is looked at.

    Returns:
        [replicates, images], read-only; every row sums to the number of images.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((replicates, images), np.int16)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, max(images, 1), images), minlength=images)
    weights.flags.writeable = False
    return weights


def draws(matches: Matches, weights: NDArray[Any]) -> Draws:
    """Return the metrics in each replicate.

    Args:
        matches: Of N images.
        weights: [R, N] from `image_weights`.
    """
    parts = [
        summarise(average_precisions(matches, weights[start : start + _AT_A_TIME]))
        for start in range(0, len(weights), _AT_A_TIME)
    ]
    return Draws(np.concatenate([metrics for metrics, _ in parts]), np.concatenate([classes for _, classes in parts]))
