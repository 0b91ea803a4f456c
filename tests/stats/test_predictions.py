"""Accuracies of classifiers, compared with counting copies of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.bootstrap import image_weights, replicate_metrics
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.predictions import Predictions

CLASSES = tuple("abcdefg")


def classifier(skill: float, images: int = 200, classes: int = 7, seed: int = 0) -> Predictions:
    """A classifier whose score of the true class is raised by its skill."""
    rng = np.random.default_rng(seed)
    true = np.append(np.arange(classes), rng.integers(0, classes - 1, images - classes))
    scores = rng.normal(size=(images, classes))
    scores[np.arange(images), true] += skill
    ranked = np.argsort(-scores, axis=1)[:, :5]
    return Predictions.of(CLASSES[:classes], [(f"{i:03}.png", true[i], ranked[i]) for i in range(images)])


def expected(found: Predictions, weights: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Accuracies and recalls, by counting one copy of an image after the other."""
    first, five, classes = [], [], {name: [] for name in range(len(found.classes))}
    for image, copies in enumerate(weights):
        for _ in range(copies):
            true, ranked = int(found.true[image]), found.ranked[image].tolist()
            first.append(ranked[0] == true)
            five.append(true in ranked)
            classes[true].append(ranked[0] == true)
    recalls = [float(np.mean(hits)) if hits else float("nan") for hits in classes.values()]
    return [float(np.mean(first)), float(np.mean(five))], recalls


def test_metrics_equal_those_of_copies_of_images() -> None:
    found = classifier(1.5, images=40)
    weights = np.vstack([np.ones(40, np.int16), image_weights(40, 20)])
    metrics, per_class = found.compute(weights)
    for row, copies in enumerate(weights):
        accuracies, recalls = expected(found, copies)
        np.testing.assert_allclose(metrics[row], accuracies, atol=1e-12)
        np.testing.assert_allclose(per_class[row], recalls, atol=1e-12, equal_nan=True)
    assert np.isnan(per_class).any()  # some replicate has no image of the only one of class g
    values = evaluate(found)
    assert values["metrics"] == {"top-1": pytest.approx(metrics[0, 0]), "top-5": pytest.approx(metrics[0, 1])}
    assert list(values["per_class"]) == list(CLASSES)
    assert sum(found.counts()) == 40 and found.counts()[-1] == 1


def test_top_5_accuracy_is_undefined_with_five_classes() -> None:
    metrics = evaluate(classifier(1.0, classes=5))["metrics"]
    assert 0 < metrics["top-1"] < 1
    assert np.isnan(metrics["top-5"])


def test_the_bootstrap_of_an_accuracy_has_the_binomial_error() -> None:
    found = classifier(2.0, images=400)
    accuracy = evaluate(found)["metrics"]["top-1"]
    sample = replicate_metrics(found, image_weights(400)).metrics[:, 0]
    assert sample.std() == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 400), rel=0.08)


def test_images_are_sorted_whatever_their_order(tmp_path: Path) -> None:
    images = [("b/1.png", 1, [1, 0]), ("a/2.png", 0, [1, 0]), ("a/1.png", 0, [0, 1])]
    found = [Predictions.of(["x", "x"], order) for order in (images, images[::-1])]
    for number, one in enumerate(found):
        assert one.images == ("a/1.png", "a/2.png", "b/1.png")
        assert one.classes == ("x", "x (1)")
        one.save(tmp_path / f"{number}.npz")
    assert npz.fingerprint(tmp_path / "0.npz") == npz.fingerprint(tmp_path / "1.npz")
    again = Predictions.load(tmp_path / "0.npz")
    assert (again.true.tolist(), again.ranked.tolist()) == ([0, 0, 1], [[0, 1], [1, 0], [1, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_a_weak_classifier_has_learned(seed: int) -> None:
    found = classifier(0.8, seed=seed).chance()
    assert found is not None and found.learnt
    assert found.mean < found.reached


def test_a_classifier_that_ignores_the_image_has_not_learned() -> None:
    same = [(f"{i:02}", int(i < 45), [1, 0]) for i in range(50)]  # always the largest class: 90 % accuracy
    found = Predictions.of("ab", same).chance()
    assert found is not None and found.learnt is False
    assert (found.reached, found.mean) == (0.9, pytest.approx(0.9))
    passed = [classifier(0.0, seed=seed).chance() for seed in range(60)]
    assert sum(bool(one and one.learnt) for one in passed) <= 9  # one in twenty, P(more than 9 of 60) < 0.002


def test_learning_is_undecided_with_images_of_one_class_and_unknown_with_one_image() -> None:
    found = Predictions.of("ab", [(f"{i}", 1, [1, 0]) for i in range(30)]).chance()
    assert found is not None and found.learnt is None
    assert Predictions.of("ab", [("0", 1, [1, 0])]).chance() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"true": np.zeros(3, np.int32)}, r"true has shape \(3,\)"),
        ({"true": np.full(20, 7, np.int32)}, "true has an index outside the 7 entries"),
        ({"ranked": np.zeros((20, 5), np.int32)}, "a class is predicted twice"),
        ({"ranked": np.full((20, 5), -1, np.int32)}, "ranked has an index outside"),
        ({"header": {"images": ["a"] * 20}}, "is repeated"),
        ({"header": {"classes": "abc"}}, "list of names"),
        ({"header": {"version": 9}}, "written in format 9"),
    ],
)
def test_inconsistent_content_is_reported(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "matches.npz"
    classifier(1.0, images=20).save(path)
    header, arrays = npz.load(path, 1)
    npz.save(path, header | change.pop("header", {}), arrays | change)
    with pytest.raises(UserError, match=message):
        Predictions.load(path)


def test_metrics_rest_on_groups_of_images() -> None:
    found = Predictions.of("abcdefg", [(f"{i}", [0, 0, 0, 1, 1][i], [0, 1, 2, 3, 4]) for i in range(5)])
    numbers = found.groups_with_labels(np.array([0, 0, 1, 1, 2]))
    assert [part.tolist() for part in numbers] == [[3], [3], [2], [2], [], [], [], [], []]
    assert classifier(1.0, classes=5).groups_with_labels(np.arange(200))[1].tolist() == []
