"""The task of a model YAML and the Ultralytics class that runs it, by the model's head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ultralytics
from ultralytics.nn import tasks

__all__ = ["is_rtdetr", "model_class", "task_of"]

_CLASS_OF_HEAD = {"World": "YOLOWorld", "YOLOE": "YOLOE"}  # by the beginning of the head's name


def task_of(document: Mapping[str, Any]) -> str:
    """Return the task of a model YAML."""
    return str(tasks.guess_model_task(dict(document)) or "detect")  # None for RT-DETR, which only detects


def is_rtdetr(document: Mapping[str, Any]) -> bool:
    """Return whether a model YAML is an RT-DETR, which has its own classes in Ultralytics."""
    return bool(document["head"][-1][2] == "RTDETRDecoder")


def model_class(document: Mapping[str, Any]) -> Any:
    """Return the Ultralytics class for a model YAML, whose file name may not tell."""
    if is_rtdetr(document):
        return ultralytics.RTDETR
    head = str(document["head"][-1][2])
    name = next((name for start, name in _CLASS_OF_HEAD.items() if head.startswith(start)), "YOLO")
    return getattr(ultralytics, name)
