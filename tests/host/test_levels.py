"""Rows with several outputs: DyHead and the rows of Level that read it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO

from tests.host.helpers import build
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.linting import lint
from yolo_attn.host.placement import place_layer
from yolo_attn.host.transfer import last_transfer
from yolo_attn.layers import DyHead
from yolo_attn.study.specification.controls import null_model

OPTIONS = {"width": 32, "init": "identity"}
X = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return place_layer("yolo11n.yaml", "DyHead", "head", OPTIONS).document


def test_place_adds_the_row_and_one_for_each_level(document: dict[str, Any]) -> None:
    assert document["head"][-5:] == [
        [[16, 19, 22], 1, "DyHead", [OPTIONS]],
        [23, 1, "Level", [0]],
        [23, 1, "Level", [1]],
        [23, 1, "Level", [2]],
        [[24, 25, 26], 1, "Detect", ["nc"]],
    ]
    assert row_strides(document)[23:27] == [None, 8, 16, 32]
    placed = place_layer("yolo11n.yaml", "DyHead", "head", OPTIONS)
    assert "row  23: DyHead before the head, reads rows 16, 19, 22, returns 3 levels" in placed.summary()
    assert placed.transfer() == (499, 499)


def test_from_the_identity_it_gives_the_outputs_of_the_base(document: dict[str, Any]) -> None:
    base, model = build(model_yaml("yolo11n.yaml"), seed=1).eval(), build(document).eval()
    model.load(base)
    report = last_transfer(model)
    assert report is not None and (report.base, report.arrived, report.new) == (499, 499, ("row 23 DyHead",))
    assert torch.equal(model(X)[0], base(X)[0])
    other = build(document, seed=2)
    other.load(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


def trained(document: dict[str, Any]) -> torch.nn.Module:
    """Return the model with a head of random gammas, so that the levels differ from those of the base."""
    model = build(document).eval()
    layer = model.model[23]
    assert isinstance(layer, DyHead) and layer.gamma is not None
    torch.nn.init.normal_(layer.gamma, generator=torch.Generator().manual_seed(0))
    return model


def test_it_survives_fusing_copies_and_another_memory_format(document: dict[str, Any]) -> None:
    model = trained(document)
    y = model(X)[0]
    for changed in (
        copy.deepcopy(model),
        copy.deepcopy(model).fuse(verbose=False),
        copy.deepcopy(model).to(memory_format=torch.channels_last),
    ):
        assert (changed(X)[0] - y).abs().max() < 1e-3 * y.abs().max()


@pytest.mark.slow
def test_it_survives_checkpoints_and_export(document: dict[str, Any], tmp_path: Path) -> None:
    model = trained(document)
    y = model(X)[0]
    torch.save({"model": model, "train_args": {}}, tmp_path / "a.pt")
    loaded = YOLO(tmp_path / "a.pt")
    assert torch.equal(loaded.model.eval()(X)[0], y)  # type: ignore[union-attr, operator]
    onnxruntime = pytest.importorskip("onnxruntime")
    file = loaded.export(format="onnx", imgsz=(64, 96), dynamic=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for x in (X, torch.rand(2, 3, 96, 64)):
        expected = model(x)[0]
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_layers_can_follow_a_level(document: dict[str, Any], tmp_path: Path) -> None:
    variant = make_variant("yolo11n.yaml", "DyHead[width=32]@head+SE@neck").yaml
    assert [row[2] for row in variant["head"]].count("SE") == 3
    build(variant)
    placed = place_layer("yolo11n.yaml", "DyHead", "head", OPTIONS)
    assert lint(placed.save(tmp_path / "yolo11n-mine.yaml")) == []


def test_levels_attend_to_their_neighbors(document: dict[str, Any]) -> None:
    """A level depends on itself and its neighbors, and with two blocks on their neighbors."""
    for blocks, reached in ((1, [True, True, False]), (2, [True, True, True])):
        layer = DyHead([8, 8, 8], True, blocks=blocks)
        for block in layer.blocks:  # the initial weights are small
            for parameter in block.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        xs = [torch.randn(1, 8, n, n, requires_grad=True) for n in (8, 4, 2)]
        layer(xs)[0].square().sum().backward()
        assert [bool(x.grad is not None and x.grad.any()) for x in xs] == reached


@pytest.mark.parametrize(
    ("row", "args", "message"),
    [
        (23, [], "row 23: DyHead: channels=[64, 128, 256]; use levels of the same channels, or width=64, which brings"),
        (24, [], "row 24: Level reads one row and takes the number of its map: write [23, 1, Level, [0]]"),
        (24, [3], "row 24: Level: row 23 returns 3 maps, so 3 is not one"),
    ],
)
def test_an_invalid_row(row: int, args: list[Any], message: str, document: dict[str, Any]) -> None:
    wrong = copy.deepcopy(document)
    wrong["head"][row - 11][3] = args
    with pytest.raises(UserError) as caught:
        build(wrong)
    assert message in str(caught.value)


def test_a_row_that_reads_all_maps(document: dict[str, Any]) -> None:
    wrong = copy.deepcopy(document)
    wrong["head"][-1][0] = [23, 25, 26]
    with pytest.raises(UserError, match=r"Detect reads all maps of row 23; let it read a row of Level"):
        build(wrong)
    wrong["head"][-1][0] = [24, 25, 26]
    wrong["head"][-4][0] = 19
    with pytest.raises(UserError, match="row 24: Level"):
        build(wrong)


def test_levels_in_the_wrong_order_name_the_fix() -> None:
    document = copy.deepcopy(model_yaml("yolo11n.yaml"))
    document["head"].insert(-1, [[16, 19, 22], 1, "DyHead", [{"width": 16}]])
    document["head"][-1][0] = [23, 19, 22]
    with pytest.raises(UserError, match=r"row 23: DyHead: reads heights .* read each one with a row of Level"):
        build(document)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["layer=SE", "at=head"], "site 'head': SE reads one row; place it at 'neck', or choose DyHead"),
        (["layer=DyHead", "at=neck"], "site 'neck': DyHead reads all levels together; place it at 'head'"),
        (["layer=DyHead", "at=head"], "channels=[64, 128, 256]; use levels of the same channels, or width=64"),
    ],
)
def test_a_place_that_a_layer_cannot_take(words: list[str], message: str, fresh_folder: Path, capsys) -> None:
    assert main(["place", "model=yolo11n.yaml", *words, "out=mine.yaml"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_head_that_reads_past_the_levels_is_repaired(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = Path("dyhead-yolo11n.yaml")
    place_layer("yolo11n.yaml", "DyHead", "head", OPTIONS).save(right)
    assert main(["lint", f"model={right}", "fix=True"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    text = right.read_text()
    Path("past-yolo11n.yaml").write_text(text.replace("[24, 25, 26], 1, Detect", "[16, 19, 22], 1, Detect"))
    assert "Detect reads row 19, past Level in row 25" in " ".join(map(str, lint("past-yolo11n.yaml")))
    assert main(["lint", "model=past-yolo11n.yaml", "fix=True", "out=fixed-yolo11n.yaml"]) == 0
    assert Path("fixed-yolo11n.yaml").read_text() == text
    Path("none-yolo11n.yaml").write_text(text.replace("[23, 1, Level, [2]]", "[23, 1, Level, [3]]"))
    capsys.readouterr()
    assert main(["lint", "model=none-yolo11n.yaml", "fix=True"]) == 2
    assert "row 26: Level: row 23 returns 3 maps, so 3 is not one" in capsys.readouterr().err


def test_layers_at_the_end_of_the_neck_are_before_the_head_whatever_the_order() -> None:
    texts = ("SE@neck+DyHead[width=32]@head", "DyHead[width=32]@head+SE@neck")
    one, other = (make_variant("yolo11n.yaml", text).yaml for text in texts)
    assert one == other
    assert one["head"][-5][0] == [17, 21, 25]


def test_the_null_control_has_an_identity_for_each_level(document: dict[str, Any]) -> None:
    rows = null_model(model_yaml("yolo11n.yaml"), [document])["head"]
    assert isinstance(rows, list)
    assert [rows[i - 11][2] for i in (17, 21, 25)] == ["nn.Identity"] * 3
    assert rows[-1][0] == [17, 21, 25]
