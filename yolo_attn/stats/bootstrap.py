"""The bootstrap over images: variation of the metrics with other test images.

A replicate samples as many images as there are, with replacement. An image that is sampled twice counts twice:
replicates without repetitions are smaller sets and underestimate the noise (standard error x 0.76). Matching is not
repeated; the weight of an image is the number of times it was sampled. Two models are compared with the same weights,
which makes the differences paired (Everingham et al., "Assessing the Significance of Performance Differences on the
PASCAL VOC Challenges via Bootstrapping", 2013). Images that belong together have the same weight (`groups.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.evaluation import Evaluation

__all__ = ["REPLICATES", "SEED", "Replicates", "group_weights", "image_weights", "replicate_metrics"]

REPLICATES = 1000
SEED = 0
_CHUNK = 250  # replicates computed at once, which bounds the memory


@dataclass(frozen=True)
class Replicates:
    """Metrics of one evaluated checkpoint in R replicates.

    Args:
        metrics: [R, M] the metrics of its kind of evaluation.
        per_class: [R, K] the first metric of each class; NaN if a replicate has no label of it.
    """

    metrics: NDArray[np.float64]
    per_class: NDArray[np.float64]


@lru_cache(maxsize=4)
def image_weights(images: int, replicates: int = REPLICATES, seed: int = SEED) -> NDArray[np.int16]:
    """Return the number of times each image is sampled in each replicate.

    Args:
        images: Number of images.
        replicates: Number of replicates.
        seed: Random seed; the same seed gives the same weights for every model.

    Returns:
        [replicates, images], read-only; each row sums to the number of images.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((replicates, images), np.int16)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, max(images, 1), images), minlength=images)
    weights.flags.writeable = False
    return weights


def group_weights(groups: NDArray[np.intp], replicates: int = REPLICATES, seed: int = SEED) -> NDArray[np.int16]:
    """Return the number of times each image is sampled in each replicate, if groups of images are sampled.

    If every image is a group of its own, these are the weights of `image_weights`.

    Args:
        groups: [N] index of each image's group, from 0 without gaps.
        replicates: Number of replicates.
        seed: Random seed.

    Returns:
        [replicates, N].
    """
    count = int(groups.max(initial=-1)) + 1
    return image_weights(count, replicates, seed)[:, groups]


def replicate_metrics(found: Evaluation, weights: NDArray[Any]) -> Replicates:
    """Return the metrics in each replicate.

    Args:
        found: An evaluation of N images.
        weights: [R, N] from `image_weights` or `group_weights`.
    """
    parts = [found.compute(weights[start : start + _CHUNK]) for start in range(0, len(weights), _CHUNK)]
    return Replicates(
        np.concatenate([metrics for metrics, _ in parts]), np.concatenate([classes for _, classes in parts])
    )
