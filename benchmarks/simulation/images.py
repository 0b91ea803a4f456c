"""Simulated evaluations: objects are found at random, with a model of image, arm and seed.

An object is found with probability logistic(skill), and correct up to a threshold sampled uniformly from the ten.
The skill is that of the arm, plus what the run's seed gives it (training noise), plus what the image gives every arm
(some images are hard), plus what the image gives this arm in every run (image noise of a difference). Arms whose skill
is equal on average have equal average precision on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.matches import AREAS, THRESHOLDS, Matches


class Images:
    """A test set.

    Args:
        rng: Random numbers.
        count: Number of images.
        classes: Number of classes.
        hardness: Standard deviation of what an image gives every arm.
        objects: Mean number of objects in an image.
        frequencies: Shares of the classes; equal by default.
        class_images: Number of images of each class, if every image has objects of one class only.
        groups: Number of groups of consecutive images that are alike, such as frames of a video; 0 without groups.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        count: int,
        classes: int = 2,
        hardness: float = 0.5,
        *,
        objects: float = 4.0,
        frequencies: NDArray[np.float64] | None = None,
        class_images: Sequence[int] = (),
        groups: int = 0,
    ) -> None:
        self.rng = rng
        self.count = count
        self.classes = classes
        number = 1 + rng.poisson(objects - 1, count) if class_images else rng.poisson(objects, count)
        self.gt_image = np.repeat(np.arange(count, dtype=np.int32), number)
        if class_images:
            self.gt_class = np.repeat(np.arange(classes, dtype=np.int32), class_images)[self.gt_image]
        else:
            self.gt_class = rng.choice(classes, len(self.gt_image), p=frequencies).astype(np.int32)
        self.group = np.arange(count) * groups // count if groups else np.arange(count)
        self.skill = rng.normal(0.0, hardness, self.group[-1] + 1)[self.group]

    def arm(self, spread: float) -> NDArray[np.float64]:
        """Return the effect of each image (group) on one arm, in addition to its difficulty."""
        return self.rng.normal(0.0, spread, self.group[-1] + 1)[self.group]

    def with_class(self, *, groups: bool) -> NDArray[np.intp]:
        """Return the number of images, or of groups, that contain each class."""
        unit = self.group[self.gt_image] if groups else self.gt_image
        pairs = np.unique(np.stack([self.gt_class, unit]), axis=1)
        return np.bincount(pairs[0], minlength=self.classes)

    def evaluate(self, skill: NDArray[Any]) -> Matches:
        """A run's evaluation.

        Args:
            skill: [count] of the run on each image.
        """
        rng = self.rng
        chance = 1.0 / (1.0 + np.exp(-(self.skill + skill)[self.gt_image]))
        found = np.flatnonzero(rng.random(len(chance)) < chance)
        level = rng.integers(1, len(THRESHOLDS) + 1, len(found))
        wrong = np.repeat(np.arange(self.count, dtype=np.int32), rng.poisson(3.0, self.count))
        image = np.r_[self.gt_image[found], wrong]
        hit = np.arange(len(THRESHOLDS))[:, None] < np.r_[level, np.zeros(len(wrong), int)]
        score = rng.random(len(image)) + 0.5 * (np.r_[level, np.zeros(len(wrong), int)] > 0)
        order = np.lexsort((-score, image))
        seen = np.zeros((len(THRESHOLDS), len(chance)), np.bool_)
        seen[:, found] = hit[:, : len(found)]
        detections, objects = len(image), len(chance)
        # Every area is large: "all" and "large" are the same, and the other two cost nothing.
        everywhere = np.array([True, False, False, True])[:, None, None]
        shape = (len(AREAS), len(THRESHOLDS), detections)
        return Matches(
            images=tuple(f"{number:06d}" for number in range(self.count)),
            classes=tuple(f"class{number}" for number in range(self.classes)),
            gt_image=self.gt_image,
            gt_class=self.gt_class,
            gt_area=np.full(objects, 1e5, np.float32),
            gt_box=np.zeros((objects, 4), np.float32),
            gt_crowd=np.zeros(objects, np.bool_),
            det_image=image[order].astype(np.int32),
            det_class=np.r_[self.gt_class[found], rng.integers(0, self.classes, len(wrong))][order].astype(np.int32),
            det_score=score[order].astype(np.float32),
            det_area=np.full(detections, 1e5, np.float32),
            det_box=np.zeros((detections, 4), np.float32),
            hit=hit[:, order] & everywhere,
            ignored=np.broadcast_to(~everywhere, shape).copy(),
            found=seen,
        )
