"""Random images with objects and detections, and the average precision of a reference for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.simulation.scenes import Array, Scene, area, overlap, to_matches

__all__ = ["Scene", "area", "overlap", "random_scene", "reference", "to_matches"]


def random_scene(
    rng: np.random.Generator,
    classes: int,
    *,
    objects: int = 12,
    detections: int = 40,
    crowds: float = 0.1,
    score_digits: int = 2,
) -> Scene:
    """A scene of up to so many objects and detections; some are empty, and the last class has no object.

    Whole-number boxes make equal overlaps likely, rounded scores make equal scores likely.
    """
    count = 0 if rng.random() < 0.15 else int(rng.integers(0, objects))
    size = np.exp(rng.uniform(np.log(8), np.log(250), (count, 2)))
    corner = rng.uniform(0, 400, (count, 2))
    gt_box = np.round(np.concatenate([corner, corner + size], axis=1))
    gt_class = rng.integers(0, classes - 1, count)
    number = 0 if rng.random() < 0.1 else int(rng.integers(0, detections))
    if count:
        source = rng.integers(0, count, number)
        det_box = gt_box[source] + rng.normal(0, 0.08, (number, 4)) * np.tile(size[source], 2)
        det_class = np.where(rng.random(number) < 0.8, gt_class[source], rng.integers(0, classes, number))
    else:
        det_box = rng.uniform(0, 400, (number, 4))
        det_class = rng.integers(0, classes, number)
    det_box = np.round(det_box)
    det_box[:, 2:] = np.maximum(det_box[:, 2:], det_box[:, :2] + 1)
    score = np.round(rng.random(number), score_digits).astype(np.float32)
    return Scene(gt_box, gt_class, rng.random(count) < crowds, det_box, det_class, score)


def reference(scenes: Sequence[Scene], classes: int) -> tuple[Array, Array]:
    """Return average precisions [K, 4, 10] and the six metrics of faster-coco-eval, with NaN for -1."""
    from faster_coco_eval import COCO, COCOeval_faster

    objects: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        for box, name, crowd in zip(scene.gt_box, scene.gt_class, scene.gt_crowd, strict=True):
            entry = {"id": len(objects) + 1, "iscrowd": int(crowd), "area": float(area(box[None])[0])}
            objects.append({**entry, "image_id": number, "category_id": int(name) + 1, "bbox": _corner_and_size(box)})
        for box, name, score in zip(scene.det_box, scene.det_class, scene.det_score, strict=True):
            entry = {"image_id": number, "category_id": int(name) + 1, "score": float(score)}
            detections.append({**entry, "bbox": _corner_and_size(box)})
    images = [{"id": number, "width": 1000, "height": 1000} for number in range(1, len(scenes) + 1)]
    categories = [{"id": number, "name": f"class{number - 1}"} for number in range(1, classes + 1)]
    truth = COCO({"images": images, "annotations": objects, "categories": categories}, print_function=_silent)
    evaluation = COCOeval_faster(truth, truth.loadRes(detections), "bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][..., -1]  # threshold, recall, class, area
    stats = np.asarray(evaluation.stats[:6])
    known = np.where(precision < 0, np.nan, precision).mean(axis=1)
    return known.transpose(1, 2, 0), np.where(stats < 0, np.nan, stats)


def _corner_and_size(box: Array) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _silent(*_: object) -> None:
    pass
