"""The weights of self-attention for chosen positions of an image.

A query is a point of the image. Each layer in which positions attend to positions has a map of weights for it, for each
head: how much each position contributes to the context of the query's position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from yolo_attn.analysis.found_layers import FoundLayer
from yolo_attn.analysis.layer_map import LayerMap, View
from yolo_attn.analysis.letterbox import FloatMap, Image
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.layers.attention_values import Reading

__all__ = [
    "DETECTIONS",
    "Asked",
    "Points",
    "Query",
    "QueryMap",
    "check_inside",
    "parse_points",
    "query_maps",
    "reading_problem",
]

Points: TypeAlias = "str | Sequence[float] | Sequence[Sequence[float]]"

Detections: TypeAlias = Literal["detections"]
DETECTIONS: Detections = "detections"
_USE = "use x,y in pixels of the image (point=120,80), several as point=120,80,300,200, or point=detections"
_HALF = 0.5
_MAP_RANK = 4


@dataclass(frozen=True)
class Query:
    """A point of an image.

    Args:
        x: Column, in pixels of the image.
        y: Row, in pixels of the image.
        label: The detection that it is the center of, such as "dog 0.91"; "" for a point.
    """

    x: float
    y: float
    label: str = ""

    def __str__(self) -> str:
        return self.label or f"x={self.x:g}, y={self.y:g}"


@dataclass(frozen=True, kw_only=True)
class QueryMap(LayerMap):
    """The weights of one attention for one query; the stride is that of the map that is attended to.

    Args:
        number: Index of the query.
        query: The query.
        heads: The weights by head (heads, h, w), over the positions of the letterboxed image.
        points: Sampling points (heads, n, 2), x and y in positions of the letterboxed image from 0 to 1; None for
            layers that attend to positions of a grid.
        point_weights: Their weights (heads, n); None without points.
    """

    number: int
    query: Query
    heads: FloatMap
    points: FloatMap | None = None
    point_weights: FloatMap | None = None

    @property
    def array(self) -> FloatMap:
        """The mean over the heads, (h, w)."""
        return np.asarray(self.heads.mean(0), np.float32)

    @property
    def positions(self) -> int:
        """Number of positions that overlap the image, of the map that is attended to."""
        return int(self.frame.inside(self.array).size)

    @property
    def focus(self) -> int:
        """The least number of these positions that have half of their weight, of the mean over the heads."""
        weights = np.sort(np.abs(self.frame.inside(self.array)).ravel())[::-1].astype(np.float64).cumsum()
        return int(np.searchsorted(weights, _HALF * weights[-1]) + 1)

    def shown(self, head: int | None = None) -> FloatMap:
        """Return the weights in the image, of positions or sampling points, as multiples of uniform ones.

        Args:
            head: Index of a head; None for the mean.
        """
        if self.points is not None:
            return self.points_on_image(1, 1, head)[2]
        weights = self.array if head is None else self.heads[head]
        return np.asarray(self.frame.inside(weights) * weights.size, np.float32)

    def points_on_image(self, height: int, width: int, head: int | None = None) -> tuple[FloatMap, FloatMap, FloatMap]:
        """Return x, y and relative weight of each sampling point, in pixels of an image of this size.

        For the mean over the heads, those are the points of all groups of heads.
        """
        if self.points is None or self.point_weights is None:
            raise ValueError(f"{self.name} attends to the positions of a grid")
        points, weights = self.points, self.point_weights * self.point_weights.shape[1]
        if head is not None:
            points, weights = points[head : head + 1], weights[head : head + 1]
        else:  # heads of one group share their points
            points, index = np.unique(points, axis=0, return_inverse=True)
            weights = np.stack([weights[index.ravel() == n].mean(0) for n in range(len(points))])
        x, y = np.moveaxis(self.in_pixels(points, height, width), -1, 0)
        return x.ravel(), y.ravel(), weights.ravel()

    def in_pixels(self, points: FloatMap, height: int, width: int) -> FloatMap:
        """Return points (..., 2) of the letterboxed image, x and y from 0 to 1, in pixels of an image of this size."""
        left, right, bottom, top = self.frame.extent(height, width)
        return np.asarray([left, top] + points * [right - left, bottom - top], np.float32)

    def on_image(self, height: int, width: int, head: int | None = None) -> FloatMap:
        """Return the weights at an image's pixels, without the letterbox's padding.

        Args:
            height: Height of the result.
            width: Its width.
            head: Index of a head; None for the mean.
        """
        return self.frame.onto_image(self.array if head is None else self.heads[head], height, width)


Asked: TypeAlias = tuple[Query, ...] | Detections
"""The queries that are asked for: points, or the centers of detections."""


def parse_points(value: Points) -> Asked:
    """Return points as queries, or "detections".

    Args:
        value: "detections", "120,80", "120,80,300,200", "120,80;300,200", (120, 80) or [(120, 80), (300, 200)].

    Raises:
        UserError: The value is none of these.
    """
    if isinstance(value, str):
        text = value.strip().strip("[]()")
        if text == DETECTIONS:
            return DETECTIONS
        numbers: list[Any] = [part for part in re.split(r"[,;()\[\]\s]+", text) if part]
    else:
        numbers = np.asarray(value, dtype=object).ravel().tolist()
    try:
        found = [float(number) for number in numbers]
    except (TypeError, ValueError):
        raise UserError(f"point={value}: {_USE}{did_you_mean(str(value), [DETECTIONS])}") from None
    if not found or len(found) % 2 or not np.isfinite(found).all():
        raise UserError(f"point={value}: {_USE}")
    return tuple(Query(x, y) for x, y in zip(found[::2], found[1::2], strict=True))


def check_inside(queries: Sequence[Query], image: Image, name: str) -> None:
    """Raise UserError unless all queries are points of an image."""
    height, width = image.shape[:2]
    for query in queries:
        if not (0 <= query.x < width and 0 <= query.y < height):
            raise UserError(
                f"point={query.x:g},{query.y:g}: outside of {name or 'the image'}, which has {width} x {height} pixels "
                f"(x from 0 to {width - 1}, y from 0 to {height - 1})"
            )


def query_maps(
    layer: FoundLayer,
    readings: Sequence[Reading],
    inputs: Sequence[torch.Tensor],
    queries: Sequence[Query],
    view: View,
) -> list[QueryMap]:
    """Return the weights of a layer's attentions for queries.

    Args:
        layer: The layer.
        readings: Its attentions.
        inputs: Its inputs.
        queries: Points of the image.
        view: The image.
    """
    size, frame = view.image.shape[:2], view.frame
    positions = [frame.position(query.x, query.y, size, inputs[0].shape[2:]) for query in queries]
    found: list[QueryMap] = []
    for reading in readings:
        height, width = inputs[reading.source].shape[2:]
        weights = reading.weights(positions).detach().float().cpu()
        on_map = reading.on_map(weights, height, width).numpy()
        points = _points(reading, height, width)
        found += [
            QueryMap(
                row=layer.row,
                name=layer.name,
                layer=layer.layer,
                part=reading.part,
                stride=frame.height / height,
                frame=frame,
                model=view.model,
                number=number,
                query=query,
                heads=on_map[number],
                points=points,
                point_weights=None if points is None else weights[number].flatten(1).numpy(),
            )
            for number, query in enumerate(queries)
        ]
    return found


def reading_problem(readings: object, inputs: Sequence[torch.Tensor]) -> str:
    """Return why a layer's readings have no weights, for the author of the layer; "" if they have.

    Parameters must not require gradients, so that only the contexts' dependence on the values does.

    Args:
        readings: What the layer's method `readings` returned.
        inputs: The layer's inputs.
    """
    if not isinstance(readings, Sequence) or not all(isinstance(each, Reading) for each in readings):
        return "its readings is not a list of Reading"
    problems = filter(None, (_problem_of(each, inputs) for each in readings))
    return next((f"its readings has {problem}" for problem in problems), "" if readings else "its readings is empty")


def _problem_of(reading: Reading, inputs: Sequence[torch.Tensor]) -> str:
    """Return what is wrong with one attention, or ""."""
    values, heads, points = reading.values, reading.heads, reading.points
    shape = tuple(values.shape)
    if not 0 <= reading.source < len(inputs):
        return f"source={reading.source}; the layer has {len(inputs)} inputs, counted from 0"
    if heads < 1 or (reading.step is not None and reading.step < 1):
        return f"heads={heads} and step={reading.step}; use positive integers"
    if len(shape) != _MAP_RANK or shape[0] != 1 or shape[1] % heads:
        return f"values of shape {shape}; use (1, C, h, w), where heads={heads} divides C"
    if points is not None and (tuple(points.shape[1:]) != (*shape[2:], 2) or heads % len(points)):
        return f"points of shape {tuple(points.shape)}; use (groups, {shape[2]}, {shape[3]}, 2)"
    with torch.enable_grad():
        contexts = reading.contexts(values.detach().requires_grad_())
    shape, (height, width) = tuple(contexts.shape), inputs[0].shape[2:]
    fits = len(shape) == _MAP_RANK and shape[0] == 1 and shape[2] >= height and shape[3] >= width  # or padded
    if not fits or shape[1] % heads:
        return f"contexts of shape {shape}; use (1, C, {height}, {width}), where heads={heads} divides C"
    return "" if contexts.requires_grad else "contexts that do not depend on the values"


def _points(reading: Reading, height: int, width: int) -> FloatMap | None:
    """Return the sampling points of each head (heads, n, 2), x and y from 0 to 1 over the map, or None."""
    if reading.points is None:
        return None
    yx: NDArray[Any] = reading.points.detach().float().cpu().flatten(1, 2).numpy()
    size = np.array([height, width], np.float32)
    centers = ((yx + 1) / 2 * (size - 1) + _HALF) / size  # -1 and 1 are the centers of the outermost positions
    return np.asarray(np.repeat(centers[..., ::-1], reading.heads // len(yx), 0), np.float32)
