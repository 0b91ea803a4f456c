"""Whether a detector has learnt anything: its average precision beside that of the same detections on other images.

A network that has learnt nothing still emits boxes. Where objects are large, its boxes, cut off at the image's border,
overlap them well enough to be counted: half of all objects may be found by a detector that never looked. Its average
precision is then exact to the digit, equal in all arms, and about nothing. What such a detector lacks is a relation
between what it finds and where it finds it. So its detections are given to other images: every image's detections, in
shares of its width and height, to the image a few places further in a random order, the same for all. That keeps
whatever does not depend on the image: sizes, positions, classes, scores, how many there are. What average precision is
left is reached by chance.

The reached value r is compared with the values c of the shuffles in two ways, and both have to speak for it:

    r > the largest c             19 shuffles: a detector without any relation to the images passes one time in 20
    (r - c) / (1 - c) >= LEAST    with c their mean: the share of what chance leaves that the detector reaches, as in
                                  Cohen's kappa and the skill scores of weather forecasts

The second keeps out a relation that exists but finds nothing: an untrained network's boxes already lean towards edges.
Objects and boxes are compared by the IoU of their upright boxes, which all tasks have, and a run also passes by its
task's own average precision. Where the images are labelled alike, as with one object in the middle of each, the objects
themselves fit other images, and a detector that sees them does no better there than one that knows where they usually
are: then nothing is said against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.ap import average_precisions, summarise
from yolo_attn.stats.matches import Matches, MatchesBuilder

__all__ = ["LEAST", "SHUFFLES", "Chance", "find_chance"]

SHUFFLES = 19
LEAST = 0.002
_IMAGES = 64
_DETECTIONS = 100  # of an image
_ALIKE = 0.5  # mAP50-95 of the objects themselves on other images; from here on these leave too little to tell by

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chance:
    """How much of an average precision (mAP50-95, a fraction) is reached by chance.

    Args:
        reached: On the images looked at.
        mean: Mean over the shuffles.
        largest: Largest of the shuffles.
        alike: What the objects themselves reach on other images; 0 where nobody has to know.
    """

    reached: float
    mean: float
    largest: float
    alike: float = 0.0

    @property
    def learnt(self) -> bool | None:
        """Whether the detections have to do with their images; None where that cannot be told."""
        if not self.reached > 0:
            return False
        if self.reached > self.largest and self.reached - self.mean >= LEAST * (1 - self.mean):
            return True
        return None if self.alike >= _ALIKE else False


def find_chance(matches: Matches, *, seed: int = 0) -> Chance | None:
    """Return what a checkpoint reaches, and what its detections reach on other images.

    Args:
        matches: What it found.
        seed: Of the choice and order of the images.

    Returns:
        None where there are fewer than two images with objects, or no object at all.
    """
    images = np.unique(matches.gt_image[~matches.gt_crowd])
    if len(images) < 2:  # noqa: PLR2004 (one to give, one to take)
        return None
    images = np.random.default_rng(seed).permutation(images)[:_IMAGES]
    own = np.zeros((1, len(matches.images)), np.int32)
    own[0, images] = 1
    parts = [_Part.of(matches, int(image)) for image in images]
    # The images keep their own order, by which equal scores are counted.
    rank = np.argsort(np.argsort(images))
    values = _shuffled(parts, rank, matches.classes)
    reached = max(_main(matches, own)[0], values[0])
    chance = Chance(float(reached), float(values[1:].mean()), float(values[1:].max()))
    if chance.learnt is not False or not chance.reached:
        return chance
    # In shares as far as they are known, and in pixels, which are exact where all images are of one size.
    sides = parts, [_Part.of(matches, int(image), in_pixels=True) for image in images]
    labels = [_shuffled([part.perfect() for part in side], rank, matches.classes) for side in sides]
    return replace(chance, alike=max(float(values[1:].mean()) for values in labels))


def _main(matches: Matches, weights: NDArray[np.int32]) -> Floats:
    """Return mAP50-95 in each replicate."""
    return np.nan_to_num(summarise(average_precisions(matches, weights))[0][:, 0])


def _shuffled(parts: Sequence[_Part], rank: NDArray[np.intp], classes: Sequence[str]) -> Floats:
    """Return mAP50-95 by box IoU with every image's own detections, then with those of the next image, and so on."""
    count = len(parts)
    shifts = min(SHUFFLES, count - 1) + 1
    builder = MatchesBuilder(classes)
    for shift in range(shifts):
        for place, mine in enumerate(parts):
            mine.add(builder, f"{shift:02}-{rank[place]:03}", parts[(place + shift) % count])
    weights: NDArray[np.int32] = np.repeat(np.eye(shifts, dtype=np.int32), count, axis=1)
    return _main(builder.build(), weights)


@dataclass(frozen=True)
class _Part:
    """One image: the corners of its boxes, in shares of its width and height as far as the boxes show them."""

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
        found = slice(found.start, min(found.stop, found.start + _DETECTIONS))  # those of the highest scores
        objects, boxes = (
            np.nan_to_num(np.asarray(box, np.float64)) for box in (matches.gt_box[there], matches.det_box[found])
        )
        # The image's size is not stored; the boxes of an untrained network reach to its borders.
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
        """Return the image with its own objects as detections."""
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
    """Return the IoU of boxes, [G, D]."""
    low = np.maximum(objects[:, None, :2], boxes[None, :, :2])
    high = np.minimum(objects[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=-1) for box in (objects, boxes)]
    union = areas[0][:, None] + areas[1][None] - common
    similarity: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return similarity
