"""The page contains images of the dataset that the user names or ran the study with, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.study.report.synthetic import make_study
from yolo_attn.cli import main
from yolo_attn.study.report import make_report
from yolo_attn.study.report.sources import DatasetImages, find_images, remember_dataset

NAMES = [f"{index:04}.png" for index in range(6)]


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(".png", np.full((160, 160, 3), 90, np.uint8))[1].tofile(path)


@pytest.fixture
def received(fresh_folder: Path) -> Path:
    """A study from someone else."""
    folder = fresh_folder / "received"
    make_study(folder, seeds=2, arms=("yolo11n", "SE@neck"), images=6, photos=False, maps=False)
    return folder


@pytest.fixture
def dataset(fresh_folder: Path) -> str:
    root = fresh_folder / "set"
    for name in NAMES:
        draw(root / "images" / "val" / name)
    entries = {"path": str(root), "train": "images/val", "val": "images/val", "names": ["a"]}
    (root / "data.yaml").write_text(yaml.safe_dump(entries))
    return str(root / "data.yaml")


def photos(page: Path) -> int:
    return page.read_text(encoding="utf-8").count("data:image/jpeg")


def test_received_study_cannot_select_images(received: Path, dataset: str) -> None:
    assert photos(make_report(received)) == 0
    assert photos(make_report(received, data=dataset)) > 0
    assert photos(make_report(received)) == 0


@pytest.mark.slow
def test_forged_dataset_file_is_ignored(received: Path, dataset: str) -> None:
    (received / "dataset.json").write_text(json.dumps({"data": dataset, "split": "val", "seal": "0" * 64}))
    assert photos(make_report(received)) == 0
    remember_dataset(received, dataset, "val")
    known = json.loads((received / "dataset.json").read_text())
    (received / "dataset.json").write_text(json.dumps({**known, "split": "train"}))
    assert photos(make_report(received)) == 0


def test_study_of_this_user_keeps_its_images(received: Path, dataset: str) -> None:
    remember_dataset(received, dataset, "val")
    assert photos(make_report(received)) > 0
    Path(dataset).unlink()  # moved since
    assert photos(make_report(received)) == 0


@pytest.mark.slow
def test_command_takes_the_dataset(received: Path, dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"from={received}", f"data={dataset}"]) == 0
    assert photos(received / "report.html") > 0
    capsys.readouterr()
    assert main(["report", f"from={received}", "data=no/such.yaml"]) == 2
    assert "no/such.yaml" in capsys.readouterr().err


def test_names_are_looked_up_in_the_dataset(dataset: str) -> None:
    images = DatasetImages.of(dataset, "val")
    assert sorted(images.files) == NAMES
    root = Path(dataset).parent / "images" / "val"
    assert images.find("0000.png") == root / "0000.png"
    for name in ("../val/0000.png", "./0000.png", str(root / "0000.png"), "../../data.yaml", "0000.PNG"):
        assert images.find(name) is None


def test_linked_images_of_a_dataset_are_found(dataset: str, tmp_path: Path) -> None:
    """The user named the dataset, and many datasets are folders of links."""
    draw(tmp_path / "disk" / "more.png")
    (Path(dataset).parent / "images" / "val" / "more.png").symlink_to(tmp_path / "disk" / "more.png")
    assert DatasetImages.of(dataset, "val").find("more.png") is not None


def test_no_images_without_a_source(tmp_path: Path) -> None:
    assert find_images(tmp_path).find("a.png") is None
    assert find_images(tmp_path, data="https://host/set.zip").find("a.png") is None
