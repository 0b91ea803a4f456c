"""The ready configs: they match the script's output and build."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules.block import Bottleneck, PSABlock

from tests.layers.representatives import REPRESENTATIVES
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.linting import lint
from yolo_attn.registry import list_layers

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {spec.name.lower(): spec.cls for spec in list_layers()}
FILES = sorted(p.name for p in (ROOT / "configs").glob("*.yaml"))
FAST = {f"yolov8-{name.lower()}" for name in REPRESENTATIVES}


def _has(family: str) -> bool:
    return bool(tasks.check_yaml(f"{family}.yaml", hard=False))


@pytest.mark.skipif(not _has("yolo26"), reason="made with an Ultralytics that has every family")
def test_the_configs_match_the_script() -> None:
    spec = importlib.util.spec_from_file_location("make_configs", ROOT / "scripts" / "make_configs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = dict(module.make_all())
    assert sorted(p.name for p in made) == FILES
    assert not [p.name for p, text in made.items() if p.read_text(encoding="utf-8") != text]


@functools.cache
def _base(name: str) -> nn.Sequential:
    return _rows(model_yaml(name))


def _rows(document: dict[str, Any]) -> nn.Sequential:
    """Build the rows of a model without data."""
    with torch.device("meta"):
        rows: nn.Sequential = tasks.parse_model(document, 3, False)[0]
    return rows


@pytest.mark.parametrize(
    "file", [f if Path(f).stem in FAST else pytest.param(f, marks=pytest.mark.slow) for f in FILES]
)
def test_every_config_builds(file: str) -> None:
    """At scale n, and at one of the others in turn, so that the configs of a layer cover several of them."""
    family, _, rest = file.partition("-")
    if not _has(family):
        pytest.skip(f"this Ultralytics has no {family}")
    inside = re.search("-(c2f|c3k2)", file)
    for scale in ("n", "l" if inside else "smlx"[FILES.index(file) % 4]):  # at l, C3k2 contains C3k
        document, base = model_yaml(f"{family}{scale}-{rest}"), _base(f"{family}{scale}.yaml")
        assert document["scale"] == scale
        modules = _rows(document)
        attention = [m for m in modules.modules() if type(m) is LAYERS[Path(rest).stem.partition("-")[0]]]
        if inside:
            blocks = [row for row in base if type(row).__name__ == ("C2f" if family == "yolov8" else "C3k2")]
            assert len(attention) == sum(isinstance(m, (Bottleneck, PSABlock)) for b in blocks for m in b.modules())
        else:
            assert len(attention) == (3 if "backbone" not in file else 4)  # P3 to P5; P2 to P5
        own = sum(p.numel() for m in attention for p in m.parameters())
        assert sum(p.numel() for p in modules.parameters()) - own == sum(p.numel() for p in base.parameters())


@pytest.mark.parametrize("file", [f for f in FILES if re.search("-ema-(c2f|c3k2)", f)])
def test_lint_finds_no_problems_in_blocks(file: str) -> None:
    if not _has(file.partition("-")[0]):
        pytest.skip("this Ultralytics has no such family")
    assert lint(file) == []
