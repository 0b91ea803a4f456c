"""CA: coordinate attention, the product of a gate per row and a gate per column.

    z = [mean over W of x; mean over H of x]    (B, C, H + W, 1)
    t = hardswish(BN(W1 z))                     (B, m, H + W, 1), m = max(8, C / r)
    y = x * sigmoid(Wh t_rows) * sigmoid(Ww t_columns)

Paper: Hou et al., "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021, arXiv 2103.02907.
Code: https://github.com/houqb/CoordAttention
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), a product of (B, C, H, 1) and (B, C, 1, W).
Deviations: none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["CA"]


@register_layer(
    family="hybrid",
    summary="reweights each channel's rows and columns by their means along the other axis",
    aliases=("CoordAtt", "CoordAttention"),
    paper="Coordinate Attention for Efficient Mobile Network Design, CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2103.02907",
    repository="https://github.com/houqb/CoordAttention",
    cost="O(C HW)",
)
class CA(Gate):
    """Coordinate attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel.
        min_hidden: Minimum number of hidden channels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 32, min_hidden: int = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_integer(self, min_hidden=min_hidden)
        hidden = hidden_width(channels, reduction, min_hidden)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = BatchNorm(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        rows, columns = self.gates(x)
        return rows * columns

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates of the rows (B, C, H, 1) and of the columns (B, C, 1, W)."""
        height = x.shape[2]
        means = torch.cat([mean(x, 3), mean(x, 2)], 2)[..., None]  # (B, C, H + W, 1)
        hidden = F.hardswish(self.norm(self.reduce(means)))
        rows = torch.sigmoid(self.conv_h(hidden[:, :, :height]))
        columns = torch.sigmoid(self.conv_w(hidden[:, :, height:]))
        return rows.to(x.dtype), columns.transpose(2, 3).to(x.dtype)
