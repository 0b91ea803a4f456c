"""Files derived from the registry: measurements, docs, type stub and the count in the README."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest

from yolo_attn import cards

from .cases import cases

NAMES = {case.spec.name for case in cases(options=False)}


@pytest.fixture
def writer() -> Any:
    """The module tests/cards.py, which needs scripts/."""
    return importlib.import_module("tests.cards")


def test_every_layer_is_measured() -> None:
    assert set(cards.measured()["layers"]) == NAMES, "run python -m tests.cards NAME"


def test_derived_files_are_current(writer: Any) -> None:
    for path, text in writer.derived_files():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tests.cards --docs"


def test_the_count_in_the_readme_is_replaced(writer: Any) -> None:
    assert writer.with_count("has [5 in all](docs/layers.md).") == f"has [{len(NAMES)} in all](docs/layers.md)."
    assert writer.with_count("[共 5 种](docs/layers.md)") == f"[共 {len(NAMES)} 种](docs/layers.md)"


def test_measuring_one_layer_keeps_the_others(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(writer.MEASURED.read_text(encoding="utf-8"))
    new = {**before["layers"]["SE"], "infer_mb": 1.5}
    monkeypatch.setattr(writer, "measure", lambda case: new)
    monkeypatch.setattr(writer, "processor", lambda: "another processor")
    after = writer.measure_all(["SE"])
    assert {key: after[key] for key in after if key != "layers"} == {
        key: before[key] for key in before if key != "layers"
    }
    assert {**after["layers"], "SE": None} == {**before["layers"], "SE": None}
    assert after["layers"]["SE"]["infer_mb"] == 1.5
    assert after["layers"]["SE"]["machine"].startswith("another processor")
    monkeypatch.setattr(cards, "measured", lambda: after)
    assert re.search(r"(?m)^- .* on another processor, .*: SE$", cards.as_markdown())
