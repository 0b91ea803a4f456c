"""Files derived from the registry: measurements, docs, type stub and the count in the README."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest

from yolo_attn import cards

from .cases import cases

NAMES = {case.spec.name for case in cases(options=False)}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module benchmarks/layers.py."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return importlib.import_module("benchmarks.layers")


def test_every_layer_is_measured() -> None:
    assert set(cards.measured()["layers"]) == NAMES, "run python benchmarks/layers.py NAME"


def test_derived_files_are_current(benchmark: Any) -> None:
    for path, text in benchmark.derived_files():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python benchmarks/layers.py --docs"


def test_the_count_in_the_readme_is_replaced(benchmark: Any) -> None:
    assert benchmark.with_count("has [5 in all](docs/layers.md).") == f"has [{len(NAMES)} in all](docs/layers.md)."
    assert benchmark.with_count("[共 5 种](docs/layers.md)") == f"[共 {len(NAMES)} 种](docs/layers.md)"


def test_measuring_one_layer_keeps_the_others(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(benchmark.MEASURED.read_text(encoding="utf-8"))
    new = {**before["layers"]["SE"], "infer_mb": 1.5}
    monkeypatch.setattr(benchmark, "measure", lambda case: new)
    monkeypatch.setattr(benchmark, "processor", lambda: "another processor")
    after = benchmark.measure_all(["SE"])
    assert {key: after[key] for key in after if key != "layers"} == {
        key: before[key] for key in before if key != "layers"
    }
    assert {**after["layers"], "SE": None} == {**before["layers"], "SE": None}
    assert after["layers"]["SE"]["infer_mb"] == 1.5
    assert after["layers"]["SE"]["machine"].startswith("another processor")
    monkeypatch.setattr(cards, "measured", lambda: after)
    assert "- SE: " in cards.as_markdown() and "on another processor" in cards.as_markdown()
