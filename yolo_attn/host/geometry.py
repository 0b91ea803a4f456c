"""Strides, parameters and operations of a model's rows, found by building it without memory (torch's meta device)."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn import tasks

__all__ = ["Cost", "model_cost", "row_strides"]

_SIDE = 256  # a multiple of every stride in use


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Args:
        params: Number of parameters.
        gflops: Operations for one image in billions, two for a multiplication and addition; the head's decoding of
            boxes is not counted.
    """

    params: int
    gflops: float


def row_strides(document: dict[str, Any]) -> list[float | None]:
    """Return the stride of each row's output relative to the image; None where it is no single map.

    Args:
        document: A complete model YAML as a mapping; with several scales, `scale` says which.
    """
    return list(_strides(json.dumps(document, sort_keys=True)))


@functools.lru_cache(maxsize=16)
def _strides(document: str) -> tuple[float | None, ...]:
    modules, outputs = _run(json.loads(document), _SIDE, with_head=False)
    maps = [x if isinstance(x, torch.Tensor) and x.ndim == 4 else None for x in outputs]  # noqa: PLR2004 - B, C, H, W
    strides = (None if x is None else _SIDE / x.shape[2] for x in maps)
    return (*strides, *[None] * (len(modules) - len(maps)))


def model_cost(document: dict[str, Any], imgsz: int = 640) -> Cost:
    """Return parameters and GFLOPs of a model YAML at an image size."""
    with FlopCounterMode(display=False) as counter:
        modules, _ = _run(document, imgsz, with_head=True)
    return Cost(sum(p.numel() for p in modules.parameters()), counter.get_total_flops() / 1e9)


def _run(document: dict[str, Any], side: int, *, with_head: bool) -> tuple[nn.Sequential, list[Any]]:
    """Build a model and send an image through its rows; return the rows and their outputs."""
    channels = int(document.get("channels") or 3)
    modules: nn.Sequential
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        modules, _ = tasks.parse_model(_with_scale(document), channels, False)
    modules.eval()
    modules[-1].train()  # detection heads return their maps then, and decode no boxes
    outputs: list[Any] = []
    x: Any = torch.zeros(1, channels, side, side, device="meta")
    with torch.no_grad(), torch.device("meta"):
        for module in modules if with_head else modules[:-1]:
            source: Any = module.f
            if source != -1:
                x = outputs[source] if isinstance(source, int) else [x if s == -1 else outputs[s] for s in source]
            x = module(x)
            outputs.append(x)
    return modules, outputs


def _with_scale(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with a scale, so that the parser does not warn about the missing one."""
    document = copy.deepcopy(document)
    if document.get("scales") and not document.get("scale"):
        document["scale"] = next(iter(document["scales"]))
    return document
