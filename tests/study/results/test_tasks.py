"""Studies of classifiers and semantic segmentations: results, tables and page from stored evaluations."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.stats.test_overlaps import overlaps, scenes
from tests.stats.test_predictions import classifier
from yolo_attn.stats.evaluation import Evaluation, evaluate
from yolo_attn.stats.tasks import EVALUATIONS, evaluation_of
from yolo_attn.study.comparison import Results
from yolo_attn.study.job import RunResult, RunState
from yolo_attn.study.report.sources import find_images
from yolo_attn.study.results.build import ArmRuns, make_results
from yolo_attn.study.results.records import StudyInfo, StudyResults
from yolo_attn.study.results.storage import SCHEMA_FILE, read_results
from yolo_attn.system.files import read_json

SEEDS = (0, 1, 2, 3)
IMAGES = 80


def classified(skill: float, seed: int) -> Evaluation:
    """A classifier of images and classes that are common to all runs."""
    found = classifier(4.0, images=IMAGES)
    rng = np.random.default_rng([1, seed, int(100 * skill)])
    ranked = found.ranked.copy()
    for row, true in enumerate(found.true):
        if rng.random() > skill:
            ranked[row] = rng.permutation(np.delete(np.arange(7), true))[:5]
    return type(found)(found.images, found.classes, found.true, ranked)


def segmented(skill: float, seed: int) -> Evaluation:
    """A segmentation of images and classes that are common to all runs."""
    rng = np.random.default_rng([2, seed, int(100 * skill)])
    maps = [
        (true, np.where(rng.random(true.shape) < skill, np.minimum(true, 2), rng.integers(0, 3, true.shape)))
        for true, _ in scenes(IMAGES, 3)
    ]
    return overlaps(maps, 3)


MADE: dict[str, Callable[[float, int], Evaluation]] = {"classify": classified, "semantic": segmented}
SKILLS = {"base": ("baseline", 0.6), "better": ("variant", 0.9), "same": ("variant", 0.6), "null": ("control", 0.6)}


@pytest.fixture(scope="module", params=MADE)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished study of a task."""
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    arms = []
    for name, (kind, skill) in SKILLS.items():
        states = []
        for seed in SEEDS:
            found = MADE[task](skill, seed + 10 * (name == "same"))
            run = folder / "runs" / f"{name}-{seed}"
            (run / "train").mkdir(parents=True)
            found.save(run / "matches.npz")
            column = {"classify": "metrics/accuracy_top1", "semantic": "metrics/mIoU"}[task]
            (run / "train" / "results.csv").write_text(f"epoch,train/loss,{column}\n1,2.0,0.3\n2,1.0,0.5\n")
            reported = dict.fromkeys(evaluation_of(task).reported, 0.5)
            content = {"seed": seed, "status": "done", "metrics_ultralytics": reported, "metrics_best": reported}
            states.append(RunState(seed, "done", f"runs/{run.name}", result=RunResult.from_json(content)))
        arms.append(ArmRuns(name, kind, None, states))
    info = StudyInfo(data="made", task=task, recipe={"epochs": 2}, versions={"a": "1"}, seeds=SEEDS, device="cpu")
    results = Results(folder, make_results(folder, info, arms))
    results.write()
    return results


def test_metrics_and_verdicts_are_those_of_the_task(study: Results) -> None:
    task = str(study.study.info.task)
    kind = EVALUATIONS[task]
    rows = {row["name"]: row for row in study.rows()}
    mine = [MADE[task](0.9, seed) for seed in SEEDS]
    for name in kind.metrics:
        mean = np.mean([evaluate(found)["metrics"][name] for found in mine])
        assert rows["better"][name] == pytest.approx(mean)
    main = kind.metrics[0]
    assert rows["better"]["difference"] == pytest.approx(rows["better"][main] - rows["base"][main])
    assert rows["better"]["verdict"] == "better"
    assert rows["same"]["verdict"] in {"inconclusive", "equivalent"}
    assert all(arm.learnt for arm in study.study.arms)
    per_class = study.study.arms[1].per_class
    assert list(per_class) == list(mine[0].classes)
    assert [result.instances for result in per_class.values()] == list(mine[0].counts())


def test_results_json_is_valid_and_read_again(study: Results) -> None:
    schema = read_json(SCHEMA_FILE)
    content = read_json(study.folder / "results.json")
    Draft202012Validator(schema).validate(content)
    again = read_results(study.folder)
    assert again.main == study.study.main == again.arms[1].main
    assert again.arms[1].difference().mean == study.study.arms[1].difference().mean
    content["arms"][0]["runs"][0]["metrics"] = {"accuracy": 0.5}
    assert not Draft202012Validator(schema).is_valid(content)


def test_tables_name_the_metrics_of_the_task(study: Results) -> None:
    names = study.study.info.metrics
    rows = list(csv.DictReader(io.StringIO((study.folder / "results.csv").read_text())))
    assert {*names, *(f"{name}(best.pt)" for name in names), *(f"{name}(ultralytics)" for name in names)} <= set(
        rows[0]
    )
    assert float(rows[0][names[0]]) == study.study.arms[0].runs[0].metrics[names[0]]
    heading = study.table().splitlines()[0].split()
    assert heading[2:4] == list(names)
    for name in ("results.csv", "results.md", "results.tex", "report.html"):
        assert "mAP" not in (study.folder / name).read_text(encoding="utf-8"), name


def test_the_page_has_what_the_task_has_and_says_why_the_rest_is_omitted(study: Results) -> None:
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    for name in study.study.info.metrics:
        assert f"forest-{name}" in page and f"runs-{name}" in page
    for part in ("pareto", "precision-recall", 'id="sizes"'):
        assert part not in page
    assert "Omitted: small, medium and large objects (the task has no detections)" in page
    assert "Omitted: precision and recall (the task has no detections)" in page
    assert "curve-main" in page and 'id="classes"' in page and 'id="images"' in page
    assert "number of images in parentheses" in page


def test_the_images_of_a_classifier_are_listed_with_their_classes(tmp_path: Path) -> None:
    """One image changes from wrong to right, another one from right to wrong."""
    from yolo_attn.stats.predictions import Predictions
    from yolo_attn.study.report.images import Album, find_changes

    predictions = {"base": [[1, 0], [1, 0], [0, 1]], "SE": [[0, 1], [0, 1], [0, 1]]}
    names, true = ("cat/1.png", "dog/1.png", "cat/2.png"), (0, 1, 0)
    data = tmp_path / "data"
    for name in names:
        path = data / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 20, 3), 90, np.uint8))
    arms = []
    for arm, ranked in predictions.items():
        run = tmp_path / arm
        run.mkdir()
        Predictions.of(["cat", "dog"], zip(names, true, ranked, strict=True)).save(run / "matches.npz")
        state = RunState(0, "done", arm, result=RunResult.from_json({"seed": 0, "status": "done"}))
        arms.append(ArmRuns(arm, "baseline" if arm == "base" else "variant", None, [state]))
    results: StudyResults = make_results(tmp_path, StudyInfo(task="classify"), arms)
    (images,) = find_changes(tmp_path, results, Album(find_images(tmp_path, data=str(data))))
    (gain,), (loss,) = images.gains, images.losses
    assert (gain.image, gain.before, gain.after) == ("cat/1.png", 0.0, 1.0)
    assert [view.text for view in gain.views] == ["cat is taken for dog", "cat is taken for cat"]
    assert (loss.image, loss.before, loss.after) == ("dog/1.png", 1.0, 0.0)
    assert gain.photo is not None and gain.photo.width == 20


def test_a_study_that_names_another_task_is_reported(study: Results, tmp_path: Path) -> None:
    """Stored evaluations are read as those of the study's task, and never as anything else."""
    from yolo_attn.errors import UserError

    for task in ("detect", "classify", "semantic", "nonsense", None):
        if evaluation_of(task) is not study.study.info.evaluation:
            arms = [ArmRuns("a", "baseline", None, [RunState(0, "done", "runs/base-0")])]
            with pytest.raises(UserError, match=r"matches.npz: damaged"):
                make_results(study.folder, StudyInfo(task=task), arms, keep=False)


def test_yaml_of_the_dataset_is_not_needed(tmp_path: Path) -> None:
    """Images of class folders are found by folder, those of a data YAML by its splits."""
    (tmp_path / "val" / "cat").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "val" / "cat" / "1.png"), np.zeros((20, 20, 3), np.uint8))
    assert find_images(tmp_path, data=str(tmp_path)).find("1.png") is not None
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"path": str(tmp_path), "val": "val", "names": ["cat"]}))
    assert find_images(tmp_path, data=str(tmp_path)).find("1.png") is not None
