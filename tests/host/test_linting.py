"""Lint finds planted errors, names row and fix, and accepts correct models."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn import tasks

from tests.host.helpers import build
from yolo_attn import register_layer
from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph
from yolo_attn.host import linting
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.installation import stock_model_yamls
from yolo_attn.host.linting import lint
from yolo_attn.registry import unregister_layer
from yolo_attn.system.paths import config_folder

STOCK = sorted(p.name for p in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
SEVERAL = ("yolov5n", "yolov8n-seg", "yolov9t", "yolo11n-pose", "yolov10n", "rtdetr-l", "yolov8s-world")


def with_cbam(after: int = 4, base: str = "yolov8n.yaml") -> dict[str, Any]:
    graph = ModelGraph(model_yaml(base))
    graph.insert_after(after, "CBAM", [])
    return graph.to_document()


FIX = re.compile(r"was the index shifted\?|let |each stride has to be|cannot process its input")


def found(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    findings = lint(path)
    assert all(str(finding).startswith(str(path)) for finding in findings)
    return [finding.text for finding in findings]


FEW = {"yolo11.yaml", "yolo11-pose.yaml", "yolov10n.yaml", "yolov8-cls.yaml", "yolov8-worldv2.yaml", "rtdetr-l.yaml"}


@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in STOCK])
def test_stock_models_are_clean(name: str) -> None:
    assert lint(name) == []


@pytest.mark.slow
@pytest.mark.parametrize(("family", "first"), [("yolov8", 0), ("yolo11", 1), ("yolo26", 2)])
def test_ready_configs_are_clean(family: str, first: int) -> None:
    """Every third, so each layer in one family; the script places it at the same levels in all of them."""
    paths = sorted(config_folder().glob(f"{family}-*.yaml"))[first::3]
    assert paths
    if f"{family}.yaml" in STOCK:
        assert [p.name for p in paths if lint(p)] == []


def test_correct_insertions_are_clean_at_every_position(tmp_path: Path) -> None:
    for after in range(22):
        assert found(with_cbam(after), tmp_path) == [], after


def unshifted(document: dict[str, Any], after: int) -> dict[str, Any]:
    """Insert a row without changing any index."""
    document = copy.deepcopy(document)
    length = len(document["backbone"])
    section, at = ("backbone", after) if after < length else ("head", after - length)
    document[section].insert(at + 1, [-1, 1, "CBAM", []])
    return document


@pytest.mark.parametrize("name", SEVERAL)
def test_unshifted_indices_are_found_at_every_position(name: str, tmp_path: Path) -> None:
    """The network builds but differs from the base, and every difference is found."""
    base = model_yaml(f"{name}.yaml")
    for after in range(len(base["backbone"]) + len(base["head"]) - 1):
        document, right = unshifted(base, after), ModelGraph(base)
        right.insert_after(after, "CBAM", [])
        same = [row.sources for row in right] == [row.sources for row in ModelGraph(document)]
        findings = found(document, tmp_path)
        assert bool(findings) != same, after
        assert all(FIX.search(finding) for finding in findings), findings


@pytest.mark.parametrize("name", SEVERAL)
def test_every_consumer_that_was_not_redirected_is_found(name: str, tmp_path: Path) -> None:
    """One consumer still reads the row before the layer, which it bypasses or leaves dead."""
    base = ModelGraph(model_yaml(f"{name}.yaml"))
    for after in (base.backbone_length - 2, *base.rows[base.head_index].sources):
        for consumer in base.consumers(after):
            graph = ModelGraph(model_yaml(f"{name}.yaml"))
            new = graph.insert_after(after, "CBAM", [])
            row = graph.rows[consumer + 1]
            row.sources = [after if s == new else s for s in row.sources]
            row.relative = [False for _ in row.sources]
            findings = found(graph.to_document(), tmp_path)
            alone = base.consumers(after) == [consumer]
            words = (
                f"row {new}: CBAM is not read by any row" if alone else f"past CBAM in row {new}; let it read row {new}"
            )
            assert any(words in finding for finding in findings), (after, consumer, findings)


def test_an_unshifted_index_is_reported_with_row_and_fix(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][1][0] = [-1, 6]  # the backbone's P4 is row 7 now
    (finding,) = found(document, tmp_path)
    assert finding == (
        "row 12: Concat reads row 6 (Conv); in yolov8.yaml it reads the C2f that is row 7 here: was the index shifted?"
    )


@pytest.mark.parametrize(("source", "message"), [(12, "reads row 12 (Concat)"), (6, "")])
def test_an_unshifted_index_beside_other_blocks(source: int, message: str, tmp_path: Path) -> None:
    """A connection that no forgotten shift explains is the user's own."""
    document = with_cbam(9)
    document["backbone"][2][2] = "C3"
    assert found(document, tmp_path) == []
    document["head"][7][0] = [-1, source]
    findings = found(document, tmp_path)
    assert [f.partition(";")[0] for f in findings] == ([f"row 18: Concat {message}"] if message else [])


def test_files_beside_the_stock_models_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = with_cbam(4)
    document["head"][1][0] = [-1, 6]
    for name, text in (("a", "nc: ["), ("b", "x: 1"), ("c", yaml.safe_dump(document))):
        (tmp_path / f"{name}.yaml").write_text(text)
    paths = [*stock_model_yamls(), *(tmp_path / f"{name}.yaml" for name in "abc")]
    monkeypatch.setattr(linting, "stock_model_yamls", lambda: paths)
    monkeypatch.setattr(linting, "stock_models", linting.stock_models.__wrapped__)
    assert [f.partition(";")[0] for f in found(document, tmp_path)] == ["row 12: Concat reads row 6 (Conv)"]


def test_the_first_row_of_early_yolov9(tmp_path: Path) -> None:
    document = model_yaml("yolov9e.yaml")
    document["backbone"][0][2] = "Silence"
    assert found(document, tmp_path) == []
    placed = model_yaml(f"{tmp_path / 'mine.yaml'}+SE@neck")
    assert placed["backbone"][0] == [-1, 1, "nn.Identity", []]
    document["backbone"][1][2] = "Silence"
    assert [f.partition(";")[0] for f in found(document, tmp_path)] == ["row 1: unknown layer 'Silence'"]


def test_a_skip_past_the_layer(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][4][0] = [-1, 4]
    (finding,) = found(document, tmp_path)
    assert finding == "row 15: Concat reads row 4, past CBAM in row 5; let it read row 5, unless this is intended"


def test_a_dead_row_before_the_head(tmp_path: Path) -> None:
    document = with_cbam(21)
    document["head"][-1][0] = [15, 18, 21]
    findings = found(document, tmp_path)
    assert any(f.startswith("row 22: CBAM is not read by any row") for f in findings)


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
        ([-1, 1, "CBAM", [{"init": "n"}]], "row 5: CBAMChannel: init=n; use"),
        ([-1, 1, "nn.Conf2d", []], "row 5: unknown layer 'nn.Conf2d'; did you mean nn.Conv2d?"),
        ([[-1, 3], 1, "Conv", [64]], "row 5: Conv reads one row, not 2; join them in a row of Concat before it"),
        ([[-1], 1, "Conv", [64]], "row 5: Conv reads one row; write its number without brackets, such as -1"),
        (
            [-1, 1, "Conv", [64, "n"]],
            "row 5: Conv: Ultralytics' parser would replace 'n' by its own variable; write",
        ),
        (
            [-1, 1, "Conv", [64, "ch"]],
            "row 5: Conv: Ultralytics' parser would replace 'ch' by its own variable",
        ),
        ([-1, 1, "Conv", [64, "3x3"]], "row 5: Conv cannot be built with [64, 3x3]: one of the strings is not a value"),
        ([-1, 1, "C2f+CBAM", [64, True, {"mode": 1}]], "row 5: CBAM has no option 'mode'"),
        ([-1, 1, "C2f+Cbam", [64, True]], "row 5: unknown layer 'Cbam' in 'C2f+Cbam'; did you mean CBAM?"),
        ([[-1, 2], 1, "Concat", [1]], "row 5: Concat cannot process its input: "),
        ([-1, 3, "CBAM", []], "row 5: CBAM cannot be repeated"),
        ([30, 1, "CBAM", []], "row 5: CBAM: from 30 points forward"),
        ([[], 1, "Concat", [1]], "row 5: Concat: from is an empty list; write the rows that it reads, such as [-1, 6]"),
        ([-9, 1, "CBAM", []], "row 5: CBAM: from -9 points to a row before the first"),
        ([-1, 1, "CBAM"], "row 5: expected [from, repeats, module, args]"),
    ],
)
def test_an_invalid_row(row: list[Any], expected: str, tmp_path: Path) -> None:
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
            f"row 5: Overwritten has an attribute {name!r}, which Ultralytics sets on every layer; rename it"
        ]
    finally:
        unregister_layer("Overwritten")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"nc": None}, "nc: missing or empty; write the number of classes, such as nc: 80"),
        ({"nc": "80"}, "nc: '80' is not a positive integer; write the number of classes, such as nc: 80"),
        ({"nc": 0}, "nc: 0 is not a positive integer; write the number of classes, such as nc: 80"),
        ({"scales": {"n": [0.5, 0.25]}}, "scales: n: [0.5, 0.25] are not three positive numbers; write depth, width"),
        ({"scales": ["n", "s"]}, "scales: [n, s] is not a mapping; write one line for each scale, such as n: ["),
        ({"scale": "q"}, "scale: 'q' is not one of its scales (n, s, m, l, x)"),
        (
            {"scales": {1: [0.5, 0.25, 1024]}, "scale": 1},
            "scales: the name 1 is not text; write '1'",
        ),
        ({"activation": "Relu"}, "activation: 'Relu' is not a PyTorch module; did you mean nn.ReLU()?"),
        ({"activation": "nn.ReLU"}, "activation: 'nn.ReLU' is not a PyTorch module; did you mean nn.ReLU()?"),
        (
            {"activation": "nn.HSwish()"},
            "activation: 'nn.HSwish()' is not a PyTorch module; did you mean nn.Hardswish()?",
        ),
        ({"activation": "ReLUX"}, "activation: 'ReLUX' is not a PyTorch module; write one, such as nn.ReLU()"),
        ({"activation": 3}, "activation: 3 is not a PyTorch module; write one, such as nn.ReLU()"),
        (
            {"scales": None, "width_multiple": "x"},
            "width_multiple: x is not a positive number; write one, such as width_multiple: 1.0",
        ),
    ],
)
def test_an_invalid_key(keys: dict[str, Any], expected: str, tmp_path: Path, capsys) -> None:
    document = {**with_cbam(4), **keys}
    if "scale" not in keys:
        del document["scale"]
    (finding,) = found(document, tmp_path)
    assert finding.startswith(expected)
    for words in (["place", "layer=SE", "at=neck", f"out={tmp_path / 'out.yaml'}"], ["export", "imgsz=32"]):
        assert main([*words, f"model={tmp_path / 'mine.yaml'}"]) == 2
        output = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
        assert len(output) == 1 and expected in output[0] and "row" not in output[0]


def test_a_stock_model_is_built_with_any_activation(tmp_path: Path) -> None:
    document = {**with_cbam(4), "activation": "torch.nn.LeakyReLU(0.1)"}
    assert found(document, tmp_path) == []


def test_a_model_without_a_head(tmp_path: Path) -> None:
    document = with_cbam(4)
    del document["head"][-1]
    assert found(document, tmp_path) == [
        "row 22: C2f is the last row but not a head; a model ends with one, such as [[15, 18, 21], 1, Detect, [nc]]"
    ]


def test_all_problems_are_listed(tmp_path: Path) -> None:
    document = {**with_cbam(4), "nc": "80", "activation": "ReLU"}
    document["backbone"][5][2], document["backbone"][7][2] = "Cbam", "C2F"
    assert [f.partition(":")[0] for f in found(document, tmp_path)] == ["activation", "nc", "row 5", "row 7"]


def test_a_checkpoint_is_linted_by_its_own_yaml(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    torch.save({"model": build(with_cbam(4)), "ema": None, "train_args": {}}, file)
    assert lint(file) == lint(f"{file}+SE@neck") == []


def test_a_model_with_placed_layers_is_clean() -> None:
    assert lint("yolov8n-seg.yaml+CBAM@neck+SE[init=identity]@inside:C2f") == []


def test_all_malformed_rows_are_listed_at_once(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["backbone"][2][0], document["head"][0][0] = 9, 40
    assert [f.partition(":")[0] for f in found(document, tmp_path)] == ["row 2", "row 11"]


def test_a_head_at_the_wrong_strides(tmp_path: Path) -> None:
    document = with_cbam(4)
    document["head"][-1][0] = [19, 16, 22]
    assert any("each stride has to be larger" in f or "was the index shifted?" in f for f in found(document, tmp_path))


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "model=yolo11n-cbam.yaml"]) == 0
    assert "no problems found" in capsys.readouterr().out
    document = with_cbam(4)
    document["head"][4][0] = [-1, 4]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["lint", f"model={path}", "format=json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["row"] == 15
    assert main(["lint"]) == 2
    assert main(["lint", "model=nowhere.yaml"]) == 2


def test_every_finding_names_file_and_line(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (config_folder() / "yolo11-cbam.yaml").read_text(encoding="utf-8")
    wrong = (
        text.replace("CBAM, []] # 17", "Cbam, []] # 17").replace("nc: 80", "nc: none").replace("n: [0.5", "n: [-0.5")
    )
    Path("mine.yaml").write_text("# a comment of mine, umlauts: äöü\n\n" + wrong, encoding="utf-8")
    lines = Path("mine.yaml").read_text(encoding="utf-8").splitlines()
    at = [next(n for n, line in enumerate(lines, 1) if sign in line) for sign in ("nc: none", "n: [-0.5", "Cbam")]
    assert main(["lint", "model=mine.yaml"]) == 1
    output = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in output] == [f"mine.yaml:{n}" for n in at]
    assert output[2] == f"mine.yaml:{at[2]}: row 17: unknown layer 'Cbam'; did you mean CBAM?"
    assert main(["lint", "model=mine.yaml", "format=json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(f["file"], f["line"], f["row"]) for f in found] == [
        ("mine.yaml", n, r) for n, r in zip(at, (None, None, 17), strict=True)
    ]


def test_lines_of_rows_that_are_written_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "rows: &rows\n- - -1\n  - 1\n  - Conv\n  - [64, 3, 2]\n- [-1, 1,\n   Convv, [64]]\nnc: 3\nbackbone: *rows\n"
        "head:\n- [-1, 1, Clasify, [nc]]\n"
    )
    assert [(f.row, f.line) for f in lint(path)] == [(1, 6), (2, 11), (2, 11)]


def test_findings_in_a_checkpoint_name_it(tmp_path: Path) -> None:
    model = build(with_cbam(4))
    model.yaml["head"][4][0] = [-1, 4]
    torch.save({"model": model, "ema": None, "train_args": {}}, tmp_path / "best.pt")
    (finding,) = lint(tmp_path / "best.pt")
    assert str(finding).startswith(f"{tmp_path / 'best.pt'}: row 15: Concat reads row 4, past CBAM in row 5")


@pytest.mark.parametrize(
    ("name", "scales", "expected"),
    [
        (
            "yolov8s-mine",
            {"n": [0.5, 0.25, 1024]},
            "scales: the name yolov8s-mine.yaml requires s, but they are n; add s: [",
        ),
        (
            "yolov8x-mine",
            {"n": [0.5, 0.25, 1024], "s": [0.5, 0.5, 1024]},
            "scales: the name yolov8x-mine.yaml requires x",
        ),
        ("yolov8s-mine", None, "the name yolov8s-mine.yaml requires scale s, but without scales every row has"),
        ("yolov8n-mine", {"n": [0.5, 0.25, 1024]}, None),
        ("yolov8-mine", {"s": [0.5, 0.5, 1024]}, None),
        ("mine", None, None),
    ],
)
@pytest.mark.parametrize("literal", [True, False])
def test_a_scale_that_the_file_does_not_have(
    name: str, scales: dict | None, expected: str | None, literal: bool, fresh_folder: Path
) -> None:
    """A yolo11s without scales would silently be built with 47.8 million parameters."""
    document = {
        key: value for key, value in model_yaml("yolov8n.yaml").items() if key not in ("scale", "scales", "yaml_file")
    }
    file = f"{name}.yaml" if literal else re.sub(r"(\d)[nsx]-", r"\1-", f"{name}.yaml")
    Path(file).write_text(yaml.safe_dump({**document, **({"scales": scales} if scales else {})}))
    findings = lint(f"{name}.yaml")
    assert len(findings) == bool(expected)
    assert all(finding.message.startswith(expected) and finding.file == file for finding in findings)
    assert [finding.line is not None for finding in findings] == [bool(scales)] * len(findings)


@pytest.mark.parametrize("keys", [{"width_multiple": 1.0}, {"scale": "s", "scales": {"s": [0.5, 0.5, 1024]}}])
def test_a_stated_scale_is_accepted(keys: dict[str, Any], fresh_folder: Path) -> None:
    document = {
        key: value for key, value in model_yaml("yolov8n.yaml").items() if key not in ("scale", "scales", "yaml_file")
    }
    Path("yolov8n-mine.yaml").write_text(yaml.safe_dump({**document, **keys}))
    assert lint("yolov8n-mine.yaml") == []


def test_a_key_that_is_written_twice(fresh_folder: Path) -> None:
    text = yaml.safe_dump(with_cbam(4), sort_keys=False)
    Path("mine.yaml").write_text(f"{text}head:\n- [[16, 19, 22], 1, Detect, [nc]]\n")
    (finding,) = lint("mine.yaml")
    lines = [n for n, line in enumerate(Path("mine.yaml").read_text().splitlines(), 1) if line == "head:"]
    assert finding.text == f"head: written in lines {lines[0]} and {lines[1]}, and only the last counts; keep one"
    assert finding.line == lines[1]


def test_another_scale_than_that_of_the_name(fresh_folder: Path) -> None:
    document = model_yaml("yolov8n.yaml")
    for name in ("yolov8s-mine", "yolov8n-mine", "yolov8-mine", "yolov8se", "mine"):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(document))
    (finding,) = lint("yolov8s-mine.yaml")
    assert finding.message == (
        "scale: n is built, but the name yolov8s-mine.yaml requires s; "
        "write scale: s, or rename the file to yolov8-mine.yaml"
    )
    assert finding.line is not None
    assert lint("yolov8n-mine.yaml") == lint("yolov8-mine.yaml") == lint("yolov8x-mine.yaml") == []
    assert lint("yolov8se.yaml") == lint("mine.yaml") == []  # the letter begins a word
    Path("yolov8s-mine.yaml").write_text(yaml.safe_dump({**document, "scales": 5}))
    assert [finding.message.partition(";")[0] for finding in lint("yolov8s-mine.yaml")] == [
        "scales: 5 is not a mapping"
    ]


has_torchvision = pytest.mark.skipif(not hasattr(tasks, "TorchVision"), reason="a row of later releases")


@has_torchvision
@pytest.mark.parametrize("args", [[512, "resnet18"], [512, "resnet18", "DEFAULT", True, 2]])
def test_a_row_of_torchvision_is_linted_without_a_download(args: list[Any], tmp_path: Path, monkeypatch) -> None:
    def download(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    monkeypatch.setattr("urllib.request.urlopen", download)
    rows = {"backbone": [[-1, 1, "TorchVision", args]], "head": [[-1, 1, "SE", []], [-1, 1, "Classify", ["nc"]]]}
    assert found({"nc": 3, **rows}, tmp_path) == []
    args[2:3] = ["DEFALT"]
    (finding,) = found({"nc": 3, **rows}, tmp_path)
    assert finding.startswith("row 0: TorchVision: resnet18 has no weights 'DEFALT'; it has IMAGENET1K_V1, DEFAULT, or")


@has_torchvision
@pytest.mark.parametrize("attention", [True, False])
def test_weights_that_cannot_be_downloaded_are_one_line(
    attention: bool, fresh_folder: Path, capsys, monkeypatch
) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    rows = [[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2]]]
    head = [*([[-1, 1, "SE", []]] if attention else []), [-1, 1, "Classify", ["nc"]]]
    Path("mine.yaml").write_text(yaml.safe_dump({"nc": 3, "backbone": rows, "head": head}))
    for words in (["profile"], ["export", "imgsz=32"]):
        assert main([*words, "model=mine.yaml"]) == 2
        assert (
            "row 0: weights could not be downloaded (Name or service not known); write null" in capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-1, 1, "Conv", ["x"]], "row 1: Conv cannot be built with [x]: "),
        ([-1, 1, "Conv", [64, "3x3"]], "row 1: Conv cannot be built with [64, 3x3]: one of the strings is not a value"),
        ([[-1, 0], 1, "Conv", [64]], "row 1: Conv reads one row, not 2; join them in a row of Concat before it"),
    ],
)
def test_a_model_without_attention_layers_is_reported_by_row_too(
    row: list[Any], expected: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"nc": 3, "backbone": [[-1, 1, "Conv", [64, 3, 2]], row], "head": [[-1, 1, "Classify", ["nc"]]]}
    Path("mine.yaml").write_text(yaml.safe_dump(document))
    for words in (["profile"], ["maps", "source=."], ["export", "imgsz=32"]):
        assert main([*words, "model=mine.yaml"]) == 2
        assert expected in capsys.readouterr().err


def test_class_names_by_numbers_and_words(tmp_path: Path) -> None:
    file = tmp_path / "yolo11n-named.yaml"
    file.write_text(yaml.safe_dump({**model_yaml("yolo11n.yaml"), "names": {0: "cat", "one": "dog"}}))
    assert lint(file) == []


@pytest.mark.parametrize("key", ["ch", "channels"])
@pytest.mark.parametrize("value", ["three", "1e1", [3], True, 0, -1, 4.7])
def test_channels_that_are_no_number_of_them(key: str, value: Any, fresh_folder: Path) -> None:
    document = {**with_cbam(), key: value}
    path = fresh_folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    (finding,) = [finding for finding in lint(path) if key in finding.text]
    assert re.search(rf"{key}: .* is not a positive integer; write .* such as {key}: 3", finding.text)


@pytest.mark.parametrize("words", ["lint model=mine.yaml fix=True", "lint model=mine.yaml"])
@pytest.mark.parametrize("change", [{"scales": {"n": 0.5}}, {"scales": None, "depth_multiple": "0,33"}])
def test_keys_that_cannot_be_used_are_reported(words: str, change: dict[str, Any], fresh_folder: Path, capsys) -> None:
    (fresh_folder / "mine.yaml").write_text(yaml.safe_dump({**with_cbam(), **change}, sort_keys=False))
    assert main(words.split()) == (2 if "fix=True" in words else 1)
    printed = capsys.readouterr()
    assert ("scales: n: 0.5" if change["scales"] else "depth_multiple: 0,33") in printed.out + printed.err


def test_a_tab_that_fix_cannot_keep_is_one_line(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_dump(with_cbam(), sort_keys=False).replace("nc: 80", "nc:\t80")
    (fresh_folder / "mine.yaml").write_text(text)
    assert main(["lint", "model=mine.yaml"]) == 0
    assert main(["lint", "model=mine.yaml", "fix=True"]) == 2
    assert re.search(r"mine\.yaml, line \d+: fix=True cannot read a tab there; replace it", capsys.readouterr().err)


@pytest.mark.parametrize("place", ["__init__", "forward"])
@pytest.mark.parametrize(("code", "message"), [("assert 1 == 2, 'odd width'", "odd width"), ("1 / 0", "division")])
def test_a_custom_layer_that_raises_is_one_line(
    place: str, code: str, message: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init, forward = (code if place == name else "pass" for name in ("__init__", "forward"))
    (fresh_folder / "raising_layers.py").write_text(
        "from torch import nn\nfrom yolo_attn import register_layer\n\n"
        '@register_layer(family="channel", summary="raises")\nclass Raising(nn.Module):\n'
        f"    def __init__(self, channels):\n        super().__init__()\n        {init}\n"
        f"    def forward(self, x):\n        {forward}\n        return x\n"
    )
    try:
        words = ["layers=raising_layers.py", "model=yolo11n.yaml+Raising@neck.P5"]
        assert main(["lint", *words]) in (1, 2)
        printed = capsys.readouterr()
        assert message in printed.out + printed.err
        assert main(["layers", "layers=raising_layers.py", "Raising"]) == 0
        assert main(["layers", "layers=raising_layers.py", "family=channel", "format=json"]) == 0
        assert "Raising" in capsys.readouterr().out
    finally:
        unregister_layer("Raising")
        sys.modules.pop("raising_layers", None)
