"""Model YAMLs as text."""

from __future__ import annotations

from pathlib import Path

import yaml

from yolo_attn.graph.document import dump_model, line_numbers, read_model
from yolo_attn.system.files import repeated_keys

ROWS = {"backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[[0], 1, "Detect", ["nc"]]]}


def test_what_is_written_reads_as_the_same_document() -> None:
    document = {"nc": 2, "names": {0: "猫", 1: "狗"}, "a b: c": "x", "null": 3, "empty": {}, **ROWS}
    text = dump_model(document)
    assert yaml.safe_load(text) == document
    assert "猫" in text


def test_tabs_are_read_as_in_ultralytics(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("nc:\t3\nbackbone:\n  - [-1, 1, Conv, [8,\t3, 2]]\t# 0\nhead:\n  - [[0], 1, Detect, [nc]]\nnc: 4\n")
    assert read_model(path)["nc"] == 4
    assert repeated_keys(path.read_text()) == [("nc", [1, 6])]
    assert line_numbers(path) == {"nc": 6, "backbone": 2, 0: 3, "head": 4, 1: 5}
