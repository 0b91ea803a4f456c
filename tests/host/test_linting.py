"""Lint: it finds each planted mistake, names row and cure, and is silent where nothing is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ultralytics
import yaml

from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph
from yolo_attn.host.linting import lint
from yolo_attn.host.variant import model_yaml
from yolo_attn.paths import config_folder

STOCK = sorted(p.name for p in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
DOWNLOADS = [name for name in STOCK if "resnet" in name and "cls" in name]  # torchvision fetches weights for these


def with_cbam(after: int = 4, base: str = "yolov8n.yaml") -> dict[str, Any]:
    graph = ModelGraph(model_yaml(base))
    graph.insert_after(after, "CBAM", [])
    return graph.to_document()


def found(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return [str(f) for f in lint(path)]


@pytest.mark.parametrize("name", [n for n in STOCK if n not in DOWNLOADS])
def test_stock_models_are_clean(name: str) -> None:
    assert lint(name) == []


@pytest.mark.parametrize("layer", ["cbam", "gam", "crisscross"])
def test_our_configs_are_clean(layer: str) -> None:
    for path in config_folder().glob(f"*-{layer}*.yaml"):
        if Path(path.name.partition("-")[0] + ".yaml").name in STOCK:
            assert lint(path) == []


def test_correct_insertions_are_clean_at_every_position(tmp_path: Path) -> None:
    for after in range(22):
        assert found(with_cbam(after), tmp_path) == [], after


def test_unshifted_indices_are_found_at_every_position(tmp_path: Path) -> None:
    """The mistake of platform after platform: a row put in, no number changed; the network builds and is another."""
    for after in range(21):
        document = model_yaml("yolov8n.yaml")
        section, at = ("backbone", after) if after < 9 else ("head", after - 10)
        document[section].insert(at + 1, [-1, 1, "CBAM", []])
        findings = found(document, tmp_path)
        assert any("was the index shifted?" in f or "read by nobody" in f for f in findings), after


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
        ([[-1, 3], 1, "CBAM", []], "row 5: CBAM reads 1 input, not 2"),
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
