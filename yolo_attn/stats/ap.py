"""COCO's average precision from matches, for all images or for weighted ones.

With weights of 1 this is the COCO evaluation with 101 recall thresholds (https://cocodataset.org/#detection-eval). An
image of weight w counts as w consecutive copies in the set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.evaluation import mean_of_known
from yolo_attn.stats.matches import AREAS, METRICS, THRESHOLDS, Bools, Matches, in_area

__all__ = ["RECALLS", "average_precisions", "summarize"]

RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS = 1 << 18  # size of an array in the inner loop, which fits a processor's cache

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]


def summarize(precisions: Floats) -> tuple[Floats, Floats]:
    """Return `METRICS` [R, 6] and mAP50-95 of each class [R, K] from average precisions [R, K, 4, 10]."""
    metrics = [mean_of_known(precisions[:, :, area, part].mean(axis=-1)) for area, part in METRICS.values()]
    return np.stack(metrics, axis=1), precisions[:, :, 0].mean(axis=-1)


def average_precisions(matches: Matches, weights: NDArray[Any]) -> Floats:
    """Return the average precision of each class, in each area and at each threshold.

    Args:
        matches: Matches of N images and K classes.
        weights: [R, N] integer weight of each image in each of R replicates.

    Returns:
        [R, K, 4, 10], the last two axes as in `AREAS` and `THRESHOLDS`; NaN if no object has a weight.

    Raises:
        ValueError: The weights are for another number of images.
    """
    images, classes = len(matches.images), len(matches.classes)
    if weights.shape[1:] != (images,):
        raise ValueError(f"weights of shape {weights.shape} for {images} images")
    result = np.full((len(weights), classes, len(AREAS), len(THRESHOLDS)), np.nan)
    positives = _positives(matches, weights)
    detections, column, weights = _sorted_detections(matches, weights)
    table = _Weights(weights)
    limits = np.searchsorted(matches.det_class[detections], np.arange(classes + 1))
    for number in range(classes):
        mine = slice(limits[number], limits[number + 1])
        for area in range(len(AREAS)):
            if positives[number, area].any():
                hit = matches.hit[area][:, detections[mine]]
                wrong = ~hit & ~matches.ignored[area][:, detections[mine]]
                result[:, number, area] = _one_class(column[mine], hit, wrong, positives[number, area], table)
    return result


def _positives(matches: Matches, weights: NDArray[Any]) -> Integers:
    """Return the number [K, 4, R] of objects to find."""
    from scipy import sparse

    area, index = np.nonzero(in_area(matches.gt_area) & ~matches.gt_crowd)
    rows = matches.gt_class[index] * len(AREAS) + area
    shape = (len(matches.classes) * len(AREAS), len(matches.images))
    counts = sparse.csr_matrix((np.ones(len(index), np.int32), (rows, matches.gt_image[index])), shape, np.int32)
    return np.asarray(counts @ weights.T.astype(np.int32)).reshape(len(matches.classes), len(AREAS), len(weights))


def _sorted_detections(matches: Matches, weights: NDArray[Any]) -> tuple[NDArray[np.intp], Integers, NDArray[Any]]:
    """Return the detections in order of evaluation: by class, descending score and image.

    Equal scores of one class in one image need special treatment: copies of an image are consecutive, so such a group
    is repeated as a whole. It is repeated as often as the largest weight, and the r-th repetition has weight 1 if the
    image's weight is at least r.

    Returns:
        Index of each detection, its column in the weights, and the weights [R, columns]: those of the images, then
        those of the copies of tied groups.
    """
    order = np.lexsort((-matches.det_score, matches.det_class))  # stable, and images are in order
    keys = np.stack([matches.det_class[order], matches.det_score[order], matches.det_image[order]]).astype(np.float64)
    starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)][: len(order)])
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    matters = np.asarray(matches.hit.any(axis=(0, 1)))[order]  # the order of false detections does not matter
    split = (np.bincount(group) > 1) & (np.bincount(group, matters) > 0) if len(order) else np.zeros(0, np.bool_)
    if not split.any():
        return order, matches.det_image[order], weights
    copies = int(weights.max(initial=1))
    again = np.repeat(np.arange(len(order)), np.where(split[group], copies, 1))
    copy = np.arange(len(again)) - np.searchsorted(again, again)
    whole = np.lexsort((again, copy, group[again]))
    again, copy = again[whole], copy[whole]
    images = matches.det_image[order[again]]
    tied = split[group[again]]
    distinct, position = np.unique(images[tied], return_inverse=True)
    column = images.copy()
    column[tied] = len(matches.images) + position * copies + copy[tied]
    extra = weights[:, distinct, None] > np.arange(copies)
    return order[again], column, np.concatenate([weights, extra.reshape(len(weights), -1)], axis=1)


class _Weights:
    """Weights of images in two memory layouts.

    Args:
        weights: [R, N].
    """

    def __init__(self, weights: NDArray[Any]) -> None:
        self.by_replicate: Integers = np.ascontiguousarray(weights, np.int32)
        self.by_image: Integers = np.ascontiguousarray(self.by_replicate.T)


def _one_class(images: Integers, hit: Bools, wrong: Bools, positives: Integers, table: _Weights) -> Floats:
    """Return the average precisions [R, 10] of one class in one area.

    Precision is needed at hits only: it decreases between two hits, and the precision at a recall is the highest one
    at that or a larger recall. Most detections are false at every threshold. These are summed once between adjacent
    hits with a sparse product.

    Args:
        images: [d] column of each detection in the weights, by descending score.
        hit: [10, d] correct at each threshold.
        wrong: [10, d] false at each threshold; a detection that is neither is ignored.
        positives: [R] total weight of the objects.
        table: The weights of the images.
    """
    from scipy import sparse

    marks = np.flatnonzero(hit.any(axis=0))  # correct at some threshold
    always_wrong: Bools = np.asarray(wrong.all(axis=0))
    false_index = np.flatnonzero(always_wrong[: marks[-1] + 1 if len(marks) else 0])
    cells = (
        np.ones(len(false_index), np.int32),
        (np.searchsorted(marks, false_index), images[false_index]),
    )
    before = sparse.csr_matrix(cells, shape=(len(marks), len(table.by_image)), dtype=np.int32)
    parts = [_part(images, marks, hit[level], wrong[level] & ~always_wrong) for level in range(len(hit))]

    passed, row = _recalls_passed(positives)
    result = np.empty((len(positives), len(hit)))
    step = max(16, _CELLS // max(len(marks), 1))
    for start in range(0, len(result), step):
        block = slice(start, start + step)
        background = np.cumsum((before @ np.ascontiguousarray(table.by_image[:, block])).T, axis=1, dtype=np.int32)
        for level, part in enumerate(parts):
            result[block, level] = _block(part, background, table.by_replicate[block], passed, row[block])
    result[positives == 0] = np.nan
    return result


_Part = tuple[Integers, NDArray[np.intp], Integers, NDArray[np.intp]]


def _part(images: Integers, marks: NDArray[np.intp], hit: Bools, wrong: Bools) -> _Part:
    """Return the detections at one threshold.

    Returns:
        Images of the hits, index of each hit among the marks, images of the detections that are false at this but not
        at every threshold, and the number of those before each hit.
    """
    hits, errors = np.flatnonzero(hit), np.flatnonzero(wrong)
    return images[hits], np.searchsorted(marks, hits), images[errors], np.searchsorted(errors, hits)


def _block(part: _Part, background: Integers, weights: Integers, passed: NDArray[np.uint8], row: Integers) -> Floats:
    """Return the average precision [r] at one threshold in a block of replicates.

    Args:
        part: Result of `_part`.
        background: [r, marks] weight of the detections before each mark that are false at every threshold.
        weights: [r, N] weights of the images.
        passed: Table of `_recalls_passed`.
        row: [r] row of each replicate in the table.
    """
    hit_images, mark, error_images, errors_before = part
    if not len(hit_images):
        return np.zeros(len(weights))
    right = np.cumsum(weights[:, hit_images], axis=1, dtype=np.int32)
    total = right + background[:, mark]
    if len(error_images):
        errors = np.zeros((len(weights), len(error_images) + 1), np.int32)
        np.cumsum(weights[:, error_images], axis=1, out=errors[:, 1:])
        total += errors[:, errors_before]
    precision = right / np.maximum(total, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    thresholds = passed.ravel().take(right + row[:, None] * passed.shape[1])
    gained = np.diff(thresholds, axis=1, prepend=np.uint8(0))
    return np.asarray(np.einsum("rh,rh->r", best, gained) / len(RECALLS))


def _recalls_passed(positives: Integers) -> tuple[NDArray[np.uint8], Integers]:
    """Return the number of `RECALLS` reached when t of n objects are found, with COCO's comparison.

    Args:
        positives: [R] n in each replicate.

    Returns:
        A table [distinct n, largest n + 1] of counts for t = 0, 1, ..., and [R] the row of each replicate.
    """
    distinct, row = np.unique(positives, return_inverse=True)
    recall = np.arange(distinct[-1] + 1) / np.maximum(distinct, 1)[:, None]
    return np.searchsorted(RECALLS, recall, side="right").astype(np.uint8), row.astype(np.int32)
