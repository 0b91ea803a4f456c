"""How much of a base is in a model before training: the fairness of a comparison, counted."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn import tasks

from yolo_attn.graph import ModelGraph
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.model_kind import is_rtdetr
from yolo_attn.host.transfer import align_every_model, align_rows

__all__ = ["build_model", "shared_tensors"]

_CLASSES = {
    "detect": tasks.DetectionModel,
    "segment": tasks.SegmentationModel,
    "pose": tasks.PoseModel,
    "obb": tasks.OBBModel,
}


def shared_tensors(
    base: Mapping[str, Any], model: Mapping[str, Any], task: str, classes: int, weights: Path | None = None
) -> tuple[int, int]:
    """Return how many tensors of the base a model starts with, each by value in its own layer, and how many there are.

    Args:
        base: The base's model YAML.
        model: The other model YAML.
        task: Their task.
        classes: Number of classes of the dataset.
        weights: The checkpoint that both start from; without one, both are built from the same seed.
    """
    source = read_checkpoint(weights).float() if weights else None
    ours = _start(model, task, classes, source)
    theirs = source if source is not None else _start(base, task, classes, None)
    rows = align_rows(ModelGraph(dict(model)), ModelGraph(dict(base)))
    offered, own = theirs.state_dict(), ours.state_dict()
    found = 0
    for target, row in rows.items():
        for key, tensor in offered.items():
            if key.startswith(f"model.{row}."):
                there = own.get(key.replace(f"model.{row}.", f"model.{target}.", 1))
                found += there is not None and torch.equal(there, tensor)
    return found, len(offered)


def build_model(document: Mapping[str, Any], task: str, classes: int, seed: int = 0) -> nn.Module:
    """Build a model as a training with a seed would start it; the random state outside is left as it is."""
    kind = tasks.RTDETRDetectionModel if is_rtdetr(document) else _CLASSES[task]
    channels = int(document.get("channels") or document.get("ch") or 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind({**copy.deepcopy(dict(document)), "nc": classes}, ch=channels, verbose=False)  # type: ignore[no-any-return]


def _start(document: Mapping[str, Any], task: str, classes: int, weights: nn.Module | None) -> nn.Module:
    """Build a model, and give it the weights that there are."""
    model = build_model(document, task, classes)
    if weights is not None:
        with align_every_model():
            model.load(weights, verbose=False)  # type: ignore[operator]
    return model
