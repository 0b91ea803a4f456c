"""Open a checkpoint, with its faults told in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import UserError

__all__ = ["check_checkpoint", "is_rtdetr", "read_checkpoint", "task_of"]


_MODEL_OWNERS = (b"ultralytics", b"models.yolo")  # the packages whose classes a checkpoint of a model names


def check_checkpoint(path: str | Path) -> None:
    """Raise UserError when a file is there but is no whole checkpoint; a missing one may still be downloaded."""
    file = Path(path)
    if not file.exists():
        return
    if file.is_dir():
        raise UserError(f"{path}: a folder, not a checkpoint")
    if file.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; copy or train it again")
    with file.open("rb") as stream:
        start = stream.read(4)
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(file) as archive:
                pickled = [archive.read(n) for n in archive.namelist() if n.endswith("data.pkl")]
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: the checkpoint is truncated or damaged; copy or train it again") from error
        if not pickled:
            raise UserError(f"{path}: a zip file, but not a PyTorch checkpoint")
        if not any(owner in pickled[0] for owner in _MODEL_OWNERS):
            raise UserError(f"{path}: not a checkpoint of an Ultralytics model")
    elif start[:1] != b"\x80":  # checkpoints of old PyTorch versions are bare pickles
        raise UserError(f"{path}: not a PyTorch checkpoint")


def read_checkpoint(path: str | Path) -> nn.Module:
    """Return the model of a checkpoint, in float32.

    Raises:
        UserError: The file is missing and cannot be downloaded, or is no checkpoint of a model.
    """
    check_checkpoint(path)
    load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
    try:
        model, _ = load(str(path))
    except OSError as error:  # not there, or not to be downloaded
        raise UserError(f"{path}: no such checkpoint") from error
    except (TypeError, KeyError, AttributeError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{path}: not a checkpoint of an Ultralytics model ({reason[0] if reason else error!r})"
        ) from error
    return model  # type: ignore[no-any-return]


def is_rtdetr(document: Mapping[str, Any]) -> bool:
    """Whether a model YAML is an RT-DETR, which has classes of its own in Ultralytics."""
    return bool(document["head"][-1][2] == "RTDETRDecoder")


def task_of(document: Mapping[str, Any]) -> str:
    """Return the task of a model YAML."""
    return str(tasks.guess_model_task(dict(document)) or "detect")  # None for RT-DETR, which only detects
