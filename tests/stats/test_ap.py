from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stats.scenes import Scene, random_scene, reference, to_matches
from yolo_attn.stats.ap import average_precisions
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches, MatchesBuilder

CLASSES = 4
once = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def scenes_of(seed: int, count: int = 25) -> list[Scene]:
    """Images with crowds, equal overlaps, equal scores; some empty, one class absent."""
    rng = np.random.default_rng(seed)
    many = 250 if seed % 5 == 0 else 40  # now and then more than the 100 detections that count
    scenes = [random_scene(rng, CLASSES, detections=many) for _ in range(count)]
    return [*scenes, random_scene(np.random.default_rng(5), CLASSES)]  # which has detections: the reference needs one


def unweighted(scenes: list[Scene]) -> np.ndarray:
    return average_precisions(to_matches(scenes, CLASSES), np.ones((1, len(scenes)), int))[0]


@once
@given(seeds)
def test_average_precision_equals_faster_coco_eval(seed: int) -> None:
    scenes = scenes_of(seed)
    expected, summary = reference(scenes, CLASSES)
    np.testing.assert_allclose(unweighted(scenes), expected, atol=1e-9, equal_nan=True)
    found = evaluate(to_matches(scenes, CLASSES))
    np.testing.assert_allclose([found["metrics"][name] for name in Matches.metrics], summary, atol=1e-9, equal_nan=True)
    means = expected[:, 0].mean(axis=-1)
    np.testing.assert_allclose(list(found["per_class"].values()), means, atol=1e-9, equal_nan=True)
    assert math.isnan(found["per_class"][f"class{CLASSES - 1}"])


@pytest.mark.slow
@once
@given(seeds)
def test_weight_equals_copies_of_the_image(seed: int) -> None:
    scenes = scenes_of(seed, 15)
    weights = np.random.default_rng(seed).integers(0, 4, (2, len(scenes)))
    weights[:, -1] = 1
    weighted = average_precisions(to_matches(scenes, CLASSES), weights)
    for row, found in zip(weights, weighted, strict=True):
        copies = [scene for scene, weight in zip(scenes, row, strict=True) for _ in range(weight)]
        np.testing.assert_allclose(found, reference(copies, CLASSES)[0], atol=1e-9, equal_nan=True)
        np.testing.assert_allclose(found, unweighted(copies), atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("count", [7, 10, 14, 29, 57, 99, 100])
def test_recall_at_a_threshold_is_compared_as_in_the_reference(count: int) -> None:
    # 7 / 100 is less than 7 * 0.01 in floating point: the reference does not count that threshold as reached.
    box = np.array([[0.0, 0.0, 200.0, 200.0]])
    scenes = []
    for image in range(100):
        found = image < count
        det_box, score = (box, np.array([0.9])) if found else (box[:0], np.zeros(0))
        scenes.append(Scene(box, np.array([0]), np.array([False]), det_box, np.zeros(len(score), int), score))
    expected, _ = reference(scenes, 1)
    found = average_precisions(to_matches(scenes, 1), np.ones((1, 100), int))[0]
    np.testing.assert_allclose(found, expected, atol=1e-12, equal_nan=True)


def test_no_image_no_object_and_no_detection() -> None:
    empty = MatchesBuilder(["a", "b"]).build()
    assert all(math.isnan(value) for value in evaluate(empty)["metrics"].values())
    rng = np.random.default_rng(0)
    scene = random_scene(rng, 2, crowds=0.0)
    nothing = Scene(
        scene.gt_box, scene.gt_class, scene.gt_crowd, scene.det_box[:0], scene.det_class[:0], scene.det_score[:0]
    )
    found = evaluate(to_matches([nothing], 2))
    assert found["metrics"]["mAP50-95"] == 0.0
    assert to_matches([nothing], 2).counts() == (len(scene.gt_class), 0)


def test_crowds_are_not_counted_as_instances() -> None:
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng, 3, crowds=0.5) for _ in range(10)]
    expected = sum(int((~scene.gt_crowd).sum()) for scene in scenes)
    assert sum(to_matches(scenes, 3).counts()) == expected < sum(len(scene.gt_crowd) for scene in scenes)


def test_weights_of_another_number_of_images_are_rejected() -> None:
    with pytest.raises(ValueError, match="for 2 images"):
        average_precisions(to_matches(scenes_of(0, 1), CLASSES), np.ones((1, 3), int))
