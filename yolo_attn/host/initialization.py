"""Count the base tensors that a model shares at initialization."""

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
from yolo_attn.host.model_kind import input_channels, is_rtdetr
from yolo_attn.host.transfer import align_every_model, align_rows

__all__ = ["build_model", "shared_tensors"]

_CLASSES = {
    "detect": tasks.DetectionModel,
    "segment": tasks.SegmentationModel,
    "pose": tasks.PoseModel,
    "obb": tasks.OBBModel,
    "classify": tasks.ClassificationModel,
    "semantic": getattr(tasks, "SemanticSegmentationModel", None),  # earlier releases have none
}


def shared_tensors(
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    task: str,
    classes: int,
    weights: Path | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
) -> tuple[int, int]:
    """Count the tensors of a base that a model has before training, with equal values in their own layers.

    Args:
        base: The base's model YAML.
        model: The other model YAML.
        task: Their task.
        classes: Number of classes of the dataset.
        weights: The checkpoint with the initial weights of both; by default both are built from a seed.
        pretrained: Whether the other model starts from the weights of the base.
        seed: The other model's seed; the base's is 0.

    Returns:
        The number of shared tensors and the number of the base's tensors.
    """
    reference = read_checkpoint(weights).float() if weights else build_model(base, task, classes)
    source = reference if weights or pretrained else None
    base_tensors = reference.state_dict()
    tensors = _initialize(model, task, classes, source, seed + pretrained).state_dict()  # another seed than the base's
    rows = align_rows(ModelGraph(dict(model)), ModelGraph(dict(base)))
    shared = 0
    for target, row in rows.items():
        for key, tensor in base_tensors.items():
            if key.startswith(f"model.{row}."):
                counterpart = tensors.get(key.replace(f"model.{row}.", f"model.{target}.", 1))
                shared += counterpart is not None and torch.equal(counterpart, tensor)
    return shared, len(base_tensors)


def build_model(document: Mapping[str, Any], task: str, classes: int, seed: int = 0) -> nn.Module:
    """Build a model with the initial weights of a training run with a seed, without changing the random state."""
    kind = tasks.RTDETRDetectionModel if is_rtdetr(document) else _CLASSES[task]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every GPU
        return kind({**copy.deepcopy(dict(document)), "nc": classes}, ch=input_channels(document), verbose=False)  # type: ignore[no-any-return]


def _initialize(
    document: Mapping[str, Any], task: str, classes: int, weights: nn.Module | None, seed: int
) -> nn.Module:
    """Build a model and load the initial weights, if any."""
    model = build_model(document, task, classes, seed)
    if weights is not None:
        with align_every_model():
            model.load(weights, verbose=False)  # type: ignore[operator]
    return model
