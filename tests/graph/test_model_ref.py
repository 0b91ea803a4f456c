"""Model references: names of models, with and without placed layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_attn import UserError
from yolo_attn.graph import ModelKind, ModelRef, PlacedLayer, parse_sites
from yolo_attn.graph.placed_layers import parse_placed_layers


@pytest.mark.parametrize(
    ("text", "base", "name"),
    [
        ("yolo11n.yaml+CBAM@neck", "yolo11n.yaml", "yolo11n+CBAM@neck.yaml"),
        ("yolo11n-seg.yaml+CBAM@neck.P4,neck.P5", "yolo11n-seg.yaml", "yolo11n-seg+CBAM@neck.P4,neck.P5.yaml"),
        ("runs/a.b/best.pt+SE@after:4", "runs/a.b/best.pt", "runs/a.b/best.pt+SE@after:4.yaml"),
        ("mine.yml+SE@neck", "mine.yml", "mine.yml+SE@neck.yaml"),
        ("x.yaml+SE+CBAM@neck", "x.yaml", "x+SE+CBAM@neck.yaml"),
        ("x.pt+SE[reduction=8]+CBAM@neck+CA@after:3", "x.pt", "x.pt+SE[reduction=8]+CBAM@neck+CA@after:3.yaml"),
        ("a+b/x.yaml+SE@neck+EMA@inside:C3k2", "a+b/x.yaml", "a+b/x+SE@neck+EMA@inside:C3k2.yaml"),
        ("x.yaml+SE[reduction=8,init=identity]@neck", "x.yaml", "x+SE[reduction=8,init=identity]@neck.yaml"),
        ("/me@lab/x.yaml+SE@neck", "/me@lab/x.yaml", "/me@lab/x+SE@neck.yaml"),
        ("/x.yaml+A@b/x.pt+SE@neck+CA@after:3", "/x.yaml+A@b/x.pt", "/x.yaml+A@b/x.pt+SE@neck+CA@after:3.yaml"),
        ("C:\\me@lab\\x.yaml+SE@neck", "C:\\me@lab\\x.yaml", "C:\\me@lab\\x+SE@neck.yaml"),
        ("yolo11+SE.yaml+CBAM@neck", "yolo11+SE.yaml", "yolo11+SE.yaml+CBAM@neck.yaml"),
        ("my+model.yaml+SE@neck", "my+model.yaml", "my+model.yaml+SE@neck.yaml"),
        ("a/me@lab.yaml+SE@neck", "a/me@lab.yaml", "a/me@lab.yaml+SE@neck.yaml"),
        ("x(1.yaml+SE@neck", "x(1.yaml", "x(1.yaml+SE@neck.yaml"),
    ],
)
def test_the_name_of_a_placed_model_parses_to_the_same_reference(text: str, base: str, name: str) -> None:
    ref = ModelRef.parse(text)
    assert ref.is_placed and (ref.base, ref.name, ref.text) == (base, name, text)
    assert ModelRef.parse(ref.name) == ModelRef.parse(Path(ref.name)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "yolo11n.yaml",
        "yolo11n.pt",
        "a+b/yolo11n.yaml",
        "c++/x.pt",
        "https://host/x.pt+SE@neck",
        "",
        "x+y.yaml",
        "x+SE@b/y.yaml",
        "x.pt+a/y.yaml",
        "x+SE@neck+CBAM.yaml",
    ],
)
def test_other_names_are_not_split(text: str) -> None:
    ref = ModelRef.parse(text)
    assert (ref.base, ref.name, ref.layers, ref.is_placed) == (text, text, [], False)


def test_an_existing_file_is_not_split(fresh_folder: Path) -> None:
    Path("yolo11n+SE@neck.yaml").touch()
    assert not ModelRef.parse("yolo11n+SE@neck.yaml").is_placed


def test_the_name_of_a_placed_model_is_not_that_of_a_file(fresh_folder: Path) -> None:
    Path("yolo11n+SE@neck.yaml").touch()
    ref = ModelRef.parse("yolo11n.yaml+SE@neck")
    assert ref.name == "yolo11n.yaml+SE@neck.yaml"
    assert ModelRef.parse(ref.name) == ref


@pytest.mark.parametrize(
    ("text", "kind", "is_yaml", "is_checkpoint"),
    [
        ("yolo11n.yaml", ModelKind.YAML, True, False),
        ("runs/mine.yml", ModelKind.YAML, True, False),
        ("yolo11n+SE@neck.yaml", ModelKind.YAML, True, False),
        ("best.pt", ModelKind.CHECKPOINT, False, True),
        ("https://host/x.pt", ModelKind.CHECKPOINT, False, True),
        ("best.pt+SE@neck", ModelKind.CHECKPOINT, True, False),
        ("best.onnx", ModelKind.OTHER, False, False),
        ("yolo11n", ModelKind.OTHER, False, False),
    ],
)
def test_kinds(text: str, kind: ModelKind, is_yaml: bool, is_checkpoint: bool) -> None:
    ref = ModelRef.parse(text)
    assert (ref.kind, ref.is_yaml, ref.is_checkpoint) == (kind, is_yaml, is_checkpoint)
    assert ModelRef.parse(ref) is ref


def test_layers_with_options() -> None:
    assert parse_placed_layers("SE[reduction=8,init=identity]@neck.P4,neck.P5+X[k=[3, 5], s=a]@after:3") == [
        PlacedLayer("SE", parse_sites("neck.P4,neck.P5"), {"reduction": 8, "init": "identity"}),
        PlacedLayer("X", parse_sites("after:3"), {"k": [3, 5], "s": "a"}),
    ]


def test_layers_without_sites_have_those_of_the_next() -> None:
    expected = parse_placed_layers("CA@backbone.P5+SE[reduction=8]@neck,after:3+CBAM@neck,after:3")
    assert parse_placed_layers("CA@backbone.P5+SE[reduction=8]+CBAM@neck,after:3") == expected


def test_numbers_with_an_exponent() -> None:
    (layer,) = parse_placed_layers("X[a=1e-4,b=[2E3, '1e-4'],c=.5e+1,d=1e,e=\"1e-4\"]@neck")
    assert layer.options == {"a": 1e-4, "b": [2000.0, "1e-4"], "c": 5.0, "d": "1e", "e": "1e-4"}


def test_stems() -> None:
    assert ModelRef.parse("runs/yolo11n.yaml").stem == "yolo11n"
    assert ModelRef.parse("yolo11n.yaml+SE@neck.P4+CBAM@backbone").stem == "yolo11n-se-cbam"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CBAM", "variant 'CBAM': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@neck+", "variant '': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@neck+CBAM", "variant 'CBAM': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@+CBAM@neck", "variant 'SE@': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@", "variant 'SE@': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE[8]@neck", "variant 'SE[8]@neck': '8' is not option=value"),
        (
            "SE[reduction=8, reduction=4]@neck",
            "variant 'SE[reduction=8, reduction=4]@neck': reduction is given twice; write it once",
        ),
        ("SE[reduction={]@neck", "'{' is not a valid YAML value"),
    ],
)
def test_invalid_placed_layers(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_placed_layers(text)
    assert str(caught.value) == message
