"""Sums of neighbors with weights of each position, without storing a product for each neighbor."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.self_attention._neighborhood import shifted

__all__ = ["weighted_sum"]


def weighted_sum(weights: Tensor, values: Tensor, k: int) -> Tensor:
    """Return the weighted sum of the k x k neighbors of each position, zero beyond the border, (B, heads, d, H, W).

    Args:
        weights: (B, heads, k k, H, W), row by row, of the dtype of the values.
        values: (B, heads, d, H, W).
        k: Height and width of the neighborhood, odd.
    """
    padded = F.pad(values, (k // 2, k // 2, k // 2, k // 2))
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return _sum(weights, padded, k)  # a graph has no place for a function with its own derivative
    return cast(Tensor, _WeightedSum.apply(weights, padded, k))  # type: ignore[no-untyped-call]


class _WeightedSum(torch.autograd.Function):
    """The sum, with a backward pass that adds to one gradient in place.

    The derivative that PyTorch composes fills and adds a padded map for each neighbor.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, padded: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(weights, padded)
        ctx.k = k
        return _sum(weights, padded, k)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, padded = ctx.saved_tensors
        grad_padded = torch.zeros_like(padded)
        products = [(grad * value).sum(2) for value in shifted(padded, ctx.k)]
        for weight, neighbor in zip(_by_neighbor(weights), shifted(grad_padded, ctx.k), strict=True):
            neighbor.addcmul_(weight, grad)
        return torch.stack(products, 2), grad_padded, None


def _sum(weights: Tensor, padded: Tensor, k: int) -> Tensor:
    pairs = zip(_by_neighbor(weights), shifted(padded, k), strict=True)
    weight, value = next(pairs)
    y = weight * value
    for weight, value in pairs:
        y.addcmul_(weight, value)
    return y


def _by_neighbor(weights: Tensor) -> tuple[Tensor, ...]:
    """Return the weights of each neighbor, k k maps (B, heads, 1, H, W)."""
    return weights.unsqueeze(3).unbind(2)
