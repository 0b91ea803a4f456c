"""Evaluation of a classifier: top-1 and top-5 accuracy from the classes that it predicts for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_attn.stats.chance import Chance, compare_shuffled
from yolo_attn.stats.evaluation import Evaluation, distinct_names

__all__ = ["RANKED", "Predictions"]

RANKED = 5
"""Number of predicted classes that are stored per image, the most probable first."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Predictions(Evaluation):
    """The class of each image, and the classes that are predicted for it.

    Args:
        images: Names of the images, sorted.
        classes: Names of the classes.
        true: [N] index of the image's class.
        ranked: [N, min(5, K)] indices of the predicted classes, the most probable first.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("top-1", "top-5")
    reported: ClassVar[tuple[str, ...]] = ("top-1", "top-5")
    class_mean: ClassVar[bool] = False
    class_folders: ClassVar[bool] = True
    labeled: ClassVar[str] = "images"
    definition: ClassVar[str] = (
        "The fraction of images whose class is the most probable one (top-1) or among the five most probable ones "
        "(top-5), of all images or of those of a class"
    )
    by_chance: ClassVar[str] = "the class with the most images"
    true: Ints
    ranked: Ints

    @classmethod
    def of(cls, classes: Iterable[str], images: Iterable[tuple[str, int, ArrayLike]]) -> Predictions:
        """Return predictions with the images sorted by name.

        Args:
            classes: Names of the classes; a repeated name gets its index appended.
            images: Name, class and ranked predictions of each image.
        """
        names, true, ranked = zip(*sorted(images, key=lambda image: image[0]), strict=True)
        return cls(names, distinct_names(classes), np.array(true, np.int32), np.array(ranked, np.int32))

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"true": self.true, "ranked": self.ranked}

    @classmethod
    def _content(cls, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        return {name: np.asarray(arrays[name], np.int32) for name in ("true", "ranked")}

    def _problem(self) -> str | None:
        images, classes = len(self.images), len(self.classes)
        for name, shape in (("true", (images,)), ("ranked", (images, min(RANKED, classes)))):
            values: Ints = getattr(self, name)
            if values.shape != shape:
                return f"{name} has shape {values.shape}"
            if values.size and (values.min() < 0 or values.max() >= classes):
                return f"{name} has an index outside the {classes} entries"
        if self.ranked.size and (np.diff(np.sort(self.ranked, axis=1), axis=1) == 0).any():
            return "a class is predicted twice for one image"
        return None

    def compute(self, weights: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the accuracies [R, 2], and the recall of each class [R, K].

        Top-5 accuracy is undefined with five or fewer classes, where it is 1 for any classifier.

        Args:
            weights: [R, N] integer weight of each image in each of R replicates.
        """
        from scipy import sparse

        hits = self.ranked == self.true[:, None]
        shape = (len(self.classes), len(self.images))
        positions = (self.true, np.arange(len(self.images)))
        columns = np.asarray(weights, np.float64).T
        totals, right = (
            np.asarray(sparse.csr_matrix((value.astype(np.float64), positions), shape) @ columns).T
            for value in (np.ones(len(self.images)), hits[:, 0])
        )
        images = columns.sum(axis=0)
        loose = hits.any(axis=1) @ columns if len(self.classes) > RANKED else np.full(len(weights), np.nan)
        with np.errstate(invalid="ignore"):
            return np.stack([right.sum(axis=1), loose], axis=1) / images[:, None], right / totals

    def counts(self) -> tuple[int, ...]:
        """Return the number of images of each class."""
        return tuple(np.bincount(self.true, minlength=len(self.classes)).tolist())

    def groups_with_labels(self, groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the numbers of groups of images that each accuracy, and the recall of each class, rests on.

        Args:
            groups: [N] index of each image's group.
        """
        every = np.array([len(np.unique(groups))])
        own = [np.array([len(np.unique(groups[self.true == index]))]) for index in range(len(self.classes))]
        loose = every if len(self.classes) > RANKED else every[:0]
        return [every, loose, *(numbers[numbers > 0] for numbers in own)]

    def labels(self) -> Iterable[NDArray[Any]]:
        """Return the classes of the images."""
        return (self.true,)

    def chance(self) -> Chance | None:
        """Compare top-1 accuracy with that of the predictions for other images, as `stats.chance` for detections.

        The criterion for the least improvement is one for Cohen's kappa. A classifier that always predicts one class
        has the same accuracy for any order of the images, so it has not learned. If all images have one class, nothing
        can be decided.

        Returns:
            The comparison; None with fewer than two images.
        """
        return compare_shuffled(self.true, self.ranked[:, 0], lambda true, first: float((true == first).mean()))
