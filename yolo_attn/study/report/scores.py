"""The score of each image for one checkpoint, by kind of evaluation: it ranks the images of the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.evaluation import Evaluation
from yolo_attn.stats.matches import Matches
from yolo_attn.stats.overlaps import Overlaps
from yolo_attn.stats.predictions import Predictions

__all__ = ["ALL_AREAS", "CONFIDENCE", "IOU_50", "describe_prediction", "describe_score", "image_scores"]

CONFIDENCE = 0.25
"""Least confidence of a detection that is scored and drawn."""
ALL_AREAS, IOU_50 = 0, 0  # indices on the axes of Matches.hit

_Floats = NDArray[np.float64]


def describe_score(kind: type[Evaluation]) -> str:
    """Return what the score of an image is."""
    if kind is Predictions:
        return "1 if its most probable class is right, otherwise 0"
    if kind is Overlaps:
        return "the mean IoU of the classes in it"
    return (
        f"the number of objects found minus the number of false detections (IoU 0.5, confidence at least {CONFIDENCE})"
    )


def image_scores(found: Evaluation) -> _Floats:
    """Return the score of each image."""
    if isinstance(found, Predictions):
        return np.asarray(found.ranked[:, 0] == found.true, np.float64)
    if isinstance(found, Overlaps):
        return np.asarray(np.nan_to_num(found.mean_iou_of_images()))
    if isinstance(found, Matches):
        return _balance(found)
    raise TypeError(f"no score for {type(found).__name__}")


def _balance(matches: Matches) -> _Floats:
    """Return each image's number of objects found minus false detections, at IoU 0.5 and `CONFIDENCE`."""
    sure = matches.det_score >= CONFIDENCE
    right = matches.hit[ALL_AREAS, IOU_50] & sure
    wrong = ~matches.hit[ALL_AREAS, IOU_50] & ~matches.ignored[ALL_AREAS, IOU_50] & sure
    balance = right.astype(np.float64) - wrong
    return np.bincount(matches.det_image, balance, len(matches.images)).astype(np.float64)


def describe_prediction(found: Evaluation, image: int) -> str:
    """Return the prediction for an image in words; "" where words cannot describe it."""
    if not isinstance(found, Predictions):
        return ""
    return f"{found.classes[found.true[image]]} is taken for {found.classes[found.ranked[image, 0]]}"
