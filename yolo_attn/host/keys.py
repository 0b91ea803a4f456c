"""The keys of a model YAML beside its rows: what is wrong with them, told before the host's parser stumbles over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import did_you_mean

__all__ = ["find_key_faults"]

_SCALE = 3  # depth, width, most channels


def find_key_faults(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with `nc`, `scales`, `scale`, the multiples and `activation`, each with its cure."""
    yield from _class_faults(document.get("nc"))
    yield from _scale_faults(document.get("scales"), document.get("scale"))
    for key in ("depth_multiple", "width_multiple"):
        if key in document and not _is_positive(document[key]):
            yield f"{key}: {document[key]!r} is no number above 0; write {key}: 1.0 or another"
    yield from _activation_faults(document.get("activation"))


def _class_faults(nc: Any) -> Iterator[str]:
    cure = "write the number of classes, such as nc: 80"
    if nc is None:
        yield f"nc: missing or empty; {cure}"
    elif isinstance(nc, bool) or not isinstance(nc, int) or nc < 1:
        yield f"nc: {nc!r} is no whole number of at least 1; {cure}"


def _scale_faults(scales: Any, scale: Any) -> Iterator[str]:
    if not scales:
        return
    if not isinstance(scales, dict):
        yield f"scales: {scales!r} is no mapping; write one line for each scale, such as n: [0.5, 0.25, 1024]"
        return
    for name, numbers in scales.items():
        if not isinstance(numbers, (list, tuple)) or len(numbers) != _SCALE or not all(map(_is_positive, numbers)):
            cure = "write depth, width and the most channels, such as [0.5, 0.25, 1024]"
            yield f"scales: {name}: {numbers!r} are not three numbers above 0; {cure}"
    if scale and scale not in scales:
        yield f"scale: {scale!r} is not one of its scales ({', '.join(map(str, scales))})"


def _activation_faults(activation: Any) -> Iterator[str]:
    if not activation:
        return
    path, bracket, _ = str(activation).partition("(")
    found: Any = tasks  # where Ultralytics' parser looks the name up
    for part in path.strip().split("."):
        found = getattr(found, part, None)
    if not bracket or not callable(found):
        name = path.rpartition(".")[2].strip()
        close = did_you_mean(name, [key for key, value in vars(nn).items() if isinstance(value, type)])
        hint = close.replace("mean ", "mean nn.").replace("?", "()?")
        yield f"activation: {activation!r} is no PyTorch module{hint or '; write one, such as nn.ReLU()'}"


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
