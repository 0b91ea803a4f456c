"""Precision-recall curves."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation.images import Images
from tests.stats.scenes import random_scene, to_matches
from yolo_attn.stats.ap import RECALLS
from yolo_attn.stats.curves import precision_by_recall
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches, MatchesBuilder


def test_mean_of_the_curve_is_map50() -> None:
    for seed in range(5):
        images = Images(np.random.default_rng(seed), 40)
        matches = images.evaluate(np.full(40, float(seed - 2)))
        curve = precision_by_recall(matches)
        assert curve.shape == RECALLS.shape
        assert curve.mean() == pytest.approx(evaluate(matches)["metrics"]["mAP50"], abs=1e-12)
        assert (np.diff(curve) <= 0).all()


def test_crowds_equal_scores_and_other_classes() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matches = to_matches([random_scene(rng, 3, score_digits=1) for _ in range(8)], 3)
        expected = evaluate(matches)["metrics"]["mAP50"]
        assert precision_by_recall(matches).mean() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def one_image(scores: list[float], right: list[bool], objects: int, *, crowd: bool = False) -> Matches:
    """Return an image of class "a" objects, where detection n finds object n if it is correct; class "b" has none."""
    builder = MatchesBuilder(("a", "b"))
    similarity = np.array([[float(right[n] and n == g) for n in range(len(scores))] for g in range(objects)])
    builder.add_image(
        "x.jpg", gt_class=[0] * objects, gt_area=[100.0] * objects, gt_box=np.zeros((objects, 4)),
        gt_crowd=[crowd] * objects, det_class=[0] * len(scores), det_score=scores, det_area=[100.0] * len(scores),
        det_box=np.zeros((len(scores), 4)), similarity=similarity,
    )  # fmt: skip
    return builder.build()


def test_curve_matches_a_manual_computation() -> None:
    curve = precision_by_recall(one_image([0.9, 0.8, 0.7, 0.6], [True, False, True, True], 4))
    expected = np.select([RECALLS <= 0.25, RECALLS <= 0.75], [1.0, 0.75], 0.0)  # 1/1, 1/2, 2/3, 3/4
    np.testing.assert_allclose(curve, expected)


def test_classes_without_objects_have_no_curve() -> None:
    assert np.isnan(precision_by_recall(one_image([0.9], [True], 1, crowd=True))).all()
    assert (precision_by_recall(one_image([], [], 2)) == 0).all()
