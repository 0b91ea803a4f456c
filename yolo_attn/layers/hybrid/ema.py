"""EMA: efficient multi-scale attention with cross-spatial learning (not a moving average of weights).

    x is split into G groups of c = C / G channels, which share all weights. For each group:
    t = W [mean over W of x; mean over H of x] + b                          (c, H + W, 1), W (c, c)
    u = GN(x * sigmoid(t_rows) * sigmoid(t_columns))                        GN: one group per channel
    v = conv3(x)                                                            with bias
    m = softmax(mean of u) . v + softmax(mean of v) . u                     (1, H, W); softmax and sums over c channels
    y = x * sigmoid(m)

Paper: Ouyang et al., "Efficient Multi-Scale Attention Module with Cross-Spatial Learning", ICASSP 2023, arXiv
2305.13563.
Code: https://github.com/YOLOonMe/EMA-attention-module
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), equal for all channels of a group.
Deviations: the number of groups is reduced to the greatest common divisor with the channels, where the authors' code
raises an error. Means and softmax are in float32. The code has 32 groups, as here; many copies in YOLO repositories use
8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["EMA"]


@register_layer(
    family="hybrid",
    summary="reweights positions per channel group by crossing row and column means with a 3 x 3 convolution",
    aliases=("EMAttention",),
    paper="Efficient Multi-Scale Attention Module with Cross-Spatial Learning, ICASSP 2023",
    year=2023,
    url="https://arxiv.org/abs/2305.13563",
    repository="https://github.com/YOLOonMe/EMA-attention-module",
    cost="O(C^2 HW / G)",
)
class EMA(Gate):
    """Efficient multi-scale attention.

    Args:
        channels: Channels of the input.
        groups: G, reduced to the greatest common divisor with the channels; more groups are cheaper.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, groups: int = 32, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, groups=groups)
        self.groups = fitting_groups(channels, groups)
        width = channels // self.groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.norm = GroupNorm(width, width)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        b, c, h, w = x.shape
        groups = x.reshape(b * self.groups, c // self.groups, h, w)
        u = self.norm(groups * self._axis_gates(groups).to(x.dtype))
        v = self.conv3x3(groups)
        logits = _cross(u, v) + _cross(v, u)  # (B G, 1, H, W)
        gate = torch.sigmoid(logits).reshape(b, self.groups, 1, h, w)
        return gate.expand(b, self.groups, c // self.groups, h, w).reshape(b, c, h, w)

    def _axis_gates(self, x: Tensor) -> Tensor:
        """Return the product of the row gates and the column gates, (B G, c, H, W)."""
        height = x.shape[2]
        means = torch.cat([mean(x, 3), mean(x, 2)], 2)[..., None]
        gates = torch.sigmoid(self.conv1x1(means))
        return gates[:, :, :height] * gates[:, :, height:].transpose(2, 3)


def _cross(pooled: Tensor, spread: Tensor) -> Tensor:
    """Return the channel sum of `spread` weighted by the softmax of the channel means of `pooled`, (B G, 1, H, W)."""
    weights = mean(widen(pooled), 2, 3, keepdim=True).softmax(1)
    return (spread * weights.to(spread.dtype)).sum(1, keepdim=True)
