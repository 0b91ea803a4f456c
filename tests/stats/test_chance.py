"""Untrained detectors are distinguished from weak ones at any average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulation.images import Images
from tests.stats.scenes import area, overlap
from yolo_attn.stats.chance import Chance, find_chance
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches, MatchesBuilder

Array = NDArray[Any]
Detector = Callable[[np.random.Generator, Array, Array, Array], tuple[Array, Array, Array]]


def evaluated(seed: int, detect: Detector, *, images: int = 60, large: bool = False, classes: int = 3) -> Matches:
    """A detector: takes a generator, the image size, boxes and classes; returns boxes, classes and scores."""
    dice = np.random.default_rng(seed)
    builder = MatchesBuilder(map(str, range(classes)))
    for number in range(images):
        size = np.array([(640.0, 480.0), (480.0, 640.0)][int(dice.integers(2))])
        count = 1 if large else int(dice.integers(1, 6))
        sides = dice.uniform(0.6, 1.0, (count, 2)) if large else dice.uniform(0.06, 0.3, (count, 2))
        corner = dice.uniform(0, 1 - sides)
        boxes = np.concatenate([corner, corner + sides], 1) * np.tile(size, 2)
        names = dice.integers(0, classes, count)
        found, kinds, scores = detect(dice, size, boxes, names)
        found = np.clip(found, 0, np.tile(size, 2))
        crowd = np.zeros(count, np.bool_)
        builder.add_image(
            f"{number:04}.jpg", gt_class=names, gt_area=area(boxes), gt_box=boxes, det_class=kinds, det_score=scores,
            det_area=area(found), det_box=found, similarity=overlap(boxes, found, crowd),
        )  # fmt: skip
    return builder.build()


def whole(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    """Return an untrained network's detections: boxes clipped at the image's border, with very low confidence."""
    count = int(dice.integers(12, 19))
    reach = dice.uniform(1.0, 1.5, (count, 2)) * size
    return np.concatenate([size - reach, reach], 1), dice.integers(0, 3, count), dice.normal(0.004, 1e-4, count)


def equal(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    """Return the same boxes with the same confidence on every image, as of a real untrained network."""
    return np.tile(np.concatenate([[0, 0], size]), (3, 1)), np.arange(3), np.full(3, 0.0062)


def usual(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    """Return boxes of the usual size around the center."""
    centre, sides = dice.normal(0.5, 0.1, (30, 2)), dice.normal(0.8, 0.1, (30, 2)).clip(0.1)
    found = np.concatenate([centre - sides / 2, centre + sides / 2], 1) * np.tile(size, 2)
    return found, dice.integers(0, 3, 30), dice.uniform(0.001, 0.02, 30)


def anywhere(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    """Return boxes of the objects' sizes at random positions."""
    corner, sides = dice.uniform(0, 0.8, (80, 2)), dice.uniform(0.06, 0.3, (80, 2))
    return np.concatenate([corner, corner + sides], 1) * np.tile(size, 2), dice.integers(0, 3, 80), dice.random(80)


def weak(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    """Find one object in six, inaccurately, among many false detections of the same low confidence."""
    seen = dice.random(len(boxes)) < 0.17
    shift = dice.normal(0, 0.1, (int(seen.sum()), 4)) * np.tile(boxes[seen, 2:] - boxes[seen, :2], 2)
    false, kinds, _ = anywhere(dice, size, boxes, names)
    found = np.concatenate([boxes[seen] + shift, false[:3]])
    return found, np.concatenate([names[seen], kinds[:3]]), dice.uniform(0.01, 0.03, len(found))


def nothing(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
    return np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blind", "large", "images"),
    [
        (usual, True, 20),
        (usual, True, 60),
        (whole, True, 60),
        (equal, True, 60),
        (anywhere, False, 60),
        (anywhere, True, 60),
    ],
)
def test_detector_that_ignores_images_has_not_learned(blind: Detector, large: bool, images: int) -> None:
    found = [find_chance(evaluated(seed, blind, images=images, large=large)) for seed in range(12)]
    assert sum(chance is not None and chance.learnt is False for chance in found) >= 10  # 11.4 are expected


def test_detector_that_ignores_images_can_have_high_ap() -> None:
    metrics = evaluate(evaluated(0, equal, large=True))["metrics"]
    assert metrics["mAP50"] > 0.25


@pytest.mark.parametrize("studies", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_weak_detector_has_learned(studies: int) -> None:
    every = [evaluated(seed, weak) for seed in range(studies)]
    reached = [evaluate(matches)["metrics"]["mAP50-95"] for matches in every]
    assert 0.005 < float(np.median(reached)) < 0.04
    assert all((chance := find_chance(matches)) and chance.learnt for matches in every)


def test_detector_of_large_objects_has_learned() -> None:
    def good(dice: np.random.Generator, size: Array, boxes: Array, names: Array) -> tuple[Array, Array, Array]:
        return boxes + dice.normal(0, 20, boxes.shape), names, dice.uniform(0.3, 0.9, len(boxes))

    chance = find_chance(evaluated(0, good, large=True))
    assert chance and chance.learnt and chance.reached > 0.5 > chance.mean


def test_finding_nothing_is_not_learned() -> None:
    assert find_chance(evaluated(0, nothing)) == Chance(0.0, 0.0, 0.0)
    assert Chance(0.0, 0.0, 0.0).learnt is False


@pytest.mark.parametrize("noise", [0, 5, 10, 20, 40])
@pytest.mark.parametrize("images", [2, 4, 40])
def test_images_with_equal_labels_are_undecided(noise: int, images: int) -> None:
    """Each image has one object at the same position."""
    dice, box = np.random.default_rng(noise), np.array([[100.0, 100.0, 400.0, 400.0]])
    builder = MatchesBuilder(["one"])
    for number in range(images):
        found = box + dice.normal(0, noise, box.shape)
        builder.add_image(
            f"{number:02}", gt_class=[0], gt_area=area(box), gt_box=box, det_class=[0],
            det_score=dice.uniform(0.3, 0.9, 1), det_area=area(found), det_box=found,
            similarity=overlap(box, found, np.zeros(1, np.bool_)),
        )  # fmt: skip
    chance = find_chance(builder.build())
    assert chance is not None and chance.learnt is not False
    assert chance.learnt or chance.alike == 1.0


def test_two_images_are_required() -> None:
    assert find_chance(evaluated(0, weak, images=1)) is None
    assert find_chance(evaluated(0, weak, images=2)) is not None
    assert find_chance(MatchesBuilder(["one"]).build()) is None


def test_task_metric_counts_for_other_tasks_than_boxes() -> None:
    """Masks and keypoints have their own similarity; here no box matches."""
    chance = find_chance(Images(np.random.default_rng(0), 40).evaluate(np.zeros(40)))
    assert chance is not None and chance.reached > 0.1 and chance.mean == 0 and chance.learnt


@pytest.mark.parametrize(
    ("chance", "learnt"),
    [
        (Chance(0.18, 0.17, 0.181), False),  # some shuffle does better
        (Chance(0.1819, 0.181, 0.1815), False),  # it is better, and by nothing: 0.1 % of what chance leaves
        (Chance(0.003, 0.0001, 0.0009), True),
        (Chance(0.0019, 0.0, 0.0), False),
        (Chance(0.6, 0.62, 0.64, alike=0.97), None),  # equal labels
        (Chance(0.6, 0.62, 0.64, alike=0.4), False),
        (Chance(0.99, 0.96, 0.97), True),
    ],
)
def test_the_two_criteria(chance: Chance, learnt: bool | None) -> None:
    assert chance.learnt is learnt


def test_result_is_deterministic() -> None:
    matches = evaluated(3, usual, large=True)
    assert find_chance(matches) == find_chance(matches)
