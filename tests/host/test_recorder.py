"""Recorded objects equal the labels, in pixels of the original images, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import ultralytics
import yaml
from ultralytics import RTDETR, YOLO
from ultralytics.models.yolo.detect import DetectionValidator

from yolo_attn.host.recorder import DetectionRecorder, make_recorder
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches

# None is square or has the size of the network's input.
SIZES = {"tall": (90, 50), "wide": (40, 110), "empty": (64, 64)}  # height, width
# x center, y center, width and height, as fractions of the image; class 1
BOXES = {"tall": [(0.4, 0.3, 0.5, 0.2), (0.5, 0.7, 0.4, 0.3)], "wide": [(0.3, 0.5, 0.2, 0.6)], "empty": []}


def corners(box: tuple[float, ...]) -> list[tuple[float, float]]:
    x, y, w, h = box
    return [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]


def label(task: str, box: tuple[float, ...]) -> str:
    flat = [value for corner in corners(box) for value in corner]
    numbers = {
        "detect": box,
        "segment": flat,
        "obb": flat,
        "pose": [*box, *(v for c in corners(box)[:2] for v in (*c, 2))],
    }
    return " ".join(map(str, [1, *numbers[task]]))


@pytest.fixture
def dataset(fresh_folder: Path) -> Any:
    def make(task: str) -> Path:
        for folder in ("images", "labels"):
            (fresh_folder / folder).mkdir(exist_ok=True)
        for name, (height, width) in SIZES.items():
            cv2.imwrite(str(fresh_folder / "images" / f"{name}.png"), np.full((height, width, 3), 90, np.uint8))
            text = "\n".join(label(task, box) for box in BOXES[name])
            (fresh_folder / "labels" / f"{name}.txt").write_text(text)
        content = {"path": str(fresh_folder), "train": "images", "val": "images", "names": {0: "no", 1: "yes"}}
        path = fresh_folder / f"{task}.yaml"
        path.write_text(yaml.safe_dump(content | ({"kpt_shape": [2, 3]} if task == "pose" else {})))
        return path

    return make


def record(model: Any, data: Path, *more: Any) -> Matches:
    recorder = DetectionRecorder()
    model.add_callback("on_val_start", recorder.attach)
    for callback in more:
        model.add_callback("on_val_start", callback)
    model.val(data=str(data), imgsz=64, batch=2, device="cpu", workers=0, plots=False, verbose=False)
    return recorder.evaluation()


def of_classes(name: str, folder: Path, classes: int = 2) -> str:
    """A stock model for the dataset's classes; validation of a YAML needs its own."""
    from yolo_attn.host.documents import model_yaml

    path = folder / f"{Path(name).stem}.yaml"
    document = {key: value for key, value in model_yaml(name).items() if key != "yaml_file"}
    path.write_text(yaml.safe_dump({**document, "nc": classes} | ({"kpt_shape": [2, 3]} if "pose" in name else {})))
    return str(path)


def true_boxes() -> dict[str, list[list[float]]]:
    return {
        f"{name}.png": [
            [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            for x, y, w, h in BOXES[name]
        ]
        for name, (height, width) in SIZES.items()
    }


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("detect", "yolo11n.yaml"),
        ("segment", "yolo11n-seg.yaml"),
        ("pose", "yolo11n-pose.yaml"),
        ("obb", "yolo11n-obb.yaml"),
    ],
)
def test_objects_equal_the_labels(task: str, name: str, dataset: Any, fresh_folder: Path) -> None:
    matches = record(YOLO(of_classes(name, fresh_folder), task=task), dataset(task))
    assert matches.images == ("empty.png", "tall.png", "wide.png")
    assert matches.classes == ("no", "yes")
    assert matches.gt_class.tolist() == [1, 1, 1]
    for place, image in enumerate(matches.images):
        found = matches.gt_box[matches.gt_image == place]
        wanted = np.array(true_boxes()[image]).reshape(-1, 4)
        found, wanted = found[found[:, 0].argsort()], wanted[wanted[:, 0].argsort()]  # masks come by their size
        assert np.allclose(found, wanted, atol=0.6), image  # labels of rotated boxes are rounded
        sides = wanted[:, 2:] - wanted[:, :2]
        assert np.allclose(sorted(matches.gt_area[matches.gt_image == place]), sorted(sides.prod(1)), rtol=0.06)


class Perfect:
    """Replaces a network's detections by the labels."""

    def __init__(self, miss: int = 0) -> None:
        self.miss = miss
        self.seen = 0

    def attach(self, validator: DetectionValidator) -> None:
        self.update = validator.update_metrics
        validator.update_metrics = self.update_metrics

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        shape = torch.tensor(batch["img"].shape[2:])[[1, 0, 1, 0]]
        found = []
        for image in range(len(batch["im_file"])):
            xywh = batch["bboxes"][batch["batch_idx"] == image] * shape
            boxes = torch.cat([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)[
                self.miss if image else 0 :
            ]
            score, kind = torch.full((len(boxes),), 0.9), torch.ones(len(boxes))
            if hasattr(DetectionValidator, "scale_preds"):
                found.append({"bboxes": boxes, "conf": score, "cls": kind})
            else:
                found.append(torch.cat([boxes, score[:, None], kind[:, None]], 1))
        self.update(found, batch)


@pytest.mark.parametrize("kind", ["letterboxed", pytest.param("stretched", marks=pytest.mark.slow)])
def test_a_perfect_detector_has_a_perfect_score(
    kind: str, dataset: Any, fresh_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(np, "trapz"):  # early releases require it, and an older numpy
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    model = YOLO(of_classes("yolo11n.yaml", fresh_folder)) if kind == "letterboxed" else RTDETR("rtdetr-l.yaml")
    matches = record(model, dataset("detect"), Perfect().attach)
    assert len(matches.det_box) == len(matches.gt_box) == 3
    assert np.allclose(matches.det_box, matches.gt_box, atol=0.6)
    assert evaluate(matches)["metrics"]["mAP50"] == pytest.approx(1.0)
    assert matches.found[0].all()


# --- classification and semantic segmentation -----------------------------------------------------------------------


def record_task(model: Any, data: str, task: str) -> tuple[Any, dict[str, float]]:
    """Return the recorded evaluation, and the metrics of the validator."""
    recorder = make_recorder(task)
    model.add_callback("on_val_start", recorder.attach)
    result = model.val(data=data, imgsz=64, batch=4, device="cpu", workers=0, plots=False, verbose=False)
    return recorder.evaluation(), recorder.reported(result)


def test_predictions_equal_those_of_the_validator(fresh_folder: Path) -> None:
    """The stock loader shuffles; a recorded image has its own class and prediction."""
    rng = np.random.default_rng(0)
    data = fresh_folder / "set"
    for split in ("train", "val"):
        for number in range(7):
            (data / split / f"class{number}").mkdir(parents=True)
            for index in range(3):
                image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
                cv2.imwrite(str(data / split / f"class{number}" / f"{index}.png"), image)
    torch.manual_seed(0)
    model = YOLO(of_classes("yolo11n-cls.yaml", fresh_folder, 7), task="classify")
    found, reported = record_task(model, str(data), "classify")
    assert found.images == tuple(f"class{number}/{index}.png" for number in range(7) for index in range(3))
    assert found.classes == tuple(model.names.values()) and len(found.classes) == 7
    assert found.true.tolist() == [number for number in range(7) for _ in range(3)]
    assert evaluate(found)["metrics"] == pytest.approx(reported)
    network = model.model.eval()
    for name, ranked in zip(found.images, found.ranked, strict=True):
        image = cv2.imread(str(data / "val" / name))[..., ::-1].copy()
        with torch.no_grad():
            scores = network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        scores = scores[0] if isinstance(scores, tuple) else scores
        assert int(scores.argmax()) == ranked[0]


@pytest.mark.skipif(not hasattr(ultralytics.models.yolo, "semantic"), reason="no semantic segmentation")
@pytest.mark.parametrize("classes", [1, 3])
def test_overlaps_equal_those_of_the_validator(classes: int, fresh_folder: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (fresh_folder / folder / "val").mkdir(parents=True)
    for index, (height, width) in enumerate([(64, 64), (40, 60), (100, 50), (64, 64), (64, 64)]):
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2, width // 3 :] = rng.integers(1, max(classes, 2))
        mask[:4] = 255
        cv2.imwrite(str(fresh_folder / "masks" / "val" / f"{index}.png"), mask)
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(fresh_folder / "images" / "val" / f"{index}.png"), image)
    names = [f"class{number}" for number in range(classes)]
    content = {"path": str(fresh_folder), "train": "images/val", "val": "images/val", "names": names}
    (fresh_folder / "data.yaml").write_text(yaml.safe_dump(content | {"masks_dir": "masks"}))
    model = YOLO(of_classes("yolo26n-sem.yaml", fresh_folder, classes), task="semantic")

    def guess(validator: Any) -> None:
        """Predict random classes: an untrained network predicts one class everywhere."""
        shown = validator.postprocess
        validator.postprocess = lambda preds: torch.from_numpy(
            rng.integers(0, max(classes, 2), tuple(shown(preds).shape)).astype(np.int32)
        )

    model.add_callback("on_val_start", guess)
    found, reported = record_task(model, str(fresh_folder / "data.yaml"), "semantic")
    assert found.images == tuple(f"{index}.png" for index in range(5)) and len(found.classes) == classes
    assert evaluate(found)["metrics"] == pytest.approx(reported, abs=1e-6)
    assert 0.1 < reported["mIoU"] < 0.4
    assert found.pixels[0] == 64 * 60 and found.mapped.tolist() == [0, 1, 2, 3, 4]
