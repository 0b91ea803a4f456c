"""SGE: spatial group-wise enhance, a map of gates for each group of channels.

    t = sum over the c channels of a group of x * (mean over H, W of x)     (B, G, H, W)
    z = (t - mean t) / (std t + 1e-5)           over H, W; std with n - 1
    y = x * sigmoid(w z + b)                    w, b: one number per group each, initially 0 and 1

Paper: Li et al., "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks", 2019,
arXiv 1905.09646.
Code: https://github.com/implus/PytorchInsight
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), the same for the channels of a group, initially 0.73.
Deviations: on a 1 x 1 map z is 0, where the authors' code gives NaN. The number of groups is reduced to its greatest
common divisor with C, where the code raises an error. Similarities and statistics are in float32. Many copies use 8
groups instead of the 64 of the paper's networks, and begin with b = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.numerics import at_least_one, no_autocast, widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SGE"]

EPS = 1e-5
SMALLEST_VARIANCE = 1e-30  # the derivative of a square root is infinite at 0, the variance of a constant map


@register_layer(
    family="spatial",
    summary="reweights the positions of each channel group by their similarity to the group's mean",
    aliases=("SpatialGroupEnhance",),
    paper="Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks, 2019",
    year=2019,
    url="https://arxiv.org/abs/1905.09646",
    repository="https://github.com/implus/PytorchInsight",
    cost="O(C HW)",
)
class SGE(Gate):
    """Spatial group-wise enhance.

    Args:
        channels: Channels of the input.
        groups: G, reduced to the greatest common divisor with the channels; many copies use 8.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, groups: int = 64, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, groups=groups)
        self.groups = fitting_groups(channels, groups)
        self.weight = nn.Parameter(torch.zeros(self.groups))
        self.bias = nn.Parameter(torch.ones(self.groups))

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        b, c, h, w = x.shape
        gate = torch.sigmoid(self.weight[:, None] * _standardized(self._similarity(x)) + self.bias[:, None])
        return gate[:, :, None].expand(-1, -1, c // self.groups, -1).reshape(b, c, h, w)

    def _similarity(self, x: Tensor) -> Tensor:
        """Return t, (B, G, H W), in at least float32."""
        b, c = x.shape[:2]
        with no_autocast(x):
            values = widen(x).reshape(b * self.groups, c // self.groups, -1)
            return (mean(values, 2)[:, None] @ values).reshape(b, self.groups, -1)


def _standardized(t: Tensor) -> Tensor:
    """Return t (B, G, N) with mean 0 and standard deviation 1; 0 where all values are equal."""
    centered = t - t.mean(2, keepdim=True)
    variance = centered.square().sum(2, keepdim=True) / at_least_one(t.shape[2] - 1)
    return centered / (variance.clamp(min=SMALLEST_VARIANCE).sqrt() + EPS)
