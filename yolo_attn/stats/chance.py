"""Test for learning: the average precision of a run compared with that of its detections on other images.

An untrained network still emits boxes. If objects are large, its boxes, clipped at the image's border, overlap them
well enough to be counted, so a detector that ignores the image may find half of all objects. Its average precision is
then equal in all arms and meaningless. The detections of such a detector do not depend on the image. The test therefore
assigns the detections of every image, in fractions of its width and height, to the image a few positions further in a
random order. This preserves everything that does not depend on the image: sizes, positions, classes, scores and number.
The remaining average precision is reached by chance.

The run has learned if its value r passes two criteria against the values c of the shuffles:

    r > max(c)                    19 shuffles: a detector independent of the images passes one time in 20
    (r - c) / (1 - c) >= LEAST    with c their mean: the fraction of the possible improvement over chance, as in Cohen's
                                  kappa and the skill scores of weather forecasts

The second criterion rejects a dependence that is too small to be useful: boxes of an untrained network already follow
edges. Objects and boxes are compared by the IoU of their axis-aligned boxes, which all tasks have, and a run also
passes by its task's own average precision. If all images have similar labels, such as one object in the center, the
objects themselves match other images, and a trained detector does no better than one that knows the usual positions.
The test is then undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.ap import average_precisions, summarize
from yolo_attn.stats.matches import Matches, MatchesBuilder

__all__ = ["LEAST", "SHUFFLES", "Chance", "compare_shuffled", "find_chance"]

SHUFFLES = 19
LEAST = 0.002
_FEWEST = 2  # images that can be shuffled
_IMAGES = 64
_DETECTIONS = 100  # of an image, at most
_ALIKE = 0.5  # mAP50-95 of the objects themselves on other images, above which the test is undecided

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chance:
    """The part of an average precision (mAP50-95, a fraction) that is reached by chance.

    Args:
        reached: Value on the selected images.
        mean: Mean over the shuffles.
        largest: Maximum over the shuffles.
        alike: Value of the objects themselves on other images; 0 if it was not needed.
    """

    reached: float
    mean: float
    largest: float
    alike: float = 0.0

    @property
    def learnt(self) -> bool | None:
        """Whether the detections depend on their images; None when that cannot be decided."""
        if not self.reached > 0:
            return False
        if self.reached > self.largest and self.reached - self.mean >= LEAST * (1 - self.mean):
            return True
        return None if self.alike >= _ALIKE else False


def compare_shuffled(
    labels: NDArray[Any], predictions: NDArray[Any], score: Callable[[NDArray[Any], NDArray[Any]], float]
) -> Chance | None:
    """Compare the score of predictions with that of the predictions for other images.

    If all images have the same labels, nothing can be decided.

    Args:
        labels: [N, ...] the labels of each image.
        predictions: [N, ...] the prediction for each image.
        score: Returns the score of predictions, from the labels and the predictions.

    Returns:
        The comparison; None with fewer than two images.
    """
    count = len(labels)
    if count < _FEWEST:
        return None
    order = np.random.default_rng(0).permutation(count)
    labels, predictions = labels[order], predictions[order]
    shifts = range(min(SHUFFLES, count - 1) + 1)
    values = [score(labels, np.roll(predictions, -shift, axis=0)) for shift in shifts]
    alike = float((labels == labels[0]).all())
    return Chance(values[0], float(np.mean(values[1:])), max(values[1:]), alike)


def find_chance(matches: Matches, *, seed: int = 0) -> Chance | None:
    """Compare the average precision of a checkpoint with that of its detections on other images.

    Args:
        matches: The matches of the checkpoint.
        seed: Random seed of the selection and order of the images.

    Returns:
        The comparison; None if fewer than two images have objects.
    """
    images = np.unique(matches.gt_image[~matches.gt_crowd])
    if len(images) < _FEWEST:
        return None
    images = np.random.default_rng(seed).permutation(images)[:_IMAGES]
    own = np.zeros((1, len(matches.images)), np.int32)
    own[0, images] = 1
    parts = [_Part.of(matches, int(image)) for image in images]
    # Equal scores are evaluated in the original order of the images.
    rank = np.argsort(np.argsort(images))
    values = _shuffled(parts, rank, matches.classes)
    reached = max(_main(matches, own)[0], values[0])
    chance = Chance(float(reached), float(values[1:].mean()), float(values[1:].max()))
    if chance.learnt is not False or not chance.reached:
        return chance
    # In fractions, which are approximate, and in pixels, which are exact if all images have one size.
    layouts = parts, [_Part.of(matches, int(image), in_pixels=True) for image in images]
    labels = [_shuffled([part.perfect() for part in layout], rank, matches.classes) for layout in layouts]
    return replace(chance, alike=max(float(values[1:].mean()) for values in labels))


def _main(matches: Matches, weights: NDArray[np.int32]) -> Floats:
    """Return mAP50-95 in each replicate."""
    return np.nan_to_num(summarize(average_precisions(matches, weights))[0][:, 0])


def _shuffled(parts: Sequence[_Part], rank: NDArray[np.intp], classes: Sequence[str]) -> Floats:
    """Return mAP50-95 by box IoU with the detections of each image, of the next image, and so on."""
    count = len(parts)
    shifts = min(SHUFFLES, count - 1) + 1
    builder = MatchesBuilder(classes)
    for shift in range(shifts):
        for position, part in enumerate(parts):
            part.add(builder, f"{shift:02}-{rank[position]:03}", parts[(position + shift) % count])
    weights: NDArray[np.int32] = np.repeat(np.eye(shifts, dtype=np.int32), count, axis=1)
    return _main(builder.build(), weights)


@dataclass(frozen=True)
class _Part:
    """One image: the corners of its boxes, in fractions of its width and height as estimated from the boxes."""

    objects: Floats
    crowd: NDArray[np.bool_]
    object_class: NDArray[np.int32]
    boxes: Floats
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]

    @classmethod
    def of(cls, matches: Matches, image: int, *, in_pixels: bool = False) -> _Part:
        there, found = (
            slice(*np.searchsorted(side, (image, image + 1))) for side in (matches.gt_image, matches.det_image)
        )
        found = slice(found.start, min(found.stop, found.start + _DETECTIONS))  # the highest scores
        objects, boxes = (
            np.nan_to_num(np.asarray(box, np.float64)) for box in (matches.gt_box[there], matches.det_box[found])
        )
        # The image's size is not stored; boxes of an untrained network extend to its borders.
        reach = np.concatenate([objects[:, 2:], boxes[:, 2:]]).max(axis=0).clip(1.0)
        frame = np.ones(4) if in_pixels else np.tile(reach, 2)
        return cls(
            objects / frame,
            matches.gt_crowd[there],
            matches.gt_class[there],
            boxes / frame,
            matches.det_score[found],
            matches.det_class[found],
        )

    def perfect(self) -> _Part:
        """Return the image with its objects as detections."""
        own = ~self.crowd
        scores = np.ones(int(own.sum()), np.float32)
        return replace(self, boxes=self.objects[own], scores=scores, classes=self.object_class[own])

    def add(self, builder: MatchesBuilder, name: str, other: _Part) -> None:
        """Add this image's objects with another image's detections; all areas count as one."""
        builder.add_image(
            name,
            gt_class=self.object_class,
            gt_area=np.ones(len(self.objects)),
            gt_box=self.objects,
            gt_crowd=self.crowd,
            det_class=other.classes,
            det_score=other.scores,
            det_area=np.ones(len(other.boxes)),
            det_box=other.boxes,
            similarity=_overlap(self.objects, other.boxes),
        )


def _overlap(objects: Floats, boxes: Floats) -> Floats:
    """Return the IoU [G, D] of boxes."""
    low = np.maximum(objects[:, None, :2], boxes[None, :, :2])
    high = np.minimum(objects[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=-1) for box in (objects, boxes)]
    union = areas[0][:, None] + areas[1][None] - common
    similarity: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return similarity
