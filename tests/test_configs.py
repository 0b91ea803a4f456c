"""The ready configs: what the script writes, and models at every scale."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from ultralytics.nn import tasks

from yolo_attn.host.variant import model_yaml
from yolo_attn.registry import is_layer

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p.name for p in (ROOT / "configs").glob("*.yaml"))


def _has(family: str) -> bool:
    return bool(tasks.check_yaml(f"{family}.yaml", hard=False))


@pytest.mark.skipif(not _has("yolo26"), reason="made with an Ultralytics that has every family")
def test_the_script_finds_nothing_to_change() -> None:
    spec = importlib.util.spec_from_file_location("make_configs", ROOT / "scripts" / "make_configs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = dict(module.make_all())
    assert sorted(p.name for p in made) == FILES
    assert not [p.name for p, text in made.items() if p.read_text(encoding="utf-8") != text]


@pytest.mark.parametrize("file", FILES)
def test_every_config_builds_at_every_scale(file: str) -> None:
    family, _, rest = file.partition("-")
    if not _has(family):
        pytest.skip(f"this Ultralytics has no {family}")
    for scale in "nsmlx":
        document = model_yaml(f"{family}{scale}-{rest}")
        assert document["scale"] == scale
        with torch.device("meta"):
            modules, _ = tasks.parse_model(document, 3, False)
        ours = [m for m in modules if is_layer(type(m).__name__)]
        assert len(ours) == (3 if "backbone" not in file else 4)  # P3 to P5; P2 to P5
        if scale == "n":
            rest_of_it = sum(p.numel() for m in modules if m not in ours for p in m.parameters())
            with torch.device("meta"):
                base, _ = tasks.parse_model(model_yaml(f"{family}n.yaml"), 3, False)
            assert rest_of_it == sum(p.numel() for p in base.parameters())
