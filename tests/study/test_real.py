"""Real trainings, as small as they can be."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from yolo_attn.cli import main
from yolo_attn.data import digits, names
from yolo_attn.host import installation
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.study.engine import compare

pytestmark = pytest.mark.slow


@pytest.fixture
def squares(fresh_folder: Path) -> Path:
    """A dataset of bright squares on noise."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for folder in ("images", "labels"):
            (fresh_folder / "data" / folder / split).mkdir(parents=True)
        for number in range(count):
            image = noise.integers(0, 90, (64, 64, 3), dtype=np.uint8)
            x, y = noise.integers(0, 32, 2)
            image[y : y + 32, x : x + 32] = 255
            cv2.imwrite(str(fresh_folder / "data" / "images" / split / f"{number}.png"), image)
            label = f"{number % 2} {(x + 16) / 64} {(y + 16) / 64} 0.5 0.5\n"
            (fresh_folder / "data" / "labels" / split / f"{number}.txt").write_text(label)
    path = fresh_folder / "data" / "squares.yaml"
    names = {0: "even", 1: "odd"}
    content = {"path": str(path.parent), "train": "images/train", "val": "images/val", "names": names}
    path.write_text(yaml.safe_dump(content))
    return path


def run(data: str | Path, **arguments: Any) -> Any:
    recipe = {"epochs": 1, "imgsz": 64, "batch": 6}
    given = {"data": data, "base": "yolo11n.yaml", "seeds": 1, "threads": 1, "device": "cpu", **recipe, **arguments}
    return compare(given, stream=StringIO())


def test_a_study_of_two_arms(squares: Path, fresh_folder: Path) -> None:
    results = run(squares, variants="SE@neck", name="first")
    assert results.exit_status == 0
    base, variant = results.to_dict()["arms"]
    assert variant["params"] > base["params"] > 1_000_000
    assert variant["gflops"] > base["gflops"] > 0
    for arm in (base, variant):
        (one,) = arm["runs"]
        assert (one["status"], one["epochs"]) == ("done", 1)
        assert set(arm["per_class"]) == {"even", "odd"}
        assert 0 <= one["metrics"]["mAP50-95"] <= one["metrics"]["mAP50"] <= 1
        assert (results.folder / one["folder"] / "train" / "weights" / "last.pt").is_file()

    # The same again, elsewhere: equal to the last digit, losses too.
    again = run(squares, variants="SE@neck", name="second")
    for first, second in zip(results.to_dict()["arms"], again.to_dict()["arms"], strict=True):
        assert first["runs"][0]["metrics"] == second["runs"][0]["metrics"]
        assert losses(results.folder, first) == losses(again.folder, second)

    # Its checkpoint as a base: every tensor arrives, in both arms.
    checkpoint = results.folder / base["runs"][0]["folder"] / "train" / "weights" / "last.pt"
    tuned = run(squares, base=checkpoint, variants="SE@neck", name="tuned")
    for arm in tuned.to_dict()["arms"]:
        arrived, offered = arm["transferred"]
        assert arrived == offered > 300


def test_a_study_of_a_head_and_of_a_replaced_convolution(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are no inserted row of one map: DyHead at all inputs of the head, and RFAConv for a Conv."""
    few = {"train": 12, "val": 6, "test": 2}
    monkeypatch.setattr(names, "make_digits", lambda root: digits.make_digits(root, counts=few))
    monkeypatch.setattr(installation, "datasets_folder", lambda: fresh_folder / "datasets")
    place = ["place", "model=yolo11n.yaml", "layer=RFAConv", "at=replace:5", "out=yolo11n-placed.yaml"]
    assert main(place) == 0
    variants = "DyHead[width=16,init=identity]@head,RFAConv@replace:3,yolo11n-placed.yaml"
    results = run("digits", variants=variants, seeds=1, name="shapes", project="runs")
    assert results.exit_status == 0
    base, head, replaced, placed = results.to_dict()["arms"]
    assert [arm["runs"][0]["status"] for arm in (base, head, replaced, placed)] == ["done"] * 4
    assert head["transferred"][0] == head["transferred"][1] > 300  # all tensors of the base
    assert head["params"] > base["params"] and replaced["params"] != base["params"] != placed["params"]
    for arm, kind in ((head, "DyHead"), (replaced, "RFAConv"), (placed, "RFAConv")):
        checkpoint = results.folder / arm["runs"][0]["folder"] / "train" / "weights" / "last.pt"
        assert kind in {type(module).__name__ for module in read_checkpoint(checkpoint).model}
        assert arm["delta"]["mAP50-95"]["seeds"] == 1


def test_a_study_that_trains_its_bases(squares: Path) -> None:
    still = {"lr0": 1e-9, "warmup_epochs": 0, "lr_attention": 5}
    arms = {"variants": "SE[init=identity]@neck", "controls": "aa"}
    results = run(squares, pretrain=1, bases=3, seeds=3, name="first", **arms, **still)
    assert results.exit_status == 0
    data = results.to_dict()
    assert [base["status"] for base in data["bases"]] == ["done"] * 3
    # Fine-tuned with almost no learning rate, the arms still are their bases, up to the classes in the head.
    for arm in data["arms"]:
        for run_, base in zip(arm["runs"], data["bases"], strict=True):
            folder = results.folder / run_["folder"]
            before, after = tensors(results.folder / base["folder"]), tensors(folder)
            for name in ("0.conv.weight", "23.cv2.0.2.weight", "23.cv3.0.2.weight"):
                assert torch.equal(before[f"model.{name}"], after[f"model.{shifted(name, arm)}"])
    assert "tensors of attention layers are trained with 5 times" in log(results.folder, data["arms"][1])
    assert "lr_attention" not in log(results.folder, data["arms"][0])

    again = run(squares, pretrain=1, bases=3, seeds=3, name="second", **arms, epochs=2)
    first, second = (
        (item.folder / item.to_dict()["bases"][0]["folder"] / "result.json").read_text() for item in (results, again)
    )
    assert first == second  # copied, and not trained again


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "train" / "weights" / "last.pt").state_dict()


def shifted(name: str, arm: dict[str, Any]) -> str:
    """Return the name of a tensor of the base in a variant with three more rows before the head."""
    return name.replace("23.", "26.") if arm["kind"] == "variant" else name


def log(folder: Path, arm: dict[str, Any]) -> str:
    return (folder / arm["runs"][0]["folder"] / "train.log").read_text()


def losses(folder: Path, arm: dict[str, Any]) -> list[str]:
    """The training table without its second column, the time."""
    lines = (folder / arm["runs"][0]["folder"] / "train" / "results.csv").read_text().splitlines()
    return [",".join(line.split(",")[2:]) for line in lines]


def test_a_model_that_cannot_be_built_fails_alone(squares: Path, fresh_folder: Path) -> None:
    stock = run(squares, variants="SE@neck", name="x").folder / "study.yaml"
    assert stock.is_file()
    model = next((fresh_folder / "runs").rglob("SE-neck-*/model.yaml"))
    document = yaml.safe_load(model.read_text())
    row = next(row for row in document["head"] if row[2] == "SE")
    row[3] = [{"no_such_option": 3}]
    Path("wrong.yaml").write_text(yaml.safe_dump(document))
    results = run(squares, variants="SE@neck,wrong.yaml", name="x", exist_ok=True)
    assert results.exit_status == 1
    statuses = {arm["name"]: arm["runs"][0]["status"] for arm in results.to_dict()["arms"]}
    assert statuses == {"yolo11n": "done", "SE@neck": "done", "wrong": "failed"}
    error = results.to_dict()["arms"][2]["runs"][0]["error"]
    assert "no_such_option" in error
    assert json.loads((results.folder / "results.json").read_text())["arms"][2]["runs"][0]["error"] == error
