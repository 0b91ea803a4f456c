"""Dot products with the k x k neighbors of each position and weighted sums of them, without a tensor of neighbors.

Each is the derivative of the other, so both have a backward pass that adds to one gradient in place. The one that
PyTorch composes fills and adds a padded map for each neighbor. Exporters trace the plain sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from yolo_attn.layers.numerics import total
from yolo_attn.layers.self_attention._neighborhood import shifted

__all__ = ["dot_products", "weighted_sum"]


def dot_products(queries: Tensor, padded: Tensor, k: int) -> Tensor:
    """Return the dot product of each query with its k x k neighbors, row by row, (B, heads, k k, H, W).

    Args:
        queries: (B, heads, d, H, W).
        padded: Keys with k // 2 rows and columns on each side, (B, heads, d, H + k - 1, W + k - 1).
        k: Height and width of the neighborhood, odd.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return torch.stack([(queries * key).sum(2) for key in shifted(padded, k)], 2)
    return cast(Tensor, _DotProducts.apply(queries, padded, k))  # type: ignore[no-untyped-call]


def weighted_sum(weights: Tensor, padded: Tensor, k: int) -> Tensor:
    """Return the sum of the k x k neighbors of each position with its weights, (B, heads, d, H, W).

    Args:
        weights: Weight of each neighbor, row by row, (B, heads, k k, H, W), of the dtype of the values.
        padded: Values with k // 2 rows and columns on each side, (B, heads, d, H + k - 1, W + k - 1).
        k: Height and width of the neighborhood, odd.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return total(weight * value for weight, value in _pairs(weights, padded, k))
    return cast(Tensor, _WeightedSum.apply(weights, padded, k))  # type: ignore[no-untyped-call]


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, padded: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(queries, padded)
        ctx.k = k
        return _dot_products(queries, padded, k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, padded = ctx.saved_tensors
        return _weighted_sum(grad, padded, ctx.k), _spread(grad, queries, padded, ctx.k), None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, padded: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(weights, padded)
        ctx.k = k
        return _weighted_sum(weights, padded, k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, padded = ctx.saved_tensors
        return _dot_products(grad, padded, ctx.k), _spread(weights, grad, padded, ctx.k), None


def _dot_products(queries: Tensor, padded: Tensor, k: int) -> Tensor:
    product = torch.empty_like(queries)  # used again: a new map takes longer than its product
    return torch.stack([torch.mul(queries, key, out=product).sum(2) for key in shifted(padded, k)], 2)


def _weighted_sum(weights: Tensor, padded: Tensor, k: int) -> Tensor:
    y = torch.zeros_like(padded[..., k - 1 :, k - 1 :])
    for weight, value in _pairs(weights, padded, k):
        y.addcmul_(weight, value)
    return y


def _spread(weights: Tensor, values: Tensor, padded: Tensor, k: int) -> Tensor:
    """Return the sum of the values, added to all neighbors with their weights: the gradient of a padded map."""
    y = torch.zeros_like(padded)
    for weight, neighbor in _pairs(weights, y, k):
        neighbor.addcmul_(weight, values)
    return y


def _pairs(weights: Tensor, padded: Tensor, k: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Return each neighbor with its weights, (B, heads, 1, H, W) and (B, heads, d, H, W)."""
    return zip(weights.unsqueeze(3).unbind(2), shifted(padded, k), strict=True)
