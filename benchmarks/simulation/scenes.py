"""Images with objects and detections, as matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.matches import Matches, MatchesBuilder

Array = NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """One image: boxes as x1, y1, x2, y2."""

    gt_box: Array
    gt_class: Array
    gt_crowd: Array
    det_box: Array
    det_class: Array
    det_score: Array


def area(boxes: Array) -> Array:
    """Return the areas of boxes."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlap(objects: Array, detections: Array, crowd: Array) -> Array:
    """Return the IoU; for a crowd, the fraction of the detection inside it."""
    low = np.maximum(objects[:, None, :2], detections[None, :, :2])
    high = np.minimum(objects[:, None, 2:], detections[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    both = area(objects)[:, None] + area(detections) - common
    return common / np.where(crowd[:, None], area(detections), both)


def to_matches(scenes: Sequence[Scene], classes: int) -> Matches:
    """Return the matches of images with objects and detections."""
    builder = MatchesBuilder(f"class{number}" for number in range(classes))
    for number, scene in enumerate(scenes):
        builder.add_image(
            f"{number:06d}.jpg",
            gt_class=scene.gt_class,
            gt_area=area(scene.gt_box),
            gt_box=scene.gt_box,
            gt_crowd=scene.gt_crowd,
            det_class=scene.det_class,
            det_score=scene.det_score,
            det_area=area(scene.det_box),
            det_box=scene.det_box,
            similarity=overlap(scene.gt_box, scene.det_box, scene.gt_crowd),
        )
    return builder.build()
