"""`export=`: candidates that a format carries."""

from __future__ import annotations

import pytest

from yolo_attn.errors import UserError
from yolo_attn.exports import TITLES, read_cells
from yolo_attn.registry import list_layers
from yolo_attn.selection.candidates import Candidate
from yolo_attn.selection.export import check_export, parse_export


def candidate(*layers: str) -> Candidate:
    name = "+".join(f"{layer}@neck" for layer in layers)
    return Candidate(name, name, layers, ("neck",) * len(layers))


def test_formats() -> None:
    assert [parse_export(text) for text in (None, "", "ONNX", "tflite", *TITLES)] == [
        None,
        None,
        "onnx",
        "litert",
        *TITLES,
    ]
    with pytest.raises(UserError, match=r"export=onx: layers are measured in torchscript, onnx, .*; did you mean onnx"):
        parse_export("onx")
    with pytest.raises(UserError, match="export=coreml: layers are measured in torchscript"):
        parse_export("coreml")


def test_a_layer_that_a_format_cannot_carry_is_dropped_with_the_reason() -> None:
    good, bad, both = candidate("SE[init=identity]"), candidate("BRA[init=identity]"), candidate("SE", "BRA")
    reasons, notes = check_export([good, bad, both], "ncnn")
    line = "BRA in NCNN: NCNN has no topk and no indexing by a tensor. Export to OpenVINO."
    assert reasons == {bad.name: line, both.name: line}
    assert notes == []
    assert check_export([good, bad, both], "onnx") == ({}, [])


def test_layers_that_are_not_measured_or_differ_slightly_are_kept() -> None:
    names = ["AFGC", "ASSA", "SE", "Unknown", "EMA[groups=1]"]
    assert check_export([candidate(name) for name in names], "litert") == (
        {},
        ["not measured in LiteRT: 4 layers, kept"],
    )
    assert check_export([candidate("SK"), candidate("CPCA")], "ncnn") == (
        {},
        ["not exact in NCNN, with differences up to 4e-03: 2 layers, kept"],
    )


def test_a_layer_is_measured_with_its_default_options() -> None:
    default, other = candidate("EMA[init=identity]"), candidate("EMA[groups=1,init=identity]")
    reasons, notes = check_export([default, other], "ncnn")
    assert list(reasons) == [default.name]
    assert notes == ["not measured in NCNN: 1 layer, kept"]


@pytest.mark.parametrize("form", TITLES)
def test_the_verdicts_are_those_of_the_record(form: str) -> None:
    layers = [candidate(spec.name) for spec in list_layers() if spec.built_in]
    reasons, _ = check_export(layers, form)
    refused = {layer for (other, layer), cell in read_cells().items() if other == form and cell.verdict == "no"}
    assert {name.partition("@")[0] for name in reasons} == refused
    assert not [reason for reason in reasons.values() if "\n" in reason or "*" in reason or "/" in reason]
