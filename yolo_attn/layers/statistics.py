"""Mean and maximum of a map, with backward passes that write no more than the gradient of the map.

PyTorch's derivative of a mean divides a gradient at every position instead of once, and that of a maximum writes four
maps. Exporters and compilers see PyTorch's operators: the former know them, the latter fuse them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from yolo_attn.layers.numerics import is_traced, wide

__all__ = ["mean", "mean_and_max"]


def mean(x: Tensor, *dims: int, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """Return the mean over some axes.

    Args:
        x: Features.
        dims: The axes.
        keepdim: Whether the axes remain, with length 1.
        dtype: Of the mean; None for that of x.
    """
    if dtype == x.dtype:
        dtype = None  # LiteRT has no means with a dtype
    if _plain(x):
        return x.mean(dims, keepdim=keepdim, dtype=dtype)
    # In half precision the sum may exceed the range, and a count may not be exact.
    total = x.sum(dims, keepdim=keepdim, dtype=wide(x.dtype if dtype is None else dtype))
    return (total / _count(x, dims)).to(x.dtype if dtype is None else dtype)


def mean_and_max(x: Tensor, *dims: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the maximum over some axes, which remain with length 1.

    Args:
        x: Features.
        dims: The axes.
    """
    if _plain(x):
        return x.mean(dims, keepdim=True), x.amax(dims, keepdim=True)
    return cast("tuple[Tensor, Tensor]", _MeanAndMax.apply(x, dims))  # type: ignore[no-untyped-call]


def _plain(x: Tensor) -> bool:
    """Return whether PyTorch's operators are used: there is no backward pass, or the operators are recorded."""
    return not (torch.is_grad_enabled() and x.requires_grad) or is_traced()


def _count(x: Tensor, dims: Sequence[int]) -> int:
    return prod(x.shape[dim] for dim in dims)


class _MeanAndMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        most = x.amax(dims, keepdim=True)
        ctx.save_for_backward(x, most)
        ctx.dims = dims
        return x.mean(dims, keepdim=True), most

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_max: Tensor) -> tuple[Tensor, None]:
        x, most = ctx.saved_tensors
        with torch.no_grad():
            largest = torch.ge(x, most, out=torch.empty_like(x))  # 1 at the maxima; faster than a bool on a CPU
            count = largest.sum(ctx.dims, keepdim=True, dtype=wide(x.dtype))
        share = (grad_max / count).to(x.dtype)  # equal maxima share the gradient, as in PyTorch
        spread = largest * share if torch.is_grad_enabled() else largest.mul_(share)  # derived twice, or once
        return spread.add_((grad_mean.to(count.dtype) / _count(x, ctx.dims)).to(x.dtype)), None
