"""Initial weights of models."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.host.documents import model_yaml
from yolo_attn.host.initialization import build_model


def test_building_changes_no_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("torch.manual_seed also seeds every GPU")

    document = model_yaml("yolo11n.yaml+SE@neck.P5")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    monkeypatch.setattr(torch, "manual_seed", refuse)
    first, second = (build_model(document, "detect", 2, seed).state_dict() for seed in (1, 1))
    assert all(map(torch.equal, first.values(), second.values()))
    assert torch.equal(torch.rand(3), expected)
