"""Strides, parameters and operations of a model's rows, found by building it without memory (torch's meta device)."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolo_attn.errors import RowError, UserError
from yolo_attn.graph import block_of
from yolo_attn.host.parser import build_rows, check_safe

__all__ = ["Cost", "build_on_meta", "model_cost", "row_strides", "run_on_meta"]

_SIDE = 256  # a multiple of every stride in use
_WEIGHTS = 2  # where a TorchVision row [channels, model, weights, ...] names the weights that it downloads
_TEXT_WIDTH = 512  # of the text features that open-vocabulary models read, as the host's own placeholders have it


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
    check_safe(document)
    try:
        text = json.dumps(document, sort_keys=True, default=repr)  # YAML knows dates and bytes, too
    except (ValueError, RecursionError) as error:
        raise UserError("this model YAML refers to itself; write its values out instead of by *name") from error
    return list(_strides(text))


@functools.lru_cache(maxsize=16)
def _strides(document: str) -> tuple[float | None, ...]:
    modules, outputs = run_on_meta(json.loads(document), _SIDE, with_head=False)
    maps = [x if isinstance(x, torch.Tensor) and x.ndim == 4 else None for x in outputs]  # noqa: PLR2004 - B, C, H, W
    strides = (None if x is None else _SIDE / x.shape[2] for x in maps)
    return (*strides, *[None] * (len(modules) - len(maps)))


def model_cost(document: dict[str, Any], imgsz: int = 640) -> Cost:
    """Return parameters and GFLOPs of a model YAML at an image size."""
    with FlopCounterMode(display=False) as counter:
        modules, _ = run_on_meta(document, imgsz, with_head=True)
    return Cost(sum(p.numel() for p in modules.parameters()), counter.get_total_flops() / 1e9)


def run_on_meta(document: dict[str, Any], side: int, *, with_head: bool) -> tuple[nn.Sequential, list[Any]]:
    """Build a model and send an image through its rows; return the rows and their outputs."""
    channels = int(document.get("channels") or 3)
    modules = build_on_meta(document)
    modules.eval()
    if type(modules[-1]).__name__ != "RTDETRDecoder":  # which cannot train without boxes
        modules[-1].train()  # detection heads return their maps then, and decode no boxes
    outputs: list[Any] = []
    x: Any = torch.zeros(1, channels, side, side, device="meta")
    text = torch.zeros(1, int(document.get("nc") or 80), _TEXT_WIDTH, device="meta")
    with torch.no_grad(), torch.device("meta"):
        for i, module in enumerate(modules if with_head else modules[:-1]):
            source: Any = module.f
            if source != -1:
                x = outputs[source] if isinstance(source, int) else [x if s == -1 else outputs[s] for s in source]
            x = _call(i, module, x, text)
            if type(module).__name__ == "ImagePoolingAttn":
                text = x
            outputs.append(x)
    return modules, outputs


def build_on_meta(document: dict[str, Any]) -> nn.Sequential:
    """Return a model's rows without memory and without a download, at its scale or, when it states none, its first."""
    document = copy.deepcopy(document)
    if not document.get("scale") and isinstance(document.get("scales"), dict) and document["scales"]:
        document["scale"] = next(iter(document["scales"]))
    for row in [*document["backbone"], *document["head"]]:
        if block_of(row[2]) == "TorchVision" and len(row[3]) >= _WEIGHTS:
            row[3][_WEIGHTS : _WEIGHTS + 1] = [None]  # which are the default ones where the row names none
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return build_rows(document, int(document.get("channels") or 3))


def _call(i: int, module: nn.Module, x: Any, text: torch.Tensor) -> Any:
    """Call a row as the host's model classes do: rows of open-vocabulary models read text features too."""
    name = type(module).__name__
    try:
        if name in ("C2fAttn", "ImagePoolingAttn", "WorldDetect"):
            return module(x, text)
        if name.startswith("YOLOE"):  # early releases take the text beside the maps, later ones among them
            beside = {"cls_pe", "text"} & signature(module.forward).parameters.keys()
            return module(x, text) if beside else module([*x, text])
        return module(x)
    except NotImplementedError:  # of PyTorch's, for the meta device
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RowError(i, f"{name} cannot take what it reads: {reason}") from error
