"""Channels and strides of a model's rows, found by building it without memory (torch's meta device)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.nn import tasks

__all__ = ["row_strides"]

_SIDE = 256  # a multiple of every stride in use


def row_strides(document: dict[str, Any]) -> list[float | None]:
    """Return the stride of each row's output relative to the image; None where it is no single map.

    Args:
        document: A complete model YAML as a mapping; with several scales, `scale` says which.
    """
    channels = int(document.get("channels") or 3)
    modules: nn.Sequential
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        modules, _ = tasks.parse_model(_with_scale(document), channels, False)
    modules.eval()
    strides: list[float | None] = []
    outputs: list[Any] = []
    x: Any = torch.zeros(1, channels, _SIDE, _SIDE, device="meta")
    with torch.no_grad(), torch.device("meta"):
        for module in modules[:-1]:
            x = _run(module, x, outputs)
            outputs.append(x)
            is_map = isinstance(x, torch.Tensor) and x.ndim == 4  # noqa: PLR2004 - (B, C, H, W)
            strides.append(_SIDE / x.shape[2] if is_map else None)
    return [*strides, None]


def _run(module: nn.Module, x: Any, outputs: list[Any]) -> Any:
    """Run one row on what it reads."""
    source: Any = module.f
    if source != -1:
        x = outputs[source] if isinstance(source, int) else [x if s == -1 else outputs[s] for s in source]
    return module(x)


def _with_scale(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with a scale, so that the parser does not warn about the missing one."""
    import copy

    document = copy.deepcopy(document)
    if document.get("scales") and not document.get("scale"):
        document["scale"] = next(iter(document["scales"]))
    return document
