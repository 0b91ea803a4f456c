"""Lint: it finds each planted mistake, names row and cure, and is silent where nothing is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import yaml
from torch import nn

from tests.host.helpers import build
from yolo_attn import register_layer
from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph
from yolo_attn.host.linting import lint
from yolo_attn.host.variant import model_yaml
from yolo_attn.paths import config_folder
from yolo_attn.registry import unregister_layer

STOCK = sorted(p.name for p in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
SEVERAL = ("yolov5n", "yolov8n-seg", "yolov9t", "yolo11n-pose", "yolov10n", "rtdetr-l", "yolov8s-world")


def with_cbam(after: int = 4, base: str = "yolov8n.yaml") -> dict[str, Any]:
    graph = ModelGraph(model_yaml(base))
    graph.insert_after(after, "CBAM", [])
    return graph.to_document()


CURE = re.compile(r"was the index shifted\?|let |each has to be|cannot take what it reads")


def found(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return [str(f) for f in lint(path)]


@pytest.mark.parametrize("name", STOCK)
def test_stock_models_are_clean(name: str) -> None:
    assert lint(name) == []


@pytest.mark.parametrize("family", ["yolov8", *(pytest.param(f, marks=pytest.mark.slow) for f in ("yolo11", "yolo26"))])
def test_our_configs_are_clean(family: str) -> None:
    paths = sorted(config_folder().glob(f"{family}-*.yaml"))
    assert paths
    if f"{family}.yaml" in STOCK:
        assert [p.name for p in paths if lint(p)] == []


def test_correct_insertions_are_clean_at_every_position(tmp_path: Path) -> None:
    for after in range(22):
        assert found(with_cbam(after), tmp_path) == [], after


def unshifted(document: dict[str, Any], after: int) -> dict[str, Any]:
    """Put a row in and change no number, as everyone does once."""
    document = copy.deepcopy(document)
    length = len(document["backbone"])
    section, at = ("backbone", after) if after < length else ("head", after - length)
    document[section].insert(at + 1, [-1, 1, "CBAM", []])
    return document


@pytest.mark.parametrize("name", SEVERAL)
def test_unshifted_indices_are_found_at_every_position(name: str, tmp_path: Path) -> None:
    """The network builds and is another one, and wherever it is another, that is found."""
    base = model_yaml(f"{name}.yaml")
    for after in range(len(base["backbone"]) + len(base["head"]) - 1):
        document, right = unshifted(base, after), ModelGraph(base)
        right.insert_after(after, "CBAM", [])
        same = [row.sources for row in right] == [row.sources for row in ModelGraph(document)]
        findings = found(document, tmp_path)
        assert bool(findings) != same, after
        assert all(CURE.search(finding) for finding in findings), findings


@pytest.mark.parametrize("name", SEVERAL)
def test_a_reader_left_behind_is_found_whichever_it_is(name: str, tmp_path: Path) -> None:
    """Shifted, but one reader still takes the row before the layer: it bypasses it, or leaves it dead."""
    base = ModelGraph(model_yaml(f"{name}.yaml"))
    for after in (base.backbone_length - 2, *base.rows[base.head_index].sources):
        for reader in base.readers(after):
            graph = ModelGraph(model_yaml(f"{name}.yaml"))
            new = graph.insert_after(after, "CBAM", [])
            row = graph.rows[reader + 1]
            row.sources = [after if s == new else s for s in row.sources]
            row.relative = [False for _ in row.sources]
            findings = found(graph.to_document(), tmp_path)
            alone = base.readers(after) == [reader]
            words = f"row {new}: CBAM is read by nobody" if alone else f"past CBAM in row {new}; let it read row {new}"
            assert any(words in finding for finding in findings), (after, reader, findings)


def test_an_unshifted_index_is_named_with_its_row_and_cure(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][1][0] = [-1, 6]  # the backbone's P4 is row 7 now
    (finding,) = found(document, tmp_path)
    assert finding == (
        "row 12: Concat reads row 6 (Conv); in yolov8.yaml it reads the C2f that is row 7 here: was the index shifted?"
    )


def test_a_skip_past_the_layer(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][4][0] = [-1, 4]
    (finding,) = found(document, tmp_path)
    assert finding == "row 15: Concat reads row 4, past CBAM in row 5; let it read row 5, unless that is meant"


def test_a_dead_row_before_the_head(tmp_path: Path) -> None:
    document = with_cbam(21)
    document["head"][-1][0] = [15, 18, 21]
    findings = found(document, tmp_path)
    assert any(f.startswith("row 22: CBAM is read by nobody") for f in findings)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-1, 1, "Cbam", []], "row 5: unknown layer 'Cbam'; did you mean CBAM?"),
        ([-1, 1, "CBAM", [256]], "row 5: CBAM takes its options by name"),
        ([-1, 1, "CBAM", [{"mode": "n"}]], "row 5: CBAM has no option 'mode'"),
        ([-1, 1, "CBAM", [{"reduction": -1}]], "row 5: CBAMChannel: reduction=-1"),
        ([[-1, 3], 1, "CBAM", []], "row 5: CBAM reads 1 input, not 2; join them in a row of Concat before it"),
        ([-1, 1, "GMU", []], "row 5: GMU reads several rows; write their numbers as a list, as in [-1, N]"),
        ([-1, 1, "CBAM", ["n"]], "row 5: CBAM takes its options by name, in one mapping, and no channels"),
        ([-1, 1, "CBAM", ["avg pool"]], "row 5: CBAM takes its options by name, in one mapping, and no channels"),
        ([-1, 1, "CBAM", [{"start": "n"}]], "row 5: CBAMChannel: start=n; use"),
        ([-1, 1, "nn.Conf2d", []], "row 5: unknown layer 'nn.Conf2d'; did you mean nn.Conv2d?"),
        ([[-1, 3], 1, "Conv", [64]], "row 5: Conv reads one row, not 2; join them in a row of Concat before it"),
        (
            [-1, 1, "Conv", [64, "n"]],
            "row 5: Conv: Ultralytics would replace 'n' by its parser's variable n; write",
        ),
        ([-1, 1, "Conv", [64, "ch"]], "row 5: Conv: Ultralytics would replace 'ch' by its parser's variable ch; write"),
        ([-1, 1, "Conv", [64, "3x3"]], "row 5: Conv cannot be built with [64, 3x3]: a string among them is no value"),
        ([-1, 1, "C2f+CBAM", [64, True, {"mode": 1}]], "row 5: CBAM has no option 'mode'"),
        ([-1, 1, "C2f+Cbam", [64, True]], "row 5: unknown layer 'Cbam' in 'C2f+Cbam'; did you mean CBAM?"),
        ([[-1, 2], 1, "Concat", [1]], "row 5: Concat cannot take what it reads: "),
        ([-1, 3, "CBAM", []], "row 5: CBAM is not repeated"),
        ([30, 1, "CBAM", []], "row 5: CBAM: from 30 points forward"),
        ([-9, 1, "CBAM", []], "row 5: CBAM: from -9 points to a row before the first"),
        ([-1, 1, "CBAM"], "row 5: expected [from, repeats, module, args]"),
    ],
)
def test_a_bad_row(row: list[Any], expected: str, tmp_path: Path) -> None:
    document = with_cbam(4)
    document["backbone"][5] = row
    assert any(f.startswith(expected) for f in found(document, tmp_path))


@pytest.mark.parametrize("name", ["f", "i", "np", "type"])
def test_an_attribute_that_the_parser_overwrites(name: str, tmp_path: Path) -> None:
    @register_layer(family="channel", summary="uses a name that Ultralytics sets on every layer")
    class Overwritten(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            setattr(self, name, nn.Conv2d(channels, channels, 1))

    try:
        document = with_cbam(4)
        document["backbone"][5][2] = "Overwritten"
        assert found(document, tmp_path) == [
            f"row 5: Overwritten uses the attribute {name!r}, which Ultralytics sets on every layer; rename it"
        ]
    finally:
        unregister_layer("Overwritten")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"nc": None}, "nc: missing or empty; write the number of classes, such as nc: 80"),
        ({"nc": "80"}, "nc: '80' is no whole number of at least 1; write the number of classes, such as nc: 80"),
        ({"nc": 0}, "nc: 0 is no whole number of at least 1; write the number of classes, such as nc: 80"),
        ({"scales": {"n": [0.5, 0.25]}}, "scales: n: [0.5, 0.25] are not three numbers above 0; write depth, width"),
        ({"scales": ["n", "s"]}, "scales: [n, s] is no mapping; write one line for each scale, such as n: ["),
        ({"scale": "q"}, "scale: 'q' is not one of its scales (n, s, m, l, x)"),
        ({"activation": "Relu"}, "activation: 'Relu' is no PyTorch module; did you mean nn.ReLU()?"),
        ({"activation": "nn.ReLU"}, "activation: 'nn.ReLU' is no PyTorch module; did you mean nn.ReLU()?"),
        ({"activation": "nn.HSwish()"}, "activation: 'nn.HSwish()' is no PyTorch module; did you mean nn.Hardswish()?"),
        ({"activation": "ReLUX"}, "activation: 'ReLUX' is no PyTorch module; write one, such as nn.ReLU()"),
        ({"activation": 3}, "activation: 3 is no PyTorch module; write one, such as nn.ReLU()"),
        (
            {"scales": None, "width_multiple": "x"},
            "width_multiple: x is no number above 0; write width_multiple: 1.0",
        ),
    ],
)
def test_a_key_that_is_wrong(keys: dict[str, Any], expected: str, tmp_path: Path, capsys) -> None:
    document = {**with_cbam(4), **keys}
    if "scale" not in keys:
        del document["scale"]
    (finding,) = found(document, tmp_path)
    assert finding.startswith(expected)
    for words in (["place", "layer=SE", "at=neck", f"out={tmp_path / 'out.yaml'}"], ["export", "imgsz=32"]):
        assert main([*words, f"model={tmp_path / 'mine.yaml'}"]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
        assert len(said) == 1 and expected in said[0] and "row" not in said[0]


def test_a_stock_model_is_built_with_any_activation(tmp_path: Path) -> None:
    document = {**with_cbam(4), "activation": "torch.nn.LeakyReLU(0.1)"}
    assert found(document, tmp_path) == []


def test_a_model_without_a_head(tmp_path: Path) -> None:
    document = with_cbam(4)
    del document["head"][-1]
    assert found(document, tmp_path) == [
        "row 22: C2f is the last row and is no head; a model ends with one, such as [[15, 18, 21], 1, Detect, [nc]]"
    ]


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    document = {**with_cbam(4), "nc": "80", "activation": "ReLU"}
    document["backbone"][5][2], document["backbone"][7][2] = "Cbam", "C2F"
    assert [f.partition(":")[0] for f in found(document, tmp_path)] == ["activation", "nc", "row 5", "row 7"]


def test_a_checkpoint_is_linted_by_its_own_yaml(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    torch.save({"model": build(with_cbam(4)), "ema": None, "train_args": {}}, file)
    assert lint(file) == lint(f"{file}+SE@neck") == []


def test_a_model_by_shorthand_is_clean() -> None:
    assert lint("yolov8n-seg.yaml+CBAM@neck+SE[start=identity]@inside:C2f") == []


def test_all_malformed_rows_are_listed_at_once(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["backbone"][2][0], document["head"][0][0] = 9, 40
    assert [f.partition(":")[0] for f in found(document, tmp_path)] == ["row 2", "row 11"]


def test_a_head_at_the_wrong_strides(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][-1][0] = [19, 16, 22]
    assert any("each has to be coarser" in f or "was the index shifted?" in f for f in found(document, tmp_path))


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "model=yolo11n-cbam.yaml"]) == 0
    assert "nothing found" in capsys.readouterr().out
    document = with_cbam(4)
    document["head"][4][0] = [-1, 4]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["lint", f"model={path}", "format=json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["row"] == 15
    assert main(["lint"]) == 2
    assert main(["lint", "model=nowhere.yaml"]) == 2
