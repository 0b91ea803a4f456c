"""Whole studies, from detections to intervals: matches, average precision, the bootstrap, the estimate.

Every arm of a study has the same skill on average. All pairs of arms are compared, so that few studies give many tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from yolo_attn.stats.ap import average_precisions, summarize
from yolo_attn.stats.bootstrap import image_weights
from yolo_attn.stats.compare import MeanEstimate, Support, estimate

from .images import Images
from .reference import Floats

REPLICATES, SEEDS = 200, 3
LEVELS = (0.05, 0.05 / 3)


@dataclass(frozen=True)
class Scenario:
    """A test set and its noise.

    Args:
        name: What is unusual.
        images: Number of images.
        classes: Number of classes.
        objects: Mean number of objects in an image.
        zipf: The k-th class has a share proportional to 1 / k.
        class_images: Number of images of each class, if every image has objects of one class only.
        groups: Number of groups of images that are alike; 0 without groups.
        resample_groups: The bootstrap samples groups.
        by_seed: Standard deviation of the skill between seeds; 0 means that all seeds find the same objects, and the
            images are the only noise.
        by_image: Standard deviation of what an image (group) adds to one arm's skill.
    """

    name: str
    images: int
    classes: int = 2
    objects: float = 4.0
    zipf: bool = False
    class_images: tuple[int, ...] = ()
    groups: int = 0
    resample_groups: bool = False
    by_seed: float = 0.0
    by_image: float = 0.8

    @property
    def units(self) -> int:
        """Number of images or groups that the bootstrap samples."""
        return self.groups if self.resample_groups else self.images


@dataclass(frozen=True)
class Tests:
    """All pairs of arms in S studies.

    Args:
        alarms: [S, 2, L] share of pairs called different, with degrees of freedom from the classes' images and from all
            images, at each of `LEVELS`.
        differences: [S, P] mean differences.
        training: [S, P] their estimated variance due to training (A).
        images: [S, P] their estimated variance due to the images (B').
    """

    alarms: Floats
    differences: Floats
    training: Floats
    images: Floats

    def false_alarms(self) -> tuple[Floats, Floats]:
        """Return the share of false alarms [2, L] and its standard error."""
        return self.alarms.mean(axis=0), self.alarms.std(axis=0) / len(self.alarms) ** 0.5

    def bias(self) -> float:
        """Return the mean of B' over the variance that it estimates."""
        return float(self.images.mean() / (np.mean(self.differences**2) - self.training.mean()))


def run(scenario: Scenario, studies: int, *, arms: int = 8, seed: int = 0) -> Tests:
    """Simulate studies.

    Args:
        scenario: The test set and its noise.
        studies: Number of studies.
        arms: Number of equal arms.
        seed: Random seed.
    """
    rng = np.random.default_rng(seed)
    columns = zip(*[_one(scenario, rng, arms) for _ in range(studies)], strict=True)
    return Tests(*[np.stack(column) for column in columns])


def _one(scenario: Scenario, rng: np.random.Generator, arms: int) -> tuple[Floats, Floats, Floats, Floats]:
    test_set = images_of(scenario, rng)
    weights = image_weights(scenario.units, REPLICATES)
    if scenario.resample_groups:
        weights = weights[:, test_set.group]
    weights = np.concatenate([np.ones((1, scenario.images), np.int16), weights])
    values = np.empty((arms, SEEDS, len(weights)))
    for arm in values:
        skill = test_set.arm(scenario.by_image)
        for row in arm[: SEEDS if scenario.by_seed else 1]:
            matches = test_set.evaluate(skill + rng.normal(0, scenario.by_seed))
            row[:] = summarize(average_precisions(matches, weights))[0][:, 0]
        if not scenario.by_seed:
            arm[1:] = arm[0]
    first, second = (list(side) for side in zip(*combinations(range(arms), 2), strict=True))
    change = np.moveaxis(values[second] - values[first], 0, -1)  # [n, R + 1, P]
    with_class = test_set.with_class(groups=scenario.resample_groups)
    supports = (
        Support.of_means([with_class] * len(first), scenario.units),
        Support.of_images(np.full(len(first), scenario.units)),
    )
    found = [estimate(change[:, 0], change[:, 1:], support) for support in supports]
    alarms = [[_excludes_zero(one, level) for level in LEVELS] for one in found]
    return np.array(alarms), found[1].mean, found[1].training, found[1].images


def _excludes_zero(found: MeanEstimate, level: float) -> float:
    low, high = found.interval(1 - level)
    return float(np.mean((low > 0) | (high < 0)))


def images_of(scenario: Scenario, rng: np.random.Generator) -> Images:
    """Return a test set."""
    shares = 1 / np.arange(1, scenario.classes + 1)
    return Images(
        rng,
        scenario.images,
        scenario.classes,
        objects=scenario.objects,
        frequencies=shares / shares.sum() if scenario.zipf else None,
        class_images=scenario.class_images,
        groups=scenario.groups,
    )
