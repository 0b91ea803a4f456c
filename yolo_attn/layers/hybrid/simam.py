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

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.numerics import at_least_one, widen
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
