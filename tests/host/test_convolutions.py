"""Convolutions with attention in the place of stock rows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.host.helpers import build
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.linting import lint
from yolo_attn.host.placement import place_layer
from yolo_attn.host.transfer import last_transfer
from yolo_attn.study.specification.controls import null_model


def variant(row: list[Any], index: int = 3, base: str = "yolo11n.yaml") -> dict[str, Any]:
    """Return a base with one row of its backbone written by hand."""
    document = copy.deepcopy(model_yaml(base))
    document["backbone"][index] = row
    return document


def tensors_of(row: int, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(f"model.{row}.")}


@pytest.mark.parametrize("args", [[256, {"stride": 2}], [256, 3, 2], [{"out_channels": 256, "stride": 2}]])
def test_a_row_takes_width_and_stride_like_conv(args: list[Any]) -> None:
    model, base = build(variant([-1, 1, "RFAConv", args])), build(model_yaml("yolo11n.yaml"))
    layer = model.model[3]
    assert (layer.channels, layer.out_channels, layer.stride) == (64, 64, 2)  # 256 channels at the scale n
    assert torch.equal(model.stride, base.stride)
    own, others = model.state_dict(), base.state_dict()
    assert own.keys() - others.keys() == tensors_of(3, set(own)) - tensors_of(3, set(others))
    different = {name for name, value in others.items() if name not in own or not torch.equal(own[name], value)}
    assert different == tensors_of(3, set(others))  # the random numbers of later rows are those of the base


def test_another_kernel_size_leaves_the_initial_weights_of_later_rows() -> None:
    placed = place_layer("yolo11n.yaml", "RFAConv", "replace:3", {"kernel_size": 5})
    assert placed.document["backbone"][3] == [-1, 1, "RFAConv", [256, 3, 2, {"kernel_size": 5}]]
    model, base = build(placed.document), build(model_yaml("yolo11n.yaml"))
    assert (model.model[3].kernel_size, model.model[3].stride) == (5, 2)
    own, others = model.state_dict(), base.state_dict()
    different = {name for name, value in others.items() if name not in own or not torch.equal(own[name], value)}
    assert different == tensors_of(3, set(others))


def test_placed_in_the_place_of_a_row_all_other_tensors_transfer() -> None:
    placed = place_layer("yolo11n.yaml", "RFAConv", "replace:3,replace:7", {"activation": "silu"})
    assert placed.document["backbone"][7] == [
        -1,
        1,
        "RFAConv",
        [1024, {"kernel_size": 3, "stride": 2, "activation": "silu"}],
    ]
    assert placed.transfer() == (499 - 12, 499)
    assert "row   3: Conv -> RFAConv, read by 1 row" in placed.summary()
    assert "487/499 base tensors transfer into their own layers (the others were those of row 3, row 7)" in str(placed)
    base = build(model_yaml("yolo11n.yaml"), seed=1)
    model = build(placed.document)
    model.load(base)
    report = last_transfer(model)
    assert report is not None and (report.base, report.arrived) == (487, 487)
    assert report.new == ("row 3 RFAConv", "row 7 RFAConv")
    back = build(model_yaml("yolo11n.yaml"), seed=2)
    back.load(model)
    report = last_transfer(back)
    assert report is not None and (report.base, report.arrived) == (499, 487)


def test_a_variant_gives_its_own_convolution_and_the_layers_after_it() -> None:
    document = make_variant("yolo11n.yaml", "RFAConv@replace:3+SE@after:3").yaml
    source, model = build(document, seed=1), build(document)
    model.load(source)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())
    report = last_transfer(model)
    assert report is not None and report.new == () and report.attention_arrived == report.attention > 0


def test_an_inserted_convolution_keeps_the_shape_and_all_tensors_of_the_base() -> None:
    placed = place_layer("yolo11n.yaml", "RFAConv", "neck.P5", {"init": "identity"})
    assert placed.transfer() == (499, 499)
    base, model = build(model_yaml("yolo11n.yaml"), seed=1).eval(), build(placed.document).eval()
    model.load(base)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(x)[0], base(x)[0])


def test_stride_1_is_not_a_replacement() -> None:
    base = model_yaml("yolo11n.yaml")
    model = make_variant("yolo11n.yaml", "RFAConv[stride=1]@after:4").yaml
    rows = null_model(base, [model])["backbone"]
    assert isinstance(rows, list) and rows[5][2] == "nn.Identity"


def test_the_null_control_has_no_identity_for_a_replacement() -> None:
    base = model_yaml("yolo11n.yaml")
    variants = [make_variant("yolo11n.yaml", text).yaml for text in ("RFAConv@replace:3", "SE@after:4")]
    rows = null_model(base, variants)["backbone"]
    assert isinstance(rows, list) and [row[2] for row in rows].index("nn.Identity") == 5
    with pytest.raises(UserError, match="a new row of attention"):
        null_model(base, variants[:1])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([256, 3, 2, 1], "RFAConv takes out_channels, kernel_size, stride like Conv"),
        ([256, 3.0], "RFAConv takes out_channels, kernel_size, stride like Conv"),
        ([256, {"out_channels": 256}], "RFAConv has out_channels twice"),
        ([256, {"stride": 0}], "RFAConv: stride=0; use a positive integer"),
        ([256, {"kernel_size": 4, "stride": 2}], "RFAConv: kernel_size=4; use an odd integer"),
        ([256, {"stride": 2, "init": "identity"}], "RFAConv: init=identity; use init=paper, because"),
        ([256, {"k": 3}], "RFAConv has no option 'k'; did you mean kernel_size?"),
        ([256, {"stride": 3}], "row 3 RFAConv has stride 3"),
    ],
)
def test_an_invalid_row(args: list[Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(variant([-1, 1, "RFAConv", args]))
    assert str(caught.value).startswith("row ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stride", "message"),
    [
        (1, "row 3: RFAConv has stride 1; the Conv in its place in yolo11.yaml has 2"),
        (3, "row 3: RFAConv has stride 3; the Conv in its place in yolo11.yaml has 2"),
    ],
)
def test_lint_reports_another_stride_than_that_of_the_base(stride: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "yolo11n-rfa.yaml"
    file.write_text(yaml.safe_dump(variant([-1, 1, "RFAConv", [256, 3, stride]])))
    assert message in [finding.text.partition("; write")[0] for finding in lint(file)]
    file.write_text(yaml.safe_dump(variant([-1, 1, "RFAConv", [256, 3, 2]])))
    assert lint(file) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["layer=SE", "at=replace:3"], "SE has no width and stride, so it cannot replace a row; place it at after:3"),
        (["layer=RFAConv", "at=replace:4"], "row 4: C3k2 cannot be replaced by RFAConv"),
        (["layer=RFAConv", "at=replace:40"], "this model's rows before the head are 0 to 22"),
        (["layer=RFAConv", "at=replace:3", "stride=1"], "stride=1, but row 3 has 2"),
        (["layer=RFAConv", "at=neck", "stride=2"], "stride=2 at 'neck', whose consumers need the size of the map"),
        (["layer=RFAConv", "at=neck", "out_channels=64"], "out_channels=64 at 'neck', where it keeps the channels"),
        (["layer=RFAConv", "at=inside:C3k2", "stride=2"], "place it at replace:N"),
    ],
)
def test_a_place_that_a_layer_cannot_take(words: list[str], message: str, fresh_folder: Path, capsys) -> None:
    assert main(["place", "model=yolo11n.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(fresh_folder.iterdir()) == []


def test_a_convolution_inside_a_block_keeps_the_shape() -> None:
    build(variant([-1, 2, "C3k2+RFAConv", [256, False, 0.25]], 2))
    for options in ({"stride": 2}, {"out_channels": 32}):
        with pytest.raises(UserError, match="keeps the shape of the map, so RFAConv takes no"):
            build(variant([-1, 2, "C3k2+RFAConv", [256, False, 0.25, options]], 2))
