"""Evaluation of a semantic segmentation: mean IoU and pixel accuracy from the pixels of each class in each image.

The IoU of a class is that of its pixels in all images together, as in the PASCAL VOC and Cityscapes benchmarks
(Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", 2015), so that an image of weight w
counts as w copies. The mean is over the classes that have labeled pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.chance import Chance, compare_shuffled
from yolo_attn.stats.evaluation import Evaluation, distinct_names, mean_of_known

__all__ = ["IGNORED", "MAPS", "Overlaps", "OverlapsBuilder"]

IGNORED = 255
"""Value of a labeled map where there is no label."""
MAPS = 64
"""Number of images whose maps are stored."""
_UNSCORED = 254  # value of a stored map for a background that is not scored
_SIDE = 64  # of a stored map; its pixels are samples of the full one
_FEWEST_CLASSES = 2  # in a map: a single class and its background
_MOST_PIXELS = 2**40  # of an image, in an untrusted file; sums remain exact
_PIXELS = ("common", "labeled_pixels", "predicted_pixels")
_TOTALS = ("right", "pixels")

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Map = NDArray[np.uint8]


@dataclass(frozen=True)
class Overlaps(Evaluation):
    """The pixels of each class in each image, without those that have no label.

    Small maps of some images are stored for the comparison with chance, which takes the prediction for one image and
    the labels of another.

    Args:
        images: Names of the images, sorted.
        classes: Names of the classes that are scored. With one class, the background is another, which is not scored.
        common: [N, K] pixels that have the class and are predicted to have it.
        labeled_pixels: [N, K] pixels that have the class.
        predicted_pixels: [N, K] pixels that are predicted to have it.
        right: [N] pixels with the right prediction, of any class.
        pixels: [N] all pixels with a label.
        mapped: [S] indices of the images with maps.
        true_maps: [S, 64, 64] index of each pixel's class; `IGNORED` without a label, and another value from K on for a
            class that is not scored.
        predicted_maps: [S, 64, 64] the same for the prediction, which is complete.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("mIoU", "pixel-accuracy")
    reported: ClassVar[tuple[str, ...]] = ("mIoU", "pixel-accuracy")
    labeled: ClassVar[str] = "images"
    definition: ClassVar[str] = (
        "The pixels of a class that are predicted as such, as a fraction of the pixels that have or are predicted to "
        "have it, in all images together (IoU), averaged over the classes; and the fraction of pixels with the right "
        "class (pixel-accuracy)"
    )
    by_chance: ClassVar[str] = "the usual place of each class in an image"
    common: Counts
    labeled_pixels: Counts
    predicted_pixels: Counts
    right: Counts
    pixels: Counts
    mapped: NDArray[np.int32]
    true_maps: Map
    predicted_maps: Map

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in _DTYPES}

    @classmethod
    def _content(cls, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        return {name: np.asarray(arrays[name], dtype) for name, dtype in _DTYPES.items()}

    def _problem(self) -> str | None:
        images, maps = len(self.images), len(self.mapped)
        shapes: Mapping[str, tuple[int, ...]] = {
            **dict.fromkeys(_PIXELS, (images, len(self.classes))),
            **dict.fromkeys(_TOTALS, (images,)),
            "mapped": (maps,),
            **dict.fromkeys(("true_maps", "predicted_maps"), (maps, _SIDE, _SIDE)),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                return f"{name} has shape {getattr(self, name).shape}"
        if maps and (self.mapped.min() < 0 or self.mapped.max() >= images):
            return f"mapped has an index outside the {images} entries"
        return self._excess()

    def _excess(self) -> str | None:
        """Return why an IoU or accuracy is undefined: more pixels are right than exist; None if it is defined."""
        both = np.minimum(self.labeled_pixels, self.predicted_pixels)
        sums = [values.sum(axis=1) for values in (self.common, self.labeled_pixels, self.predicted_pixels)]
        wrong = (
            (self.common < 0).any()
            or (self.common > both).any()
            or (sums[0] > self.right).any()
            or (self.right > self.pixels).any()
            or any((total > self.pixels).any() for total in sums)
            or (np.maximum(self.labeled_pixels, self.predicted_pixels) > _MOST_PIXELS).any()
            or (self.pixels > _MOST_PIXELS).any()
        )
        return "there are more right pixels than labeled or predicted ones" if wrong else None

    def compute(self, weights: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return mean IoU and pixel accuracy [R, 2], and the IoU of each class [R, K]; NaN without labeled pixels.

        Args:
            weights: [R, N] integer weight of each image in each of R replicates.
        """
        rows = np.asarray(weights, np.float64)
        common, labeled, predicted = (rows @ getattr(self, name) for name in _PIXELS)
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = (rows @ self.right) / (rows @ self.pixels)
        iou = _iou(common, labeled, predicted)
        return np.stack([mean_of_known(iou), accuracy], axis=1), iou

    def mean_iou_of_images(self) -> Floats:
        """Return [N] the mean IoU of each image alone, over the classes that are labeled in it; NaN without any."""
        return mean_of_known(_iou(self.common, self.labeled_pixels, self.predicted_pixels))

    def counts(self) -> tuple[int, ...]:
        """Return the number of images with pixels of each class."""
        return tuple((self.labeled_pixels > 0).sum(axis=0).tolist())

    def groups_with_labels(self, groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the numbers of groups of images that mean IoU, pixel accuracy and each IoU rest on.

        Args:
            groups: [N] index of each image's group.
        """
        present = [*(self.labeled_pixels > 0).T, self.pixels > 0]
        numbers = np.array([len(np.unique(groups[there])) for there in present], np.intp)
        parts = [numbers[:-1], *(numbers[[index]] for index in (-1, *range(len(self.classes))))]
        return [part[part > 0] for part in parts]

    def labels(self) -> Iterable[NDArray[Any]]:
        """Return the labeled pixels."""
        return self.labeled_pixels, self.pixels

    def chance(self) -> Chance | None:
        """Compare mean IoU with that of the predictions for other images, as `stats.chance` for detections.

        A network that predicts one class everywhere, or the usual place of each class, has the same value for any order
        of the images, so it has not learned. If all images have the same labels, nothing can be decided.

        Returns:
            The comparison; None with fewer than two images.
        """
        true, predicted = (maps.reshape(len(maps), _SIDE * _SIDE) for maps in (self.true_maps, self.predicted_maps))
        return compare_shuffled(true, predicted, self._mean_iou)

    def _mean_iou(self, true: Map, predicted: Map) -> float:
        """Return the mean IoU of maps, 0 without labels."""
        known, classes = true != IGNORED, len(self.classes)
        both = true[known & (true == predicted)]
        counts = [np.bincount(values, minlength=256)[:classes] for values in (both, true[known], predicted[known])]
        return float(np.nan_to_num(mean_of_known(_iou(*(values[None] for values in counts)))[0]))


_DTYPES: Mapping[str, Any] = {
    **dict.fromkeys((*_PIXELS, *_TOTALS), np.int64),
    "mapped": np.int32,
    **dict.fromkeys(("true_maps", "predicted_maps"), np.uint8),
}


def _iou(common: NDArray[Any], labeled: NDArray[Any], predicted: NDArray[Any]) -> Floats:
    """Return the IoU of classes; NaN for one without labeled pixels."""
    union = labeled + predicted - common
    return np.where(labeled > 0, common / np.maximum(union, 1.0), np.nan)


class OverlapsBuilder:
    """Collects the images of an evaluation.

    Args:
        classes: Names of the classes; a repeated name gets its index appended. A single class is the foreground, whose
            index in the maps is 1.
        images: Names of all images.
    """

    def __init__(self, classes: Iterable[str], images: Iterable[str]) -> None:
        self.classes = distinct_names(classes)
        names = sorted(images)
        self._mapped = {names[index] for index in np.linspace(0, len(names) - 1, min(MAPS, len(names))).astype(int)}
        self._counts: dict[str, Counts] = {}
        self._maps: dict[str, tuple[Map, Map]] = {}

    def add_image(self, name: str, true: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Count the pixels of an image.

        Args:
            name: Name of the image, unique.
            true: [H, W] index of each pixel's class, `IGNORED` without a label.
            predicted: [H, W] index of its predicted class.

        Raises:
            ValueError: The name is repeated, or the maps differ in size.
        """
        if name in self._counts or true.shape != predicted.shape:
            raise ValueError(f"image {name!r}: added twice, or its maps differ in size")
        size = max(len(self.classes), _FEWEST_CLASSES)
        first = size - len(self.classes)
        known = (true >= 0) & (true < size) & (predicted >= 0) & (predicted < size)
        cells = true[known].astype(np.int64) * size + predicted[known]
        table = np.bincount(cells, minlength=size * size).reshape(size, size)
        right = np.diagonal(table)
        scored = np.stack([right, table.sum(axis=1), table.sum(axis=0)])[:, first:]
        self._counts[name] = np.concatenate([scored.ravel(), [right.sum(), table.sum()]])
        if name in self._mapped:
            labels = np.where(known, _renumbered(true, first), IGNORED)
            self._maps[name] = _sampled(labels), _sampled(_renumbered(predicted, first))

    def build(self) -> Overlaps:
        """Return the overlaps of all added images."""
        names = tuple(sorted(self._counts))
        counts = np.stack([self._counts[name] for name in names])
        common, labeled, predicted = np.split(counts[:, : -len(_TOTALS)], len(_PIXELS), axis=1)
        mapped = [index for index, name in enumerate(names) if name in self._maps]
        maps = np.array([self._maps[names[index]] for index in mapped], np.uint8).reshape(-1, 2, _SIDE, _SIDE)
        return Overlaps(
            images=names,
            classes=self.classes,
            common=common,
            labeled_pixels=labeled,
            predicted_pixels=predicted,
            right=counts[:, -2],
            pixels=counts[:, -1],
            mapped=np.array(mapped, np.int32),
            true_maps=maps[:, 0],
            predicted_maps=maps[:, 1],
        )


def _renumbered(values: NDArray[Any], first: int) -> NDArray[Any]:
    """Return a map with the index of each pixel's class among the scored ones.

    Args:
        values: [H, W] index of each pixel's class.
        first: Index of the first class that is scored.
    """
    return np.where(values < first, _UNSCORED, values - first)


def _sampled(values: NDArray[Any]) -> Map:
    """Return a map as it is stored: the pixels next to the positions of an even grid."""
    rows, columns = (((np.arange(_SIDE) + 0.5) * side / _SIDE).astype(int) for side in values.shape)
    return values.astype(np.uint8)[np.ix_(rows, columns)]
