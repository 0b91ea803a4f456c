"""The task of a model YAML and the Ultralytics class that runs it, by the model's head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ultralytics
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.host.installation import ultralytics_version

__all__ = ["input_channels", "is_rtdetr", "load_yolo", "model_class", "task_of"]

_CLASS_OF_HEAD = {"World": "YOLOWorld", "YOLOE": "YOLOE"}  # by the beginning of the head's name


def task_of(document: Mapping[str, Any]) -> str:
    """Return the task of a model YAML.

    Raises:
        UserError: The installed Ultralytics lacks the task.
    """
    if document["head"][-1][2] == "SemanticSegment" and not hasattr(tasks, "SemanticSegmentationModel"):
        raise UserError(
            f"this model is a semantic segmentation, which Ultralytics {ultralytics_version()} lacks; install a newer "
            "release: pip install -U ultralytics"
        )
    return str(tasks.guess_model_task(dict(document)) or "detect")  # None for RT-DETR, which only detects


def input_channels(document: Mapping[str, Any]) -> int:
    """Return the number of channels of a model's images."""
    return int(document.get("channels") or document.get("ch") or 3)


def is_rtdetr(document: Mapping[str, Any]) -> bool:
    """Return whether a model YAML is an RT-DETR, which has its own classes in Ultralytics."""
    return bool(document["head"][-1][2] == "RTDETRDecoder")


def model_class(document: Mapping[str, Any]) -> Any:
    """Return the Ultralytics class for a model YAML, regardless of its file name."""
    if is_rtdetr(document):
        return ultralytics.RTDETR
    head = str(document["head"][-1][2])
    name = next((name for start, name in _CLASS_OF_HEAD.items() if head.startswith(start)), "YOLO")
    return getattr(ultralytics, name)


def load_yolo(file: str | Path, document: Mapping[str, Any], task: str | None = None) -> Any:
    """Open a model YAML or a checkpoint as an Ultralytics model.

    Args:
        file: The file; its name need not contain the family.
        document: Its model YAML as a mapping.
        task: The model's task; by default Ultralytics derives it from the head.
    """
    if is_rtdetr(document):
        return ultralytics.RTDETR(str(file))  # which takes no task
    return ultralytics.YOLO(str(file), task=task)
