"""Names of datasets.yaml in stock Ultralytics after importing this package."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ultralytics.engine import exporter, tuner
from ultralytics.models.yolo.classify import ClassificationValidator
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator

import yolo_attn
from tests.host.helpers import tiny_dataset
from yolo_attn.data import digits, names
from yolo_attn.data.names import known_data
from yolo_attn.host import installation


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch, fresh_folder: Path) -> str:
    """Make `digits` small, in a temporary folder; return the path of its data YAML."""
    few = {"train": 2, "val": 2, "test": 2}
    monkeypatch.setattr(names, "make_digits", lambda root: digits.make_digits(root, counts=few))
    monkeypatch.setattr(installation, "datasets_folder", lambda: fresh_folder / "datasets")
    return str(fresh_folder / "datasets" / "digits" / "digits.yaml")


def test_a_stock_trainer_trains_on_a_name(few_digits: str, fresh_folder: Path) -> None:
    overrides = {"model": "yolo11n.yaml", "data": "digits", "epochs": 1, "imgsz": 32, "device": "cpu", "workers": 0}
    trainer = DetectionTrainer(overrides={**overrides, "project": str(fresh_folder), "plots": False, "val": False})
    assert trainer.data["yaml_file"] == trainer.args.data == few_digits
    assert trainer.data["nc"] == 10


def test_a_stock_validator_measures_on_a_name(few_digits: str, fresh_folder: Path) -> None:
    from ultralytics import YOLO

    settings = {"imgsz": 32, "device": "cpu", "workers": 0, "plots": False, "project": str(fresh_folder)}
    model = YOLO("yolo11n-se.yaml")
    model.val(data="digits", **settings)
    assert DetectionValidator(args={"data": "digits", "task": "detect"}).args.data == few_digits


@pytest.mark.parametrize("module", [exporter, tuner])
def test_other_modules_that_read_arguments(few_digits: str, module: Any) -> None:
    assert module.get_cfg(overrides={"data": "digits.yaml", "task": "detect"}).data == few_digits


def test_unregistering_leaves_names_to_ultralytics(few_digits: str) -> None:
    yolo_attn.unregister()
    try:
        assert exporter.get_cfg(overrides={"data": "digits", "task": "detect"}).data == "digits"
    finally:
        yolo_attn.register()


@pytest.mark.parametrize("mine", ["digits", "digits.yaml", "coco8.yaml"])
def test_an_existing_file_or_folder_comes_first(few_digits: str, fresh_folder: Path, mine: str) -> None:
    shutil.copy(tiny_dataset(fresh_folder), mine)
    assert known_data(mine, "detect") == mine
    assert DetectionValidator(args={"data": mine, "task": "detect"}).args.data == mine


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("coco8.yaml", "coco8.yaml"),
        ("coco8", "coco8.yaml"),
        ("VISDRONE", "VisDrone.yaml"),
        ("sets/digits", "sets/digits"),
        ("nowhere.yaml", "nowhere.yaml"),
        ("https://host/digits.zip", "https://host/digits.zip"),
        (["coco8", "mine.yaml"], ["coco8.yaml", "mine.yaml"]),
        ({"train": {}}, {"train": {}}),
        (None, None),
    ],
)
def test_stock_and_unknown_names_are_left_to_ultralytics(few_digits: str, written: object, taken: object) -> None:
    assert known_data(written, "detect") == taken


def test_classification_takes_folders(few_digits: str, fresh_folder: Path) -> None:
    assert known_data("MNIST160", "classify") == "mnist160"
    assert known_data("digits", "classify") == "digits"
    (fresh_folder / "datasets" / "MNIST").mkdir(parents=True)
    assert known_data("MNIST", "classify") == "MNIST"
    assert ClassificationValidator(args={"data": "Mnist160", "task": "classify"}).args.data == "mnist160"


def test_a_stock_dataset_of_the_same_name_comes_first(few_digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "stock_data_yamls", lambda: {"digits": SimpleNamespace(name="digits.yaml")})
    assert known_data("digits", "detect") == "digits.yaml"
