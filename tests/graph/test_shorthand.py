"""Variants by shorthand: what a name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_attn import UserError
from yolo_attn.graph.shorthand import PlacedLayer, read_placed_layers, read_shorthand, stem_of


@pytest.mark.parametrize(
    ("text", "base", "name"),
    [
        ("yolo11n.yaml+CBAM@neck", "yolo11n.yaml", "yolo11n+CBAM@neck.yaml"),
        ("yolo11n-seg.yaml+CBAM@neck.P4,neck.P5", "yolo11n-seg.yaml", "yolo11n-seg+CBAM@neck.P4,neck.P5.yaml"),
        ("runs/a.b/best.pt+SE@after:4", "runs/a.b/best.pt", "runs/a.b/best.pt+SE@after:4.yaml"),
        ("mine.yml+SE@neck", "mine.yml", "mine.yml+SE@neck.yaml"),
        ("a+b/x.yaml+SE@neck+EMA@inside:C3k2", "a+b/x.yaml", "a+b/x+SE@neck+EMA@inside:C3k2.yaml"),
        ("x.yaml+SE[reduction=8,init=identity]@neck", "x.yaml", "x+SE[reduction=8,init=identity]@neck.yaml"),
        ("/me@lab/x.yaml+SE@neck", "/me@lab/x.yaml", "/me@lab/x+SE@neck.yaml"),
        ("/x.yaml+A@b/x.pt+SE@neck+CA@after:3", "/x.yaml+A@b/x.pt", "/x.yaml+A@b/x.pt+SE@neck+CA@after:3.yaml"),
        ("C:\\me@lab\\x.yaml+SE@neck", "C:\\me@lab\\x.yaml", "C:\\me@lab\\x+SE@neck.yaml"),
    ],
)
def test_a_variants_name_says_the_same_again(text: str, base: str, name: str) -> None:
    first = read_shorthand(text)
    assert first is not None and (first.base, first.name) == (base, name)
    again = read_shorthand(first.name)
    assert again == first
    assert read_shorthand(Path(first.name)) == first


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
    ],
)
def test_other_names_are_none(text: str) -> None:
    assert read_shorthand(text) is None


def test_a_file_of_that_name_comes_first(fresh_folder: Path) -> None:
    Path("yolo11n+SE@neck.yaml").touch()
    assert read_shorthand("yolo11n+SE@neck.yaml") is None


def test_layers_with_options() -> None:
    assert read_placed_layers("SE[reduction=8,init=identity]@neck.P4,neck.P5+X[k=[3, 5], s=a]@after:3") == [
        PlacedLayer("SE", "neck.P4,neck.P5", {"reduction": 8, "init": "identity"}),
        PlacedLayer("X", "after:3", {"k": [3, 5], "s": "a"}),
    ]


def test_numbers_with_an_exponent() -> None:
    (layer,) = read_placed_layers("X[a=1e-4,b=[2E3, '1e-4'],c=.5e+1,d=1e,e=\"1e-4\"]@neck")
    assert layer.options == {"a": 1e-4, "b": [2000.0, "1e-4"], "c": 5.0, "d": "1e", "e": "1e-4"}


def test_stems() -> None:
    assert stem_of("runs/yolo11n.yaml") == "yolo11n"
    assert stem_of("yolo11n.yaml+SE@neck.P4+CBAM@backbone") == "yolo11n-se-cbam"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CBAM", "variant 'CBAM': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@neck+", "variant '': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE@", "variant 'SE@': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("SE[8]@neck", "variant 'SE[8]@neck': '8' is not option=value"),
        ("SE[reduction={]@neck", "'{' is not a value that a YAML can hold"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_placed_layers(text)
    assert str(caught.value) == message
