"""The README: its commands are valid, its rows build, its code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import yolo_attn
from yolo_attn.cli import main

from . import pages
from .pages import README, check_command, custom_layer

COMMANDS = pages.commands(README)


def blocks(language: str) -> list[str]:
    return pages.blocks(README, language)


def test_the_set_up_lines_exist() -> None:
    assert "pip install -e . && python scripts/compare.py" in README
    assert 'pip install -e ".[test]" && pytest' in README


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_valid(command: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that train are only parsed and their models found; the others run."""
    check_command(command, capsys)


def test_a_stock_command_has_no_keys_of_yolo_attn(capsys: pytest.CaptureFixture[str]) -> None:
    check_command("yolo-attn train model=yolo11n-cbam.yaml data=digits recipe=digits", capsys)
    with pytest.raises(SyntaxError, match="recipe"):
        check_command("yolo train model=yolo11n-cbam.yaml data=digits recipe=digits", capsys)


def test_every_kind_of_site_and_every_control_is_mentioned() -> None:
    from yolo_attn.graph.sites import SITE_KINDS
    from yolo_attn.study.specification.controls import CONTROLS

    for form in (form for kind in SITE_KINDS for form in kind.form.split(", ")):
        assert f"`{re.split('[.<]', form)[0]}" in README
    for name in CONTROLS:
        assert re.search(rf"`(controls=)?{name}`", README)


def test_the_rows_build() -> None:
    rows = [row for b in blocks("yaml") for row in yaml.safe_load(b) if isinstance(row, list)]
    attention_rows = [row for row in rows if yolo_attn.registry.is_layer(row[2])]
    assert len(attention_rows) == 2
    for row in attention_rows:
        yolo_attn.build(row[2], 64, **(row[3][0] if row[3] else {}))


def test_the_study_file_is_valid(fresh_folder: Path) -> None:
    from yolo_attn.study.specification.study import Study

    (text,) = [block for block in blocks("yaml") if "variants" in block]
    Path("study.yaml").write_text(text)
    study = Study.from_arguments({"study": "study.yaml"})
    assert (study.controls, study.seeds, study.train["epochs"]) == (("null",), (0, 1, 2, 3, 4), 5)
    assert study.pretraining["epochs"] == 40


def test_the_custom_layer_works_as_shown() -> None:
    import torch

    scope: dict[str, type] = {}
    exec(custom_layer(), scope)
    try:
        assert yolo_attn.build("MeanGate", 8)(torch.ones(1, 8, 4, 4)).shape == (1, 8, 4, 4)
    finally:
        yolo_attn.registry.unregister_layer("MeanGate")


def test_the_functions_work_as_shown(
    fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run everything except training, whose arguments are checked."""
    import cv2
    import numpy as np
    from ultralytics import YOLO

    from yolo_attn.study import engine
    from yolo_attn.study.comparison import Results
    from yolo_attn.study.results.records import ArmSummary, RunSummary, StudyInfo, StudyResults
    from yolo_attn.study.specification.study import Study

    asked: list[Any] = []

    def compare(arguments: dict[str, object], **_: object) -> Results:
        asked.append(Study.from_arguments(arguments))
        runs = [RunSummary(seed, "done") for seed in asked[-1].seeds]
        arm = ArmSummary("yolo11n", "baseline", runs=runs, params=1, gflops=1.0)
        return Results(Path("runs/compare/compare"), StudyResults(StudyInfo(), [arm]))

    monkeypatch.setattr(engine, "compare", compare)
    for key, value in {"imgsz": 64, "rounds": 2}.items():
        monkeypatch.setitem(yolo_attn.profile.__kwdefaults__, key, value)
    monkeypatch.setattr(YOLO, "train", lambda self, **words: asked.append(words))
    monkeypatch.setattr(YOLO, "load", lambda self, weights: self)
    cv2.imwrite("street.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    first, second = (b for b in blocks("python") if "import yolo_attn  #" in b or "yolo_attn.compare" in b)
    scope: dict[str, Any] = {}
    exec(first + second, scope)
    training, comparison = asked
    assert training["data"] == "digits"
    assert (comparison.variants, len(comparison.seeds), comparison.train["epochs"]) == (("SE@neck", "CBAM@neck"), 3, 20)
    assert [cost.name for cost in scope["costs"]] == ["yolo11n", "mine", "yolo11n-cbam"]
    shown = capsys.readouterr().out
    assert "[('yolo11n', None, None)]" in shown
    assert "row 17 CBAM.spatial (P3)" in shown


def test_the_finding_is_what_lint_prints(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is YOLOv8 with a row inserted after row 4 and no index shifted."""
    import ultralytics

    stock = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml"
    lines = stock.read_text(encoding="utf-8").splitlines()
    row = next(n for n, line in enumerate(lines) if "C2f, [256, True]" in line)
    Path("mine.yaml").write_text("\n".join([*lines[: row + 1], "  - [-1, 1, CBAM, []]", *lines[row + 1 :]]))
    assert main(["lint", "model=mine.yaml"]) == 1
    output = re.sub(r"mine.yaml:\d+", "mine.yaml:LINE", capsys.readouterr().out)  # which differs between releases
    (shown,) = [line for line in README.splitlines() if "was the index shifted?" in line]
    assert re.sub(r"mine.yaml:\d+", "mine.yaml:LINE", shown) in output.splitlines()
