"""Mean IoU and pixel accuracy of segmentations, compared with counting pixels of copies of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.bootstrap import image_weights
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches
from yolo_attn.stats.overlaps import IGNORED, MAPS, Overlaps, OverlapsBuilder

Maps = list[tuple[NDArray[Any], NDArray[Any]]]  # labels and predictions


def scenes(images: int, classes: int, *, seed: int = 0, right: float = 0.7) -> Maps:
    """Images with a rectangle of one class on class 0, some pixels without a label, and noisy predictions."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        height, width = rng.integers(20, 60, 2)
        true = np.zeros((height, width), np.int64)
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        true[y : y + height // 3, x : x + width // 3] = rng.integers(1, classes)
        predicted = np.where(rng.random(true.shape) < right, true, rng.integers(0, classes, true.shape))
        true[rng.random(true.shape) < 0.1] = IGNORED
        found.append((true, predicted))
    return found


def overlaps(maps: Maps, classes: int) -> Overlaps:
    names = [f"{index:03}.png" for index in range(len(maps))]
    builder = OverlapsBuilder([f"class{index}" for index in range(classes)], names)
    for name, (true, predicted) in zip(reversed(names), reversed(maps), strict=True):
        builder.add_image(name, true, predicted)
    return builder.build()


def expected(maps: Maps, scored: range) -> tuple[float, float, list[float]]:
    """Mean IoU, pixel accuracy and IoU of each class, from all pixels in one line."""
    true, predicted = (np.concatenate([one[side].ravel() for one in maps]) for side in (0, 1))
    true, predicted = true[true != IGNORED], predicted[true != IGNORED]
    ious = []
    for index in scored:
        union = int(((true == index) | (predicted == index)).sum())
        both = int(((true == index) & (predicted == index)).sum())
        ious.append(both / union if (true == index).any() else float("nan"))
    return float(np.nanmean(ious)), float((true == predicted).mean()), ious


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_metrics_equal_those_of_copies_of_images(classes: int) -> None:
    maps = scenes(12, max(classes, 2))
    found = overlaps(maps, classes)
    scored = range(1, 2) if classes == 1 else range(classes)
    weights = np.vstack([np.ones(12, np.int16), image_weights(12, 10)])
    metrics, per_class = found.compute(weights)
    for row, copies in enumerate(weights):
        mean, accuracy, ious = expected([maps[image] for image in np.repeat(np.arange(12), copies)], scored)
        np.testing.assert_allclose(metrics[row], [mean, accuracy], atol=1e-12)
        np.testing.assert_allclose(per_class[row], ious, atol=1e-12, equal_nan=True)
    assert evaluate(found)["metrics"] == {"mIoU": metrics[0, 0], "pixel-accuracy": metrics[0, 1]}
    assert len(evaluate(found)["per_class"]) == classes


def test_a_class_without_labeled_pixels_is_not_averaged() -> None:
    maps = [(np.zeros((20, 20), np.int64), np.eye(20, dtype=np.int64))] * 2  # class 1 is predicted, but never there
    values = evaluate(overlaps(maps, 3))
    assert values["metrics"]["mIoU"] == pytest.approx(19 / 20)
    assert np.isnan(values["per_class"]["class1"]) and np.isnan(values["per_class"]["class2"])
    assert overlaps(maps, 3).counts() == (2, 0, 0)


def test_stored_overlaps_are_read_again(tmp_path: Path) -> None:
    found = overlaps(scenes(MAPS + 10, 3), 3)
    found.save(tmp_path / "matches.npz")
    again = Overlaps.load(tmp_path / "matches.npz")
    assert again.images == found.images and again.classes == found.classes
    np.testing.assert_array_equal(again.compute(image_weights(MAPS + 10, 5))[0], found.compute(image_weights(74, 5))[0])
    assert len(again.mapped) == MAPS and again.chance() == found.chance()
    with pytest.raises(UserError, match=r"matches.npz: damaged"):  # of another task
        Matches.load(tmp_path / "matches.npz")


@pytest.mark.parametrize("classes", [1, 3])
def test_a_weak_segmenter_has_learned(classes: int) -> None:
    found = overlaps(scenes(30, 3 if classes > 1 else 2, right=0.3), classes).chance()
    assert found is not None and found.learnt


@pytest.mark.parametrize("classes", [1, 3])
def test_one_class_everywhere_has_not_learned(classes: int) -> None:
    maps = [(true, np.full_like(true, classes == 1)) for true, _ in scenes(30, 3 if classes > 1 else 2)]
    found = overlaps(maps, classes).chance()
    assert found is not None and found.learnt is False
    assert found.reached == pytest.approx(found.mean) and found.reached > 0


def test_the_usual_place_of_each_class_has_not_learned() -> None:
    """Roads are at the bottom of every image: a map of places has an IoU far above zero."""
    rng = np.random.default_rng(1)
    maps = []
    for _ in range(30):
        true = np.zeros((40, 40), np.int64)
        true[20 + int(rng.integers(-6, 7)) :] = 1
        maps.append((true, np.repeat([0, 1], 20)[:, None].repeat(40, axis=1)))
    found = overlaps(maps, 2).chance()
    assert found is not None and found.learnt is False
    assert found.reached > 0.7


def test_learning_is_undecided_with_equal_labels_and_unknown_with_one_image() -> None:
    true = scenes(1, 3, right=1.0)[0][1]
    found = overlaps([(true, true)] * 20, 3).chance()
    assert found is not None and found.learnt is None
    assert overlaps([(true, true)], 3).chance() is None


def test_repeated_images_and_other_sizes_are_rejected() -> None:
    builder = OverlapsBuilder("ab", ["x"])
    small, large = np.zeros((4, 4), np.int64), np.zeros((4, 5), np.int64)
    with pytest.raises(ValueError, match="'x': added twice, or its maps differ in size"):
        builder.add_image("x", small, large)
    builder.add_image("x", small, small)
    with pytest.raises(ValueError, match="added twice"):
        builder.add_image("x", small, small)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("common", lambda v: v + v.max() + 1, "more right pixels"),
        ("common", lambda v: -v, "more right pixels"),
        ("right", lambda v: v + 100_000, "more right pixels"),
        ("predicted_pixels", lambda v: v + 2**62, "more right pixels"),
        ("pixels", lambda v: v[:2], r"pixels has shape \(2,\)"),
        ("mapped", lambda v: v + 5, "mapped has an index outside the 5 entries"),
        ("true_maps", lambda v: v[:, :3], "true_maps has shape"),
        ("true_maps", lambda v: np.array(["x"]), "damaged"),
    ],
)
def test_inconsistent_content_is_reported(tmp_path: Path, name: str, change: Any, message: str) -> None:
    path = tmp_path / "matches.npz"
    overlaps(scenes(5, 3), 3).save(path)
    header, arrays = npz.load(path, 1)
    npz.save(path, header, arrays | {name: change(arrays[name])})
    with pytest.raises(UserError, match=message):
        Overlaps.load(path)


def test_metrics_rest_on_groups_of_images() -> None:
    true = [np.full((8, 8), value) for value in (0, 0, 1, IGNORED)]
    found = overlaps([(labels, labels % 2) for labels in true], 3)
    numbers = found.groups_with_labels(np.array([0, 0, 1, 2]))
    assert [part.tolist() for part in numbers] == [[1, 1], [2], [1], [1], []]
