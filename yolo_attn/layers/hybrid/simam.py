"""SimAM: a parameter-free gate that emphasizes values far from the mean of their map.

    d = (x - mean)^2, v = sum d / (HW - 1)      mean and sum over H, W
    y = x * sigmoid(d / (4 (v + lambda)) + 1/2)

Paper: Yang et al., "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks", ICML 2021.
Code: https://github.com/ZjjConan/SimAM
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), between 0.62 and 1.
Deviations: statistics are in float32 (in float16 the sum overflows silently and the gate becomes constant). On a 1 x 1
map the gate is sigmoid(1/2), where the authors' code gives NaN. `window`, which the paper does not have, computes the
statistics over windows instead of the whole map to emphasize local outliers; maps are replicate-padded to a multiple of
the window.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.numerics import at_least_one, is_traced, widen
from yolo_attn.registry import register_layer

__all__ = ["SimAM"]


@register_layer(
    family="hybrid",
    summary="reweights every value by its distance from the mean of its map; no parameters",
    paper="SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks, ICML 2021",
    year=2021,
    url="https://proceedings.mlr.press/v139/yang21o.html",
    repository="https://github.com/ZjjConan/SimAM",
    cost="O(C HW)",
)
class SimAM(Gate):
    """Simple, parameter-free attention.

    Args:
        channels: Channels of the input.
        e_lambda: lambda, added to the variance.
        window: Height and width of the windows for the statistics; None uses the whole map.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, e_lambda: float = 1e-4, window: int | None = None, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, e_lambda=e_lambda)
        if window is not None:
            check_integer(self, window=window)
        self.e_lambda = e_lambda
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by its gate."""
        if self.window is not None or self.gamma is not None or is_traced():
            return super().forward(x)
        self.check_input(x)
        return cast(Tensor, _Scaled.apply(widen(x), self.e_lambda)).to(x.dtype)  # type: ignore[no-untyped-call]

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        x = widen(x)
        if self.window is None:
            return self._gate(x, (2, 3), x.shape[2] * x.shape[3])
        b, c, h, w = x.shape
        side = self.window
        x = F.pad(x, (0, -w % side, 0, -h % side), mode="replicate")
        cells = x.reshape(b, c, x.shape[2] // side, side, x.shape[3] // side, side)
        return self._gate(cells, (3, 5), side * side).reshape(x.shape)[:, :, :h, :w]

    def _gate(self, x: Tensor, dims: tuple[int, int], count: int) -> Tensor:
        distance = (x - x.mean(dims, keepdim=True)).square()
        variance = distance.sum(dims, keepdim=True) / at_least_one(count - 1)
        return torch.sigmoid(distance / (4 * (variance + self.e_lambda)) + 0.5)


class _Scaled(torch.autograd.Function):
    """y = x * sigmoid(a d^2 + 1/2), with d = x - mean and 4 a = 1 / (variance + lambda).

    PyTorch would keep and derive six maps; this keeps x. With s the sigmoid, g the gradient of y and h = g x s (1 - s),
    that of the exponent, d has the gradient 2 a d (h - 4 a sum(h d^2) / (n - 1)), and x that of d, less its mean, and
    g s.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, e_lambda: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.e_lambda = e_lambda
        squares = (x - x.mean((2, 3), keepdim=True)).square_()
        factor = _factor(squares, e_lambda)
        return squares.mul_(factor).add_(0.5).sigmoid_().mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        distance = x - x.mean((2, 3), keepdim=True)
        squares = distance.square()
        factor = _factor(squares, ctx.e_lambda)
        gate = (squares * factor).add_(0.5).sigmoid_()
        inner = torch.rsub(gate, 1).mul_(gate).mul_(grad).mul_(x)
        shift = 4 * factor * squares.mul_(inner).sum((2, 3), keepdim=True) / _free(x)
        inner.sub_(shift).mul_(distance.mul_(2 * factor))
        return gate.mul_(grad).add_(inner).sub_(inner.mean((2, 3), keepdim=True)), None


def _factor(squares: Tensor, e_lambda: float) -> Tensor:
    return 0.25 / (squares.sum((2, 3), keepdim=True) / _free(squares) + e_lambda)


def _free(x: Tensor) -> int:
    return at_least_one(x.shape[2] * x.shape[3] - 1)
