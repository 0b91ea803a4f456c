"""Invalid models and sites: a one-line message with the problem, location and fix, and exit status 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.host.helpers import build_as_its_class
from yolo_attn import register_layer
from yolo_attn.cli import main
from yolo_attn.graph.sites import SITE_KINDS
from yolo_attn.host.documents import model_yaml
from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check
from yolo_attn.registry import unregister_layer

SITES = "backbone, neck, backbone.P2, backbone.P3, backbone.P4, backbone.P5, backbone.end, neck.P3, neck.P4, neck.P5"


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("yolo-attn: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("yolo-attn: ").strip()


def place(model: str, *words: str, layer: str = "SE", at: str = "neck") -> list[str]:
    return ["place", f"model={model}", f"layer={layer}", f"at={at}", *words]


def checkpoint(name: str, file: str) -> str:
    model: Any = build_as_its_class(model_yaml(name))
    torch.save({"model": model, "ema": None, "train_args": {}}, file)
    return file


@pytest.mark.parametrize("verb", ["place", "train", "export"])
def test_a_site_that_the_model_does_not_have(verb: str, fresh_folder: Path, capsys) -> None:
    forms = ", ".join(kind.form for kind in SITE_KINDS[:-1])
    message = f"no site 'neck.P7' in this model; did you mean neck.P5?; it has {SITES}, {forms}"
    words = place("yolo11n.yaml", at="neck.P7") if verb == "place" else [verb, "model=yolo11n.yaml+SE@neck.P7"]
    assert complaint(words, capsys) == message
    assert not list(fresh_folder.iterdir())


def test_a_layer_that_cannot_take_those_channels(fresh_folder: Path, capsys) -> None:
    @register_layer(family="channel", summary="takes channels in threes")
    class Thirds(Gate):
        def __init__(self, channels: int, *, init: str = "paper") -> None:
            super().__init__(channels, init=init)
            check(self, channels % 3 == 0, "channels", channels, "a multiple of 3")

    try:
        message = "row 17: Thirds: channels=64; use a multiple of 3"
        assert complaint(place("yolo11n.yaml", layer="Thirds"), capsys) == message
        assert complaint(["train", "model=yolo11n.yaml+Thirds@neck"], capsys) == message
    finally:
        unregister_layer("Thirds")
    document = model_yaml("yolov8n.yaml")
    document["head"][2] = [[-1, 4], 1, "AFF", []]
    Path("mine.yaml").write_text(yaml.safe_dump(document))
    line = "row 12: AFF: channels=[384, 64]; use two equal numbers, with a Conv before it"
    assert complaint(["train", "model=mine.yaml"], capsys) == line
    assert [p.name for p in fresh_folder.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("coco8.yaml", "{found}: not a model YAML: it has no backbone and head"),
        ("yolo11n", "base 'yolo11n': give a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)"),
        ("yolo11n.onnx", "base 'yolo11n.onnx': give a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)"),
        (
            "nowhere.yaml",
            "'nowhere.yaml' does not exist; give a model YAML or checkpoint, or layers at sites of one, such as "
            "yolo11n.yaml+CBAM@neck",
        ),
        ("nowhere/best.pt", "nowhere/best.pt: no such checkpoint"),
    ],
)
def test_a_base_that_is_not_a_model(model: str, message: str, fresh_folder: Path, capsys) -> None:
    from ultralytics.utils.checks import check_yaml

    found = check_yaml(model, hard=False) if model.endswith(".yaml") else ""
    assert complaint(place(model), capsys) == message.format(found=found)
    assert not list(fresh_folder.iterdir())


def test_an_output_file_that_exists(fresh_folder: Path, capsys) -> None:
    Path("mine.yaml").write_text("mine")
    words = place("yolo11n.yaml", "out=mine.yaml")
    assert complaint([*words, "exist_ok=False"], capsys) == (
        "mine.yaml exists and was kept; give another out=FILE, or exist_ok=True to replace it"
    )
    assert Path("mine.yaml").read_text() == "mine"
    assert main([*words, "exist_ok=True"]) == 0
    assert "SE" in Path("mine.yaml").read_text()


@pytest.mark.parametrize("words", [place("broken.yaml"), ["lint", "model=broken.yaml"], ["train", "model=broken.yaml"]])
def test_a_yaml_with_a_syntax_error(words: list[str], fresh_folder: Path, capsys) -> None:
    Path("broken.yaml").write_text(
        "nc: 80\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]\n  - [-1, 1, SPPF, [64]]\nhead: []\n"
    )
    line = complaint(words, capsys)
    assert line == "broken.yaml, line 4, column 3: not valid YAML: expected ',' or ']', but got '-'"


def test_a_model_of_another_task(fresh_folder: Path, capsys) -> None:
    detect = checkpoint("yolov8n.yaml", "detect.pt")
    output = "is a detect model, but the command is for segment: give a segment model"
    for model in (detect, "yolo11n.yaml", f"{detect}+SE@neck", "yolo11n.yaml+SE@neck"):
        assert (
            complaint(["segment", "train", f"model={model}", "data=coco8-seg.yaml"], capsys)
            == f"model={model} {output}"
        )
    assert complaint(["val", "task=pose", f"model={detect}"], capsys) == (
        "model=detect.pt is a detect model, but the command is for pose: give a pose model"
    )
    assert sorted(p.name for p in fresh_folder.iterdir()) == ["detect.pt"]
