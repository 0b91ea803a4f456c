"""Results that rest on few images, on images that belong together, and on classes with few images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulation.images import Images
from yolo_attn.stats.compare import MIN_IMAGES
from yolo_attn.stats.matches import Matches, MatchesBuilder
from yolo_attn.study.job import RunState
from yolo_attn.study.results import estimates, metrics
from yolo_attn.study.results.build import ArmRuns, make_results
from yolo_attn.study.results.estimates import ArmEstimates
from yolo_attn.study.results.metrics import run_metrics
from yolo_attn.study.results.notes import notes_of
from yolo_attn.study.results.records import ClassResult, SeedMean, StudyInfo, StudyResults

FRAMES = 5  # of a video
RULE = r"(v\d+)_"


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Clear the caches, as in a new process."""
    estimates.forget()
    yield


def evaluate(rng: np.random.Generator, images: int, skills: list[float]) -> list[Matches]:
    """Return evaluations of videos, whose frames are equally hard."""
    made = Images(rng, images, classes=2)
    made.skill = np.repeat(rng.normal(0, 0.7, -(-images // FRAMES)), FRAMES)[:images]
    names = tuple(f"v{image // FRAMES:03}_{image % FRAMES}.jpg" for image in range(images))
    return [replace(made.evaluate(np.full(images, skill)), images=names) for skill in skills]


def make(folder: Path, images: int = 120, groups: str | None = None) -> StudyResults:
    """Return the results of a study of a base and a better variant with three seeds; runs are made only once."""
    paths = [folder / f"{arm}-s{seed}" for arm in ("base", "good") for seed in range(3)]
    if not folder.exists():
        for path, found in zip(paths, evaluate(np.random.default_rng(0), images, [0, 0, 0, 2, 2, 2]), strict=True):
            path.mkdir(parents=True)
            found.save(path / "matches.npz")
    states = [RunState(int(path.name[-1]), "done", path.name) for path in paths]
    arms = [ArmRuns("base", "baseline", None, states[:3]), ArmRuns("good", "variant", None, states[3:])]
    return make_results(folder, StudyInfo(task="detect", seeds=(0, 1, 2), groups=groups), arms)


@pytest.mark.slow
def test_groups_given_later_only_change_the_noise_of_the_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        single, grouped, again = (make(tmp_path / "s", groups=rule) for rule in (None, RULE, None))
    assert not caplog.records  # the cache is recomputed without a message that would suggest a forgery
    one, other = single.arms[1].difference(), grouped.arms[1].difference()
    assert (one.mean, one.sd_training) == (other.mean, other.sd_training)
    assert one.se_images and other.se_images and one.se_images != other.se_images
    assert (single.info.group_count, grouped.info.group_count) == (120, 24)
    assert again.to_json() == single.to_json()


def test_a_cached_bootstrap_of_the_same_groups_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "s", images=30)
    folder = tmp_path / "s" / "base-s0"
    first = run_metrics(folder, "detect", groups=RULE)
    monkeypatch.setattr(metrics, "replicate_metrics", None)
    again = run_metrics(folder, "detect", groups=RULE)
    assert np.array_equal(again.replicates, first.replicates, equal_nan=True)
    assert (again.groups, again.labeled_groups, again.sequences) == (6, first.labeled_groups, r"(.*?)\d+\.")
    assert again.class_groups == [numbers[0] for numbers in first.labeled_groups[-2:]]
    assert max(again.class_groups) <= 6


@pytest.mark.slow
def test_no_verdict_with_few_images_or_groups(tmp_path: Path) -> None:
    few, enough = make(tmp_path / "few", MIN_IMAGES - 1), make(tmp_path / "enough", MIN_IMAGES)
    assert few.arms[1].verdict is None
    assert enough.arms[1].verdict is not None
    (note,) = [note for note in few.notes if "no verdicts" in note]
    assert f"{MIN_IMAGES - 1} test images" in note and f"at least {MIN_IMAGES}" in note
    assert not [note for note in enough.notes if "no verdicts" in note]
    grouped = make(tmp_path / "enough", MIN_IMAGES, RULE)
    assert grouped.arms[1].verdict is None
    assert any("4 groups of test images" in note for note in grouped.notes)


def test_names_of_frames_are_noted_unless_they_are_grouped(tmp_path: Path) -> None:
    single, grouped = make(tmp_path / "s"), make(tmp_path / "s", groups=RULE)
    assert [r"groups='(.*?)\d+\.'" in note for note in single.notes] == [True]
    assert grouped.notes == []
    (note,) = make(tmp_path / "s", groups="no such name").notes
    assert "makes every image a group of its own" in note


def test_classes_of_few_images_are_noted(tmp_path: Path) -> None:
    (found,) = evaluate(np.random.default_rng(0), 60, [1.0])
    rare = [image for image in (3, 50) if (found.gt_image == image).any()]
    classes = np.where(np.isin(found.gt_image, rare), 1, 0).astype(np.int32)
    names = tuple(f"{image:03}.jpg" for image in range(60))
    for seed in range(3):
        path = tmp_path / f"base-s{seed}"
        path.mkdir()
        shown = np.where(np.isin(found.det_image, rare), 1, 0).astype(np.int32)
        replace(found, images=names, gt_class=classes, det_class=shown).save(path / "matches.npz")
    states = [RunState(seed, "done", f"base-s{seed}") for seed in range(3)]
    info = StudyInfo(task="detect", seeds=(0, 1, 2))
    study = make_results(tmp_path, info, [ArmRuns("base", "baseline", None, states)])
    assert [result.groups for result in study.arms[0].per_class.values()] == [len(set(found.gt_image)) - 2, 2]
    (note,) = study.notes
    assert "1 of 2 classes rests on fewer than 5 images: class1 (2)." in note
    rest = StudyInfo(task="classify", group_count=60)  # whose main metric is one over all images
    per_class = {name: ClassResult(groups=2) for name in ("a", "b")}
    runs = {0: {"top-1": 0.5}}
    assert notes_of(rest, [ArmEstimates(runs, {"top-1": SeedMean(0.5)}, per_class, None)]) == []


def test_more_objects_than_detections_are_reported(tmp_path: Path) -> None:
    builder, boxes = MatchesBuilder(["a"], 120), np.tile([0.0, 0.0, 1.0, 1.0], (120, 1))
    for number in range(3):
        objects = boxes[: 120 if number else 5]
        labels = {"gt_class": 0 * objects[:, 0], "gt_area": objects[:, 2], "gt_box": objects}
        found = {"det_class": [], "det_score": [], "det_area": [], "det_box": []}
        builder.add_image(f"{number}.png", **labels, **found, similarity=np.zeros((len(objects), 0)))
    builder.build().save(tmp_path / "matches.npz")
    arms = [ArmRuns("base", "baseline", None, [RunState(0, "done", ".")])]
    notes = {
        most: " ".join(make_results(tmp_path, StudyInfo(task="detect", recipe=recipe), arms, keep=False).notes)
        for most, recipe in ((100, {}), (119, {"max_det": 119}), (120, {"max_det": 120}))
    }
    assert "An image has 120 objects of one class, but only 100 detections" in notes[100]
    assert "only 119 detections" in notes[119] and "Give max_det=120 or more" in notes[119]
    assert "max_det" not in notes[120]
