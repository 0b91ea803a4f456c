"""The attention of one layer for one image, as returned by the layers' `attention_maps` and `readings`.

`attention_maps` returns what is the same for all positions: gates, and weights of positions or channels. `readings` is
for layers in which each position has its own weights over the positions of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.pooling import averaging_matrix

__all__ = ["GATE", "WEIGHT", "AttentionValues", "Reading", "gate_values", "split_choices"]

GATE, WEIGHT = "gate", "weight"
_PLANE_RANK, _MAP_RANK = 2, 3


@dataclass(frozen=True)
class AttentionValues:
    """One map or vector of a layer's attention for one image.

    Args:
        part: Name of the part of a layer with several, such as "input 1"; "" for a layer with one.
        unit: "gate": factors of the features; "weight": attention over positions or channels as multiples of uniform
            attention, so that 1 is uniform.
        values: (H, W), (C, H, W), or (C,) where all positions have the same value.
    """

    part: str
    unit: str
    values: Tensor

    @property
    def is_map(self) -> bool:
        """Whether positions differ."""
        return self.values.ndim >= _PLANE_RANK

    def plane(self) -> Tensor:
        """Return the mean over the channels (H, W), or the vector (C,)."""
        return self.values.mean(0) if self.values.ndim == _MAP_RANK else self.values


@dataclass(frozen=True)
class Reading:
    """One attention over positions: the context of each query position is a weighted sum of values.

        c_i = sum over j of w_ij v_j            for each head, a group of channels of c and v

    The layer provides the function from the values to the contexts that its forward pass uses. It is linear, so the
    weights are its derivatives, and no second formula of the weights can differ from the forward pass.

    Args:
        part: Name of the part of a layer with several attentions, such as "rows"; "" for a layer with one.
        values: v, (1, C, h, w), at the positions attended to. Positions beyond the layer's map are padding.
        contexts: Returns c, (1, C, H, W), for values of this shape.
        heads: Number of equal groups of channels with separate weights.
        step: Rows and columns of the layer's map that one position of the values stands for; None for the cells of
            `adaptive_mean`, which may have different sizes.
        source: Index of the layer's input that the values are taken from.
        points: Where the values are sampled if not on a grid, (groups, h, w, 2): y and x, from -1 at the center of the
            first position of the map to 1 at the center of the last; each group is an equal number of heads.
    """

    part: str
    values: Tensor
    contexts: Callable[[Tensor], Tensor]
    heads: int = 1
    step: int | None = 1
    source: int = 0
    points: Tensor | None = None

    def weights(self, queries: Sequence[tuple[int, int]]) -> Tensor:
        """Return the weights of queries, (queries, heads, h, w).

        Args:
            queries: Row and column of each.
        """
        with torch.enable_grad():
            values = self.values.detach().requires_grad_()
            contexts = self.contexts(values)
            first = contexts[0, :: contexts.shape[1] // self.heads].sum(0)  # of each head: heads do not mix
            found = [
                torch.autograd.grad(first[query], values, retain_graph=n < len(queries))[0]
                for n, query in enumerate(queries, 1)
            ]
        return torch.cat(found)[:, :: values.shape[1] // self.heads]

    def on_map(self, weights: Tensor, height: int, width: int) -> Tensor:
        """Return weights (queries, heads, h, w) at the positions of the map that the values are taken from.

        The weight of a value is divided equally among the positions that it stands for, that of a sampling point among
        the positions around it as in bilinear sampling.

        Args:
            weights: Weights of the values.
            height: Height of the map.
            width: Its width.
        """
        if self.points is not None:
            return _at_points(weights, self.points, height, width)
        spread = (
            _shares(size, self.step, length, weights)
            for size, length in zip(weights.shape[2:], (height, width), strict=True)
        )
        down, across = spread
        return down.T @ weights @ across


def _shares(count: int, step: int | None, length: int, like: Tensor) -> Tensor:
    """Return the share of each of `length` positions in each of `count` values along one dimension, (count, length)."""
    if step is None:
        return averaging_matrix(count, length, like)
    value = torch.arange(count, device=like.device)[:, None]
    inside = (torch.arange(length, device=like.device) // step == value).to(like.dtype)
    return inside / inside.sum(1, keepdim=True).clamp(min=1)  # a value beyond the map is padding


def _at_points(weights: Tensor, points: Tensor, height: int, width: int) -> Tensor:
    """Return the weights of sampling points at the positions of a map: the derivative of the samples by the map."""
    queries, heads = weights.shape[:2]
    groups = points.shape[0]
    by_group = weights.reshape(queries, groups, -1, *weights.shape[2:]).transpose(0, 1).flatten(1, 2)
    with torch.enable_grad():
        positions = by_group.new_zeros(groups, by_group.shape[1], height, width, requires_grad=True)
        samples = F.grid_sample(positions, points.detach().flip(3).to(weights), align_corners=True)  # device and dtype
        found = torch.autograd.grad(samples, positions, by_group)[0].reshape(groups, queries, -1, height, width)
    return found.transpose(0, 1).reshape(queries, heads, height, width)


def gate_values(gate: Tensor, x: Tensor) -> AttentionValues:
    """Return the values of a gate: a vector if all positions share it, else a map.

    Args:
        gate: Broadcastable to x.
        x: The layer's input, (1, C, H, W).
    """
    values = gate[0].float()
    height, width = x.shape[2:]
    if values.shape[1:] == (1, 1) and (height, width) != (1, 1):
        return AttentionValues("", GATE, values[:, 0, 0])
    return AttentionValues("", GATE, values.expand(values.shape[0], height, width))


def split_choices(part: str, weights: Tensor) -> list[AttentionValues]:
    """Return weights (1, N, ...) that choose among N things as one item each, named "part 0", "part 1", ..."""
    return [AttentionValues(f"{part} {n}", GATE, values) for n, values in enumerate(weights[0].float())]
