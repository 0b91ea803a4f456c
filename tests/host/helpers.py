"""Helpers shared by the tests of host/."""

from __future__ import annotations

import copy
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

from yolo_attn.graph import ModelGraph
from yolo_attn.host import freezing
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.model_kind import task_of


def build(document: dict[str, Any] | str, seed: int = 0, nc: int | None = None) -> DetectionModel:
    """Build a detection model from a seed."""
    torch.manual_seed(seed)
    return DetectionModel(copy.deepcopy(document), nc=nc, verbose=False)


def build_as_its_class(document: dict[str, Any], seed: int = 0) -> nn.Module:
    """Build a model of any task with the Ultralytics class of its head, without a download."""
    document = copy.deepcopy(document)
    for row in document["backbone"]:
        if row[2] == "TorchVision":
            row[3][2] = None
    head = document["head"][-1][2]
    starts = {"RTDETR": "RTDETR", "World": "YOLOWorld", "YOLOE": "YOLOE"}
    kind = getattr(ultralytics, next((k for start, k in starts.items() if head.startswith(start)), "YOLO"))
    torch.manual_seed(seed)
    return kind.task_map.fget(None)[task_of(document)]["model"](document, verbose=False)


def with_row(base: str, after: int, layer: str, *args: Any, redirect: bool = True) -> tuple[dict[str, Any], int]:
    """Return a base's YAML with one inserted row, and that row's index."""
    graph = ModelGraph(model_yaml(base))
    new = graph.insert_after(after, layer, list(args), redirect=redirect)
    return graph.to_document(), new


def base_key(key: str, new: int) -> str:
    """Return the key of a base tensor in a model with one row inserted at index `new`."""
    head, index, *rest = key.split(".")
    return ".".join([head, str(int(index) + (int(index) >= new)), *rest])


def marked(model: nn.Module) -> nn.Module:
    """Give every tensor of a model distinct values, to detect misplaced tensors."""
    model = copy.deepcopy(model)
    for number, value in enumerate(model.state_dict().values()):
        value.copy_(torch.full_like(value, number + 1) if not value.is_floating_point() else value + number + 1)
    return model


def equal_tensors(base: nn.Module, variant: nn.Module, new: int) -> int:
    """Count the base's tensors with equal values in their own layers of the variant."""
    there: dict[str, Tensor] = variant.state_dict()
    return sum(torch.equal(value, there[base_key(key, new)]) for key, value in base.state_dict().items())


def exports_onnx() -> bool:
    """Return whether this Ultralytics requests the exporter that it was written for (8.3.x does not)."""
    from ultralytics.utils import patches

    return "dynamo" in inspect.getsource(patches)


def python(code: str, *args: str, cwd: Any = None, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def tiny_dataset(folder: Path) -> Path:
    """Write two images with a box each, and return the data YAML."""
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for n in range(2):
        cv2.imwrite(str(folder / "images" / f"{n}.png"), np.full((32, 32, 3), 90 * n + 40, np.uint8))
        (folder / "labels" / f"{n}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [thing]\n")
    return folder / "data.yaml"


def set_up(model: str, data: Path, folder: Path, **arguments: Any) -> DetectionTrainer:
    """Return a trainer in its state before the first step."""
    given = {
        **{"model": model, "data": str(data), "imgsz": 32, "batch": 2, "workers": 0, "device": "cpu", "plots": False},
        **{"project": str(folder), "exist_ok": True, "optimizer": "SGD", "lr0": 0.01, **arguments},
    }
    trainer = DetectionTrainer(overrides=given)
    older = "world_size" in inspect.signature(freezing.FREEZING.original).parameters
    trainer._setup_train(*[1] * older)
    return trainer
