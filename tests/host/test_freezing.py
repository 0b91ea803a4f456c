"""Freezing of a variant's rows by those of its base; attention layers stay trainable."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn import tasks

from tests.host.helpers import build, tiny_dataset
from yolo_attn import UserError
from yolo_attn.graph import ModelGraph
from yolo_attn.host import freezing
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.parser import is_attention_row
from yolo_attn.host.repeatable import find_trainer
from yolo_attn.host.transfer import IDENTITY, is_inserted_row

BASE = "yolov8n.yaml"
VARIANT = "yolov8n.yaml+SE@after:2,after:9+EMA@inside:neck.C2f,inside:6"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data"))


def set_up(model: str, freeze: Any, data: Path, folder: Path) -> DetectionTrainer:
    """Return a trainer in its state before the first step."""
    if ".yaml+" in model:
        model = model.replace(".yaml+", "+") + ".yaml"
    trainer = DetectionTrainer(
        overrides={
            "model": model,
            "data": str(data),
            "freeze": freeze,
            "imgsz": 32,
            "batch": 2,
            "workers": 0,
            "device": "cpu",
            "plots": False,
            "project": str(folder),
            "exist_ok": True,
        }
    )
    older = "world_size" in inspect.signature(freezing.FREEZING.original).parameters
    trainer._setup_train(*[1] * older)
    return trainer


def frozen(trainer: DetectionTrainer) -> set[str]:
    return {name for name, parameter in trainer.model.named_parameters() if not parameter.requires_grad}


def evaluating_norms(trainer: DetectionTrainer) -> set[str]:
    trainer._model_train()
    return {name for name, m in trainer.model.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.training}


@pytest.mark.skipif(not hasattr(DetectionTrainer, "_model_train"), reason="this release trains all batch norms")
def test_batch_norms_of_frozen_rows_are_those_of_the_base(data: Path, tmp_path: Path) -> None:
    """A batch norm beside a layer inside a block is named on its own."""
    base = evaluating_norms(set_up(BASE, 10, data, tmp_path / "base"))
    variant = evaluating_norms(set_up(f"{BASE}+SE@inside:C2f", 10, data, tmp_path / "variant"))
    assert variant == base and len(base) > 20


def test_an_identity_that_reads_the_image_is_a_row_of_the_base() -> None:
    """YOLOv9e begins with one."""
    graph = ModelGraph(model_yaml("yolov9e.yaml"))
    assert graph.rows[0].module == IDENTITY and not is_inserted_row(graph.rows[0])
    network = SimpleNamespace(yaml=model_yaml("yolov9e.yaml"), model=nn.Sequential(nn.Identity()))
    assert freezing._stock_rows(network, is_inserted_row) == []


def test_identities_are_rows_of_the_base_except_in_a_study() -> None:
    graph = ModelGraph(model_yaml(BASE))
    graph.insert_after(4, IDENTITY, [])
    model = build(graph.to_document())
    assert freezing._translate(10, model, []) == 10
    graph.insert_after(5, "SE", [])
    variant = build(graph.to_document())
    assert freezing._translate(10, variant, []) == [str(row) for row in (*range(6), *range(7, 11))]
    rows = [str(row) for row in (*range(5), *range(6, 11))]
    assert freezing._translate(10, model, [], is_inserted_row) == rows
    assert find_trainer("detect", rtdetr=False).trains_controls


@pytest.mark.skipif(not hasattr(engine, "DistillationModel"), reason="this release has no distillation")
def test_a_resumed_distillation_freezes_the_rows_of_the_base(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer then sets up the student inside of its wrapper."""
    student = build(model_yaml(VARIANT), nc=1)
    student.args = get_cfg(overrides={"imgsz": 32})
    wrapped = engine.DistillationModel(build(BASE, nc=1), student)
    plain = frozen(set_up(VARIANT, 10, data, tmp_path / "plain"))
    monkeypatch.setattr(DetectionTrainer, "setup_model", lambda self: setattr(self, "model", wrapped))
    found = frozen(set_up(VARIANT, 10, data, tmp_path / "resumed"))
    starts = "student_model."
    assert {name.removeprefix(starts) for name in found if name.startswith(starts)} == plain


@pytest.mark.parametrize("freeze", [10, [0, 6, 15], ["21.cv1", 3, "8.nothing"], None])
def test_the_rows_of_the_base_and_nothing_else(
    freeze: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output: list[str] = []
    monkeypatch.setattr(freezing.LOGGER, "info", output.append)
    base = frozen(set_up(BASE, freeze, data, tmp_path))
    trainer = set_up(VARIANT, freeze, data, tmp_path)
    stock = [i for i, row in enumerate(ModelGraph(model_yaml(VARIANT))) if not is_attention_row(row)]
    expected = set()
    for name in base:
        model, index, *rest = name.split(".")
        expected.add(".".join([model, str(stock[int(index)]), *rest]))
    assert frozen(trainer) == expected
    assert trainer.args.freeze == freeze  # a resumed run gets the original value
    lines = [line for line in output if line.startswith("yolo-attn: freeze")]
    assert len(lines) == (0 if freeze is None else 1)
    if freeze == 10:
        assert lines == [
            "yolo-attn: freeze=10 freezes rows 0-9 of the base, here rows 0-2, 4-10; attention layers stay trainable"
        ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("10", 10),
        ("None", None),
        ("[0,1,22.cv2]", ["0", "1", "22.cv2"]),
        ("['0', \"22.cv2\"]", ["0", "22.cv2"]),
        ("0, 22.cv2", ["0", "22.cv2"]),
        ("22.cv2.0", ["22.cv2.0"]),
    ],
)
def test_what_a_command_line_says(text: str, read: Any) -> None:
    assert freezing.read_freeze(text) == read


@pytest.mark.parametrize("text", ["", "[]", "cv2", "[0,cv2]", "-1", "True"])
def test_what_is_no_list_of_rows(text: str) -> None:
    with pytest.raises(UserError, match="use a number of rows, or a list of rows and names in them"):
        freezing.read_freeze(text)


def test_what_was_frozen_is_said(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output: list[str] = []
    monkeypatch.setattr(freezing.LOGGER, "info", output.append)
    monkeypatch.setattr(freezing.LOGGER, "warning", output.append)
    entries = ["0", 1, "22.cv2", "24", "8.nothing", "0.conv.weight"]
    trainer = set_up(VARIANT, entries, data, tmp_path)
    lines = [line for line in output if line.startswith("yolo-attn: freeze")]
    assert lines == [
        f"yolo-attn: freeze={entries} freezes rows 0-1, 22.cv2, 0.conv.weight of the base, here rows 0-1, 24.cv2, "
        "0.conv.weight; attention layers stay trainable",
        f"yolo-attn: freeze={entries}: this model has no 24, 8.nothing of the base, which is ignored",
    ]
    starts = {".".join(name.split(".")[1 : 3 if "cv2" in name else 2]) for name in frozen(trainer)}
    assert starts - {"24"} == {"0", "1", "24.cv2"}  # and row 24's dfl, which Ultralytics always freezes


def test_more_rows_than_there_are(data: Path, tmp_path: Path) -> None:
    """The whole base is frozen, which Ultralytics rejects without layers that remain trainable."""
    trainer = set_up(VARIANT, 99, data, tmp_path)
    graph = ModelGraph(model_yaml(VARIANT))
    left = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    new = {
        name
        for name, _ in trainer.model.named_parameters()
        if ".attention." in name or is_attention_row(graph.rows[int(name.split(".")[1])])
    }
    assert left == new != set()


@pytest.mark.slow
@pytest.mark.skipif(not tasks.check_yaml("yolo12.yaml", hard=False), reason="this Ultralytics has no YOLO12")
def test_a_parameter_beside_a_layer_is_frozen_too(data: Path, tmp_path: Path) -> None:
    """A block's own parameter that no path names without naming the layer inside the block as well."""
    trainer = set_up("yolo12l.yaml+SE@inside:8", [8], data, tmp_path)
    names = {name for name in frozen(trainer) if name.startswith("model.8.")}
    own = {name for name, _ in trainer.model.named_parameters() if name.startswith("model.8.")}
    assert "model.8.gamma" in names
    assert own - names == {name for name in own if ".attention." in name} != set()


def test_a_part_of_a_replacement_is_not_that_of_the_base() -> None:
    model = build(make_variant("yolo11n.yaml", "RFAConv@replace:3").yaml)
    assert "3.conv" in {name.removeprefix("model.") for name, _ in model.named_modules()}
    assert freezing._translate([1, "1.conv", "3.conv", 3], model, []) == ["1", "1.conv"]
