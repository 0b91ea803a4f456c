"""Strides, parameters and operations of a model's rows.

Parameters and operations are counted on torch's meta device, without memory. Its operators import torch's compiler,
which takes twenty times as long as to build a small model, so the strides are those of an image on the CPU.
"""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from yolo_attn.errors import RowError, UserError
from yolo_attn.graph import ModelGraph, block_of
from yolo_attn.graph.lint import find_head_problems
from yolo_attn.host.model_kind import input_channels, is_rtdetr
from yolo_attn.host.parser import build_rows, check_safe
from yolo_attn.layers.base import Convolution

__all__ = ["Cost", "build_on_meta", "check_strides", "model_cost", "row_strides", "run_on_meta"]

_SIDE = 256  # a multiple of every stride in use
_WEIGHTS = 2  # index of the weights to download in a TorchVision row [channels, model, weights, ...]
_TEXT_WIDTH = 512  # of the text features of open-vocabulary models, as in Ultralytics' placeholders


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Args:
        params: Number of parameters.
        gflops: Operations for one image in billions, with two for a multiplication and addition, without the head's
            decoding of boxes.
    """

    params: int
    gflops: float


def row_strides(document: dict[str, Any]) -> list[float | None]:
    """Return the stride of each row's output relative to the image; None if it is not a single map.

    Args:
        document: A complete model YAML as a mapping; if it has several scales, `scale` selects one.
    """
    check_safe(document)
    try:
        text = json.dumps(document, default=repr)  # YAML also has dates and bytes
    except (ValueError, RecursionError) as error:
        raise UserError("this model YAML refers to itself; replace every *name by its value") from error
    return list(_strides(text))


@functools.lru_cache(maxsize=16)
def _strides(document: str) -> tuple[float | None, ...]:
    with _Zeros():
        modules, outputs = _run(json.loads(document), _SIDE, torch.device("cpu"), with_head=False)
    maps = [x if isinstance(x, torch.Tensor) and x.ndim == 4 else None for x in outputs]  # noqa: PLR2004 - B, C, H, W
    strides = (None if x is None else _SIDE / x.shape[2] for x in maps)
    return (*strides, *[None] * (len(modules) - len(maps)))


def check_strides(document: dict[str, Any]) -> None:
    """Check that the rows and the head of a model can read the maps that its convolutions of attention return.

    Raises:
        RowError: A row or the head cannot; the message has the strides of these convolutions.
    """
    for finding in find_head_problems(ModelGraph(document), row_strides(document)):
        raise RowError(finding.row or 0, finding.message + _own_strides(build_on_meta(document)))


def model_cost(document: dict[str, Any], imgsz: int = 640) -> Cost:
    """Return parameters and GFLOPs of a model YAML at an image size."""
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    with FlopCounterMode(display=False) as counter:
        modules, _ = run_on_meta(document, imgsz, with_head=True)
    return Cost(sum(p.numel() for p in modules.parameters()), counter.get_total_flops() / 1e9)


class _Zeros(TorchFunctionMode):
    """Fills new parameters with zeros, because random numbers take most of the time to build a large model."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, or replace its random numbers."""
        if func in _RANDOM:
            tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()
            return tensor
        return func(*args, **(kwargs or {}))


_RANDOM = (torch.Tensor.uniform_, torch.Tensor.normal_, nn.init.kaiming_uniform_)


def run_on_meta(document: dict[str, Any], side: int, *, with_head: bool) -> tuple[nn.Sequential, list[Any]]:
    """Build a model and run its rows on an image; return the rows and their outputs."""
    return _run(document, side, torch.device("meta"), with_head=with_head)


def _run(
    document: dict[str, Any], side: int, device: torch.device, *, with_head: bool
) -> tuple[nn.Sequential, list[Any]]:
    channels = input_channels(document)
    modules = _build(document, device)
    modules.eval()
    if not is_rtdetr(document):  # whose head cannot train without boxes
        modules[-1].train()  # in training mode detection heads return their maps without decoding boxes
    outputs: list[Any] = []
    x: Any = torch.zeros(1, channels, side, side, device=device)
    text = torch.zeros(1, int(document.get("nc") or 80), _TEXT_WIDTH, device=device)
    with torch.no_grad(), device:
        for i, module in enumerate(modules if with_head else modules[:-1]):
            source: Any = module.f
            if source != -1:
                x = outputs[source] if isinstance(source, int) else [x if s == -1 else outputs[s] for s in source]
            try:
                x = _call(i, module, x, text)
            except RowError as error:
                raise RowError(error.row, error.problem + _own_strides(modules[:i])) from error
            if type(module).__name__ == "ImagePoolingAttn":
                text = x
            outputs.append(x)
    return modules, outputs


def _own_strides(modules: nn.Sequential) -> str:
    """Return the end of a message about maps of the wrong sizes: the strides of the convolutions of attention."""
    convolutions = [(i, module) for i, module in enumerate(modules) if isinstance(module, Convolution)]
    return "".join(f"; row {i} {type(module).__name__} has stride {module.stride}" for i, module in convolutions)


def build_on_meta(document: dict[str, Any]) -> nn.Sequential:
    """Build a model's rows without memory and downloads, at its scale or, if it has none, its first scale."""
    return _build(document, torch.device("meta"))


def _build(document: dict[str, Any], device: torch.device) -> nn.Sequential:
    document = copy.deepcopy(document)
    if not document.get("scale") and isinstance(document.get("scales"), dict) and document["scales"]:
        document["scale"] = next(iter(document["scales"]))
    for row in [*document["backbone"], *document["head"]]:
        if block_of(row[2]) == "TorchVision" and len(row[3]) >= _WEIGHTS:
            row[3][_WEIGHTS : _WEIGHTS + 1] = [None]  # which are otherwise the default weights
    with device, torch.random.fork_rng(devices=[]):
        return build_rows(document, input_channels(document))


def _call(i: int, module: nn.Module, x: Any, text: torch.Tensor) -> Any:
    """Call a row as Ultralytics' model classes do: rows of open-vocabulary models also read text features."""
    name = type(module).__name__
    try:
        if name in ("C2fAttn", "ImagePoolingAttn", "WorldDetect"):
            return module(x, text)
        if name.startswith("YOLOE"):  # early releases take the text separately, later ones among the maps
            separate = {"cls_pe", "text"} & signature(module.forward).parameters.keys()
            return module(x, text) if separate else module([*x, text])
        return module(x)
    except NotImplementedError:  # PyTorch's, for the meta device
        raise
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    ) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RowError(i, f"{name} cannot process its input: {reason}") from error
