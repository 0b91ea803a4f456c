"""Detections and class activation maps of a network in memory, against `YOLO.predict`."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import plotting

from yolo_attn.errors import UserError
from yolo_attn.host.detector import Detector, detects


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return YOLO(name).model.eval()


@pytest.mark.parametrize(
    "name",
    ["yolo11n.yaml", *(pytest.param(f"yolo11n-{task}.yaml", marks=pytest.mark.slow) for task in ("seg", "obb"))],
)
def test_detections_are_those_of_predict(name: str, image: np.ndarray) -> None:
    model = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = Detector(model, imgsz=64, conf=0.0)(image).detections
    assert {key for key in before if not torch.equal(before[key], model.state_dict()[key])} == set()
    torch.manual_seed(0)
    (result,) = YOLO(name).predict(image, imgsz=64, conf=0.0, verbose=False, save=False)
    boxes = result.boxes if result.boxes is not None else result.obb
    assert len(found) == len(boxes) > 0
    assert [each.score for each in found] == pytest.approx(sorted(boxes.conf.tolist(), reverse=True), abs=1e-6)
    (left, top, right, bottom), (x, y) = found[0].box, found[0].center
    assert left <= x <= right and top <= y <= bottom


def test_the_activation_is_the_image_of_ultralytics(
    image: np.ndarray, monkeypatch: pytest.MonkeyPatch, fresh_folder: Path
) -> None:
    model = network("yolo11n.yaml")
    if not hasattr(plotting, "class_activation_map"):
        with pytest.raises(UserError, match="has no class activation map"):
            Detector(model, imgsz=64, conf=0.25, activation=True)
        return
    detector = Detector(model, imgsz=64, conf=0.25, activation=True)
    shown = [detector(image).activation for _ in range(2)]
    torch.manual_seed(0)
    own = {"visualize": True, "project": str(fresh_folder), "name": "own", "save": False, "verbose": False}
    YOLO("yolo11n.yaml").predict(image, imgsz=64, conf=0.25, **own)
    (file,) = fresh_folder.rglob("*_cam*.jpg")
    for each in shown:
        np.testing.assert_array_equal(each, cv2.imread(str(file)))
    monkeypatch.delattr(plotting, "class_activation_map")
    with pytest.raises(UserError, match="has no class activation map; install a newer release"):
        Detector(copy.deepcopy(model), imgsz=64, conf=0.25, activation=True)


def test_a_classifier_has_no_detections() -> None:
    model = network("yolo11n-cls.yaml")
    assert not detects(model)
    with pytest.raises(UserError, match="task is classify, which has no detections; give points as point=x,y"):
        Detector(model, imgsz=64, conf=0.25)
    if hasattr(plotting, "class_activation_map"):
        with pytest.raises(UserError, match="task is classify, which has no detections; leave out cam=True"):
            Detector(model, imgsz=64, conf=0.25, activation=True)


def test_another_network_has_no_detections() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    assert not detects(model)
    with pytest.raises(UserError, match="task is unknown, which has no detections"):
        Detector(model, imgsz=64, conf=0.25)


def test_a_missing_activation_is_an_error(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(plotting, "class_activation_map"):
        return
    detector = Detector(network("yolo11n.yaml"), imgsz=64, conf=0.25, activation=True)
    monkeypatch.setattr("ultralytics.utils.plotting.cv2.imwrite", lambda *args: False)
    with pytest.raises(UserError, match="wrote no class activation map; leave out cam=True"):
        detector(image)


def test_nothing_is_written_into_the_folder(image: np.ndarray, fresh_folder: Path) -> None:
    Detector(network("yolo11n.yaml"), imgsz=64, conf=0.25)(image)
    assert list(fresh_folder.iterdir()) == []
