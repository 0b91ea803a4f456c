"""Attention maps of a model's layers for an image.

    maps = attention_maps("runs/detect/train/weights/best.pt", "street.jpg")

Temporary hooks record the inputs of each layer in one forward pass. The layer's method `attention_maps` then computes
its gate or weights from them. Nothing is stored on the modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yolo_attn.analysis.found_layers import FoundLayer, find_layers, offers_maps, offers_readings
from yolo_attn.analysis.layer_map import LayerMap, View
from yolo_attn.analysis.letterbox import (
    FloatMap,
    Frame,
    Image,
    central_square,
    check_image,
    letterbox,
    read_image,
    resample,
    stretch,
    to_tensor,
)
from yolo_attn.analysis.models import fitting_side, input_channels, max_stride, network_of
from yolo_attn.analysis.queries import Query, QueryMap, check_inside, query_maps, reading_problem
from yolo_attn.errors import UserError
from yolo_attn.host.detector import Detection, classifies, stretches
from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Layer

__all__ = ["AttentionMap", "ImageMaps", "NoMap", "Statistics", "attention_maps", "image_maps", "total_statistics"]

_DEFAULT_SIDE = 640
_PLANE_RANK = 2
_SAME = 0.02  # a gate whose values all differ by less is dead
_BY_QUERY = "each position has weights of its own; add point=x,y or point=detections"
_UNREACHED = "the forward pass does not reach it"
_NONE = Layer.no_attention_maps
_NEAR = 0.01  # a gate closer to 0 or 1 is saturated


@dataclass(frozen=True)
class Statistics:
    """Statistics of a gate or of weights, over positions and channels of one or more images.

    Args:
        count: Number of values.
        mean: Their mean.
        squares: Sum of their squared distances from the mean.
        zeros: Number of values within 0.01 of 0, which suppress the features.
        ones: Number of values within 0.01 of 1, which pass the features unchanged.
        lows: The least value of each channel.
        highs: The greatest value of each channel.
    """

    count: int
    mean: float
    squares: float
    zeros: int
    ones: int
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Statistics:
        """Return the statistics of the values of one image: (H, W), (C, H, W), or (C,)."""
        values = values.astype(np.float64)
        mean = float(values.mean())
        by_channel = values.reshape(1, -1) if values.ndim == _PLANE_RANK else values.reshape(len(values), -1)
        return cls(
            count=values.size,
            mean=mean,
            squares=float(((values - mean) ** 2).sum()),
            zeros=int((np.abs(values) <= _NEAR).sum()),
            ones=int((np.abs(values - 1) <= _NEAR).sum()),
            lows=by_channel.min(1),
            highs=by_channel.max(1),
        )

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of both together."""
        count = self.count + other.count
        difference = other.mean - self.mean
        return Statistics(
            count=count,
            mean=self.mean + difference * other.count / count,
            squares=self.squares + other.squares + difference**2 * self.count * other.count / count,
            zeros=self.zeros + other.zeros,
            ones=self.ones + other.ones,
            lows=np.minimum(self.lows, other.lows),
            highs=np.maximum(self.highs, other.highs),
        )

    @property
    def low(self) -> float:
        """The least value."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The greatest value."""
        return float(self.highs.max())

    @property
    def dead_channels(self) -> int | None:
        """Number of channels with nearly the same value at every position of every image; None for a single value."""
        return None if self.count == self.lows.size else int((self.highs - self.lows <= _SAME).sum())

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return float((self.squares / self.count) ** 0.5)

    @property
    def dead(self) -> bool:
        """Whether all values are nearly the same, at every position, in every channel and image."""
        return self.high - self.low <= _SAME

    def as_dict(self) -> dict[str, float | bool | None]:
        """Return the statistics as plain data, numbers near 0 and 1 as shares."""
        return {
            "mean": self.mean,
            "sd": self.sd,
            "zeros": self.zeros / self.count,
            "ones": self.ones / self.count,
            "low": self.low,
            "high": self.high,
            "dead": self.dead,
            "channels": self.lows.size,
            "dead_channels": self.dead_channels,
        }


@dataclass(frozen=True, kw_only=True)
class AttentionMap(LayerMap):
    """A gate, or weights that are the same for all queries.

    Args:
        unit: "gate": factors of the features; "weight": attention, where 1 is uniform.
        kind: "map" over positions, or "channels" where all positions have the same values.
        array: The map (h, w) of the letterboxed image, the mean over its channels; or the vector (C,).
        statistics: Statistics of all values on the image, before the mean over the channels.
    """

    unit: str
    kind: str
    array: FloatMap
    statistics: Statistics

    @property
    def scale_group(self) -> tuple[str, str, str]:
        """The maps that share a color scale: the same part of the same layer at all rows."""
        return self.layer, self.part, self.kind

    def on_image(self, height: int, width: int) -> FloatMap:
        """Return the map resized to the image at a given size, without the letterbox's padding."""
        return self.frame.onto_image(self.array, height, width)


@dataclass(frozen=True)
class NoMap:
    """An attention layer without maps.

    Args:
        row: Index of its row.
        name: The row's module and the path to the layer in it.
        reason: Why it has none.
        model: Name of the model, where there are several.
    """

    row: int
    name: str
    reason: str
    model: str = ""


@dataclass(frozen=True)
class ImageMaps:
    """The maps of a model's attention layers for one image.

    Args:
        name: File name of the image.
        image: The image, BGR or gray.
        maps: The maps, by row.
        without: The layers without maps.
        queries: The weights of self-attention for queries, by attention and query.
        detections: The model's detections, if it was asked for them.
        activation: Ultralytics' class activation map over the letterboxed image, BGR, or None.
        frame: Position of the image in the letterboxed image.
        model: Name of the model, where there are several.
    """

    name: str
    image: Image
    maps: tuple[AttentionMap, ...]
    without: tuple[NoMap, ...]
    queries: tuple[QueryMap, ...] = ()
    detections: tuple[Detection, ...] = ()
    activation: Image | None = None
    frame: Frame | None = None
    model: str = ""


def attention_maps(
    model: str | Path | nn.Module, image: str | Path | Image, *, imgsz: int | None = None
) -> list[AttentionMap]:
    """Return the attention maps of a model for an image.

    Args:
        model: A checkpoint, a model YAML (untrained then), a network or a `YOLO(...)`.
        image: An image's path, or the image (H, W, 3) as BGR.
        imgsz: Pixels of the longer side, rounded up to the model's stride; None for that of the training in a
            checkpoint, else 640.

    Raises:
        UserError: The model or image does not exist.
    """
    return list(image_maps(network_of(model), image, imgsz=imgsz).maps)


def image_maps(
    model: nn.Module,
    image: str | Path | Image,
    *,
    imgsz: int | None = None,
    queries: Sequence[Query] | None = None,
    name: str = "",
    model_name: str = "",
) -> ImageMaps:
    """Return the maps of a network's attention layers for an image, and the layers without maps.

    Args:
        model: The network.
        image: An image's path, or the image (H, W, 3) as BGR.
        imgsz: Pixels of the longer side, or of the central square for classification; None for that of the training.
        queries: Points of the image, for which the weights of self-attention are computed; None if none are asked for.
        name: Name of an image without a path.
        model_name: Name of the model, where there are several.

    Raises:
        UserError: The image does not exist, the model cannot take it, or a query is outside of it.
    """
    side = fitting_side(model, imgsz or trained_side(model))
    if isinstance(image, (str, Path)):
        name, image = Path(image).name, read_image(Path(image), input_channels(model))
    check_image(image, input_channels(model))
    check_inside(queries or (), image, name)
    if classifies(model):
        image, queries = _central(image, queries)
        framed, frame = resample(image, side)
    elif stretches(model):
        framed, frame = stretch(image, side)
    else:
        framed, frame = letterbox(image, side, max_stride(model))
    view = View(image, frame, model_name)
    gated = list(find_layers(model))
    reading = [layer for layer in find_layers(model, offers_readings) if offers_readings(layer.module) and queries]
    modules = [layer.module for layer in (*gated, *reading) if layer in reading or offers_maps(layer.module)]
    with _evaluating(model), torch.no_grad():
        inputs = _inputs_of(list(dict.fromkeys(modules)), model, to_tensor(framed))
        gates = [_gates_of(layer, inputs.get(layer.module), view) for layer in gated]
        weights = [_weights_of(layer, inputs.get(layer.module), queries or (), view) for layer in reading]
    reasons = zip((*gated, *reading), (reason for _, reason in (*gates, *weights)), strict=True)
    without = [NoMap(layer.row, layer.name, reason, model_name) for layer, reason in reasons if reason]
    return ImageMaps(
        name=name,
        image=image,
        maps=tuple(chain.from_iterable(found for found, _ in gates)),
        without=tuple(each for each in dict.fromkeys(without) if queries is None or each.reason != _BY_QUERY),
        queries=tuple(chain.from_iterable(found for found, _ in weights)),
        frame=frame,
        model=model_name,
    )


def _central(image: Image, queries: Sequence[Query] | None) -> tuple[Image, Sequence[Query] | None]:
    """Return the part of an image that a classification model sees, and the queries in its pixels.

    Raises:
        UserError: A query is outside of it.
    """
    rows, columns = central_square(*image.shape[:2])
    moved = [replace(each, x=each.x - columns.start, y=each.y - rows.start, label=str(each)) for each in queries or ()]
    side = rows.stop - rows.start
    for query in moved:
        if not (0 <= query.x < side and 0 <= query.y < side):
            raise UserError(
                f"point {query.label}: outside of the central square, which is all that a classification model sees "
                f"(x from {columns.start} to {columns.stop - 1}, y from {rows.start} to {rows.stop - 1})"
            )
    return image[rows, columns], None if queries is None else moved


def trained_side(model: nn.Module) -> int:
    """Return the image size that a network was trained with, or 640 if it is unknown."""
    args = getattr(model, "args", None)
    side = args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)
    return side if isinstance(side, int) else _DEFAULT_SIDE


def total_statistics(images: Iterable[ImageMaps]) -> dict[tuple[int, str, str], Statistics]:
    """Return the statistics of each map over several images, by its key."""
    every: dict[tuple[int, str, str], list[Statistics]] = {}
    for image in images:
        for found in image.maps:
            every.setdefault(found.key, []).append(found.statistics)
    return {key: reduce(Statistics.__add__, parts) for key, parts in every.items()}


def _gates_of(layer: FoundLayer, inputs: Sequence[torch.Tensor] | None, view: View) -> tuple[list[AttentionMap], str]:
    """Return a layer's maps, or nothing and the reason; `inputs` is None if the image did not reach the layer."""
    module: Any = layer.module
    if not offers_maps(module):
        return [], _BY_QUERY if offers_readings(module) else getattr(module, "no_attention_maps", _NONE)
    if inputs is None:
        return [], _UNREACHED
    values: list[AttentionValues] = module.attention_maps(inputs)
    for each in values:
        shape = tuple(each.values.shape)
        if len(shape) not in {1, 2, 3} or (each.is_map and shape[-2:] != tuple(inputs[0].shape[2:])):
            return [], f"its attention_maps has values of shape {shape}; use (H, W), (C, H, W) or (C,)"
    found = [_map(layer, each, inputs[0].shape[2], view) for each in values]
    return found, "" if found else "its attention_maps is empty"


def _inputs_of(
    modules: Sequence[nn.Module], model: nn.Module, image: torch.Tensor
) -> dict[nn.Module, list[torch.Tensor]]:
    """Return the inputs of each module in a forward pass; modules that are not called are missing."""
    inputs: dict[nn.Module, list[torch.Tensor]] = {}

    def record(module: nn.Module, args: tuple[Any, ...]) -> None:
        given = args[0]
        # Copies, because a later layer may work in place.
        inputs[module] = [x.clone() for x in ([given] if isinstance(given, torch.Tensor) else given)]

    handles = [module.register_forward_pre_hook(record) for module in modules]
    parameter = next(model.parameters(), image)
    try:
        model(image.to(parameter.device, parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _weights_of(
    layer: FoundLayer, inputs: Sequence[torch.Tensor] | None, queries: Sequence[Query], view: View
) -> tuple[list[QueryMap], str]:
    """Return the weights of a layer's attentions for queries, or nothing and the reason, as `_gates_of`."""
    if inputs is None:
        return [], _UNREACHED
    module: Any = layer.module
    readings = module.readings(inputs)
    problem = reading_problem(readings, inputs)
    return ([], problem) if problem else (query_maps(layer, readings, inputs, queries, view), "")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode without gradients of its parameters, and restore both afterwards."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()
        for module in training:
            module.training = True


def _map(layer: FoundLayer, attention: AttentionValues, height: int, view: View) -> AttentionMap:
    """Return a layer's attention as a map; the height is that of the layer's map."""
    values: NDArray[Any] = attention.values.float().cpu().numpy()
    return AttentionMap(
        row=layer.row,
        name=layer.name,
        layer=layer.layer,
        part=attention.part,
        stride=view.frame.height / height,
        frame=view.frame,
        model=view.model,
        unit=attention.unit,
        kind="map" if attention.is_map else "channels",
        array=attention.plane().float().cpu().numpy(),
        statistics=Statistics.of(view.frame.inside(values) if attention.is_map else values),
    )
