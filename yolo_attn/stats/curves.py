"""Precision-recall curves from matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_attn.stats.ap import RECALLS
from yolo_attn.stats.matches import Bools, Matches

__all__ = ["precision_by_recall"]

_ALL, _IOU_50 = 0, 0  # indices on the axes of Matches.hit


def precision_by_recall(matches: Matches) -> NDArray[np.float64]:
    """Return the precision at each of `RECALLS` at IoU 0.5, averaged over the classes that have objects.

    As in COCO, the precision at a recall is the highest one at that or a larger recall. The mean over the recalls is
    mAP50. The result is NaN if no class has objects.
    """
    positives = np.bincount(matches.gt_class[~matches.gt_crowd], minlength=len(matches.classes))
    order = np.lexsort((-matches.det_score, matches.det_class))  # stable, as in ap.py
    limits = np.searchsorted(matches.det_class[order], np.arange(len(matches.classes) + 1))
    hit = matches.hit[_ALL, _IOU_50][order]
    counted = ~matches.ignored[_ALL, _IOU_50][order]
    curves = [
        _one_class(hit[start:end][counted[start:end]], int(number))
        for start, end, number in zip(limits[:-1], limits[1:], positives, strict=True)
        if number
    ]
    return np.mean(curves, axis=0) if curves else np.full(len(RECALLS), np.nan)


def _one_class(hit: Bools, positives: int) -> NDArray[np.float64]:
    """Return the precision [101] of one class.

    Args:
        hit: [d] whether each detection is correct, by descending score.
        positives: Number of objects.
    """
    right = np.cumsum(hit)
    best = np.maximum.accumulate((right / np.arange(1, len(hit) + 1))[::-1])[::-1]
    first = np.searchsorted(right / positives, RECALLS)  # the first detection that reaches a recall
    return np.append(best, 0.0)[first]
