"""The candidates of a search: layers at sites, and pairs of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.selection.helpers import TINY
from yolo_attn.errors import UserError
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.geometry import row_strides, run_on_meta
from yolo_attn.layers.base import Gate
from yolo_attn.registry import FAMILIES, list_layers, register_layer, unregister_layer
from yolo_attn.selection.candidates import Candidate, default_sites, list_candidates, pairs_of
from yolo_attn.study.specification.arguments import parse_variants


@pytest.fixture
def base(tmp_path: Path) -> str:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return str(file)


def labels(candidates: list[Candidate]) -> list[str]:
    return [candidate.label for candidate in candidates]


def test_names_labels_layers_and_sites(base: str) -> None:
    plain, with_option = list_candidates(base, "SE,CBAM[reduction=8]", "neck.P3")
    assert plain == Candidate("SE[init=identity]@neck.P3", "SE@neck.P3", ("SE",), ("neck.P3",))
    assert with_option.name == "CBAM[reduction=8,init=identity]@neck.P3"
    assert with_option.label == "CBAM[reduction=8]@neck.P3"
    assert with_option.layers == ("CBAM",)


def test_a_name_is_a_variant_of_compare(base: str) -> None:
    single = list_candidates(base, "SE,LSKA[kernel_size=11]", "neck,backbone.P4,inside:C3k2")
    names = [candidate.name for candidate in (*single, *pairs_of(single))]
    assert parse_variants(",".join(names)) == tuple(names)
    for name in names:
        row_strides(make_variant(base, name).yaml)  # builds it


def test_the_order_is_that_of_the_layers(base: str) -> None:
    found = labels(list_candidates(base, ["EMA", "SE"], ["neck.P4", "neck.P3"]))
    assert found == ["EMA@neck.P4", "EMA@neck.P3", "SE@neck.P4", "SE@neck.P3"]


def test_equal_models_are_one_candidate(base: str) -> None:
    written = "SE,se,SE[reduction=16],SE[reduction=16.0,init=identity],SE[reduction=8],SEAttention"
    assert labels(list_candidates(base, written, "neck.P4,neck.P4")) == ["SE@neck.P4", "SE[reduction=8]@neck.P4"]
    assert labels(list_candidates(base, "SE", "backbone.P4,backbone.end,after:5")) == ["SE@backbone.P4"]
    assert labels(list_candidates(base, "SE", "backbone.end,backbone.P4")) == ["SE@backbone.end"]


def test_families_patterns_and_all(base: str) -> None:
    channel = [f"{spec.name}@neck" for spec in list_layers(family="channel")]
    assert labels(list_candidates(base, "channel", "neck")) == channel
    assert labels(list_candidates(base, "CBAM*,SE", "neck"))[-1] == "SE@neck"
    every = list_candidates(base, "all", "neck")
    able = [spec.name for spec in list_layers() if spec.family not in ("fusion", "convolution") and spec.built_in]
    assert [candidate.layers[0] for candidate in every] == able


def test_default_sites(base: str) -> None:
    assert default_sites(model_yaml(base)) == [
        *("neck", "neck.P3", "neck.P4", "backbone.P4", "backbone.end", "inside:C3k2")
    ]
    assert labels(list_candidates(base, "SE")) == [
        *("SE@neck", "SE@neck.P3", "SE@neck.P4", "SE@backbone.P4", "SE@inside:C3k2")
    ]


@pytest.mark.parametrize(
    ("model", "block"), [("yolo11n.yaml", "C3k2"), ("yolov8n.yaml", "C2f"), ("yolov5n.yaml", "C3")]
)
def test_the_main_block(model: str, block: str) -> None:
    assert default_sites(model_yaml(model)) == [
        *("neck", "neck.P3", "neck.P4", "neck.P5", "backbone.P4", "backbone.P5", "backbone.end", f"inside:{block}")
    ]


@pytest.mark.parametrize(
    ("layers", "at", "problem"),
    [
        ("fusion", "neck", "layers=fusion: none of these can be a candidate; AFF reads 2 rows"),
        ("convolution", "neck", "is a convolution with a width of its own"),
        ("DyHead", "neck", "layers=DyHead: DyHead reads 3 rows, but a candidate is placed at one"),
        ("ASFF", "neck", "ASFF reads 2 or more rows"),
        ("ODConv", "neck", "ODConv is a convolution with a width of its own"),
        ("SE[init=paper]", "neck", "all candidates begin as the identity; omit init"),
        ("SE[redction=8]", "neck", "SE has no option 'redction'; did you mean reduction?"),
        ("SE[8]", "neck", "'8' is not option=value"),
        ("SE@neck", "neck", "layer 'SE@neck': write Layer or Layer[option=value]"),
        ("channel[reduction=8]", "neck", "options are those of one layer"),
        ("chanel", "neck", "unknown layer 'chanel'; did you mean channel?"),
        ("Skynet", "neck", "unknown layer 'Skynet'; yolo-attn layers lists the layers"),
        ("C3k2_SE", "neck", "did you mean layers=SE at=inside:C3k2?"),
        ("Q*", "neck", "layers=Q*: no such layer"),
        ("", "neck", "layers= is empty"),
        ("SE,,CBAM", "neck", "has an empty item"),
        ("SE", "neck,", "at= is empty or has an empty item"),
        ("SE", "neck.P9", "no site 'neck.P9' in this model; did you mean"),
        ("SE", "head", "site 'head': SE reads one row"),
        ("SE", "replace:0", "SE has no width and stride"),
    ],
)
def test_what_is_no_candidate_is_one_clear_line(base: str, layers: str, at: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        list_candidates(base, layers, at)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


class _Plain(Gate):
    """A custom layer without the option `init`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)


@pytest.fixture
def plain_layer() -> Iterator[str]:
    register_layer(family="channel", summary="a gate", name="PlainGate")(_Plain)
    yield "PlainGate"
    unregister_layer("PlainGate")


def test_a_layer_without_identity(base: str, plain_layer: str) -> None:
    assert f"{plain_layer}@neck" not in labels(list_candidates(base, "channel", "neck"))
    with pytest.raises(UserError, match="PlainGate has no option init, so it cannot begin as the identity"):
        list_candidates(base, plain_layer, "neck")


def test_pairs_have_different_sites(base: str) -> None:
    single = list_candidates(base, "SE,CBAM", "neck,neck.P4,backbone.P4", pairs=True)
    pairs = pairs_of(single)
    assert len(pairs) == 8
    assert labels(pairs)[:2] == ["SE@neck+SE@backbone.P4", "SE@neck+CBAM@backbone.P4"]
    assert pairs[0].name == "SE[init=identity]@neck+SE[init=identity]@backbone.P4"
    assert (pairs[1].layers, pairs[1].sites) == (("SE", "CBAM"), ("neck", "backbone.P4"))
    assert len({frozenset(label.split("+")) for label in labels(pairs)}) == len(pairs)
    assert pairs_of([*single, *pairs]) == pairs
    with pytest.raises(UserError, match=r"pairs=True: no two of the sites are separate \(neck, neck.P4\)"):
        list_candidates(base, "SE,CBAM", "neck,neck.P4", pairs=True)


@pytest.mark.slow
def test_every_layer_builds_at_all_default_sites_of_yolo11n() -> None:
    found = list_candidates("yolo11n.yaml", "all")
    by_layer: dict[str, list[str]] = {}
    for candidate in found:
        by_layer.setdefault(candidate.layers[0], []).append(candidate.name)
    assert by_layer.keys() >= {
        spec.name
        for spec in list_layers()
        if spec.built_in and spec.family in set(FAMILIES) - {"fusion", "convolution"}
    }
    assert {len(names) for names in by_layer.values()} == {7}
    problems = {}
    for layer, names in by_layer.items():
        try:
            run_on_meta(make_variant("yolo11n.yaml", "+".join(names)).yaml, 64, with_head=True)
        except Exception as error:
            problems[layer] = str(error)
    assert problems == {}
