"""Studies of real classifiers and semantic segmentations, from images to the report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import ultralytics
import yaml

from yolo_attn import compare
from yolo_attn.stats.tasks import evaluation_of

SHAPES = ("circle", "square", "stripe")
COLORS = ((30, 200, 220), (220, 60, 30), (40, 220, 40))
SEEDS = 2


def draw(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of one shape, and its mask."""
    image, mask = rng.integers(0, 80, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64), np.uint8)
    x, y = (int(value) for value in rng.integers(20, 44, 2))
    if kind == 0:
        cv2.circle(mask, (x, y), 14, 1, -1)
    else:
        half = (12, 12) if kind == 1 else (18, 4)
        cv2.rectangle(mask, (x - half[0], y - half[1]), (x + half[0], y + half[1]), 1, -1)
    image[mask > 0] = COLORS[kind]
    return image, mask * (kind + 1)


def make_data(root: Path, task: str) -> str:
    """Write a dataset of 48 and 24 images, and return it as a value of `data=`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 24)):
        for index in range(count):
            image, mask = draw(rng, index % 3)
            files = {f"{split}/{SHAPES[index % 3]}": image}
            if task == "semantic":
                files = {f"images/{split}": image, f"masks/{split}": mask}
            for folder, content in files.items():
                (root / folder).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / folder / f"{index:02}.png"), content)
    if task == "classify":
        return str(root)
    content = {"path": str(root), "train": "images/train", "val": "images/val", "names": ["ground", *SHAPES]}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return str(root / "data.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "base"), [("classify", "yolo11n-cls.yaml"), ("semantic", "yolo26n-sem.yaml")])
def test_a_study_of_another_task(task: str, base: str, fresh_folder: Path) -> None:
    if task == "semantic" and not hasattr(ultralytics.models.yolo, "semantic"):
        pytest.skip("this Ultralytics has no semantic segmentation")
    arguments = {
        "base": base,
        "data": make_data(fresh_folder / "data", task),
        "variants": "SE@backbone.P4",
        "project": str(fresh_folder),
        "name": "study",
        "seeds": SEEDS,
        "epochs": 1,
        "imgsz": 64,
        "batch": 16,
        "device": "cpu",
    }
    results = compare(**arguments)
    assert results.exit_status == 0, results.of_status("failed")
    names = evaluation_of(task).metrics
    for arm in results.study.arms:
        assert len(arm.done) == SEEDS and arm.transferred and arm.transferred[0] > 0
        assert isinstance(arm.learnt, bool)  # one epoch is too short, and the point is that it is known
        assert all(run.norm_lag is not None and run.norm_lag > 0 for run in arm.done)
        assert all((run.gpu, run.amp) == (None, False) for run in arm.done)
        for run in arm.runs:
            assert run.metrics[names[0]] == pytest.approx(run.metrics_ultralytics[names[0]], abs=1e-6)
    change = results.study.arms[1].difference()
    assert change.seeds == SEEDS and change.mean is not None
    page = (fresh_folder / "study" / "report.html").read_text(encoding="utf-8")
    assert f"forest-{names[0]}" in page and "mAP" not in page and 'id="maps"' in page
    before = {path: path.stat().st_mtime_ns for path in (fresh_folder / "study").rglob("result.json")}
    assert compare(**arguments).to_dict()["arms"] == results.to_dict()["arms"]  # nothing is trained again
    assert {path: path.stat().st_mtime_ns for path in before} == before
