"""MPCA: multi-path coordinate attention, gates of rows, columns and channels.

    t = K3([mean over W of x; mean over H of x])                            (B, C, H + W, 1)
    w = sigmoid(K1(t)), u = t w
    c = K1'(mean over H, W of x) * (mean over H + W of w)                   (B, C, 1, 1)
    y = x * sigmoid(u_rows) * sigmoid(u_columns) * sigmoid(c)
    Kk: silu(BN(convolution of k positions)), without bias; K3 is applied to rows and columns separately

Paper: none; the layer is only known from code in forks of Ultralytics YOLO.
Code: https://github.com/LMGYOLO/LMG-YOLO (ultralytics/nn/extra_modules/attention.py)
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), a product of (B, C, H, 1) and (B, C, 1, W).
Deviations: the code applies K3 to rows and columns as one strip, so that the last row and the first column, which are
not neighbors, mix (`joined=True`). In training a single image's mean is normalized with the running statistics (see
`BatchNorm`), where the code raises an error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_flag
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["MPCA"]


@register_layer(
    family="hybrid",
    summary="reweights each channel's rows and columns, and the channel as a whole, by their means; unpublished",
    aliases=("MultiPathCoordinateAttention",),
    paper="Unpublished; in forks of Ultralytics YOLO since 2024",
    year=2024,
    url="https://github.com/LMGYOLO/LMG-YOLO",
    repository="https://github.com/LMGYOLO/LMG-YOLO",
    cost="O(C HW + C^2 (H + W))",
)
class MPCA(Gate):
    """Multi-path coordinate attention.

    Args:
        channels: Channels of the input.
        joined: Whether K3 mixes the last row with the first column, as in the forks' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, joined: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_flag(self, joined=joined)
        self.joined = joined
        self.strips = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
        self.norm = BatchNorm(channels)
        self.select = _pointwise(channels)
        self.pool = _pointwise(channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        rows, columns = self.gates(x)
        return rows * columns

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates of rows and channels (B, C, H, 1), and of the columns (B, C, 1, W)."""
        height = x.shape[2]
        hidden = F.silu(self.norm(self._strips(mean(x, 3, keepdim=True), mean(x, 2)[..., None])))
        weights = torch.sigmoid(self.select(hidden))
        along = torch.sigmoid(hidden * weights)
        rows, columns = along[:, :, :height], along[:, :, height:]
        channels = torch.sigmoid(self.pool(mean(x, 2, 3, keepdim=True)) * mean(weights, 2, 3, keepdim=True))
        return (rows * channels).to(x.dtype), columns.transpose(2, 3).to(x.dtype)

    def _strips(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the convolution of the means of rows (B, C, H, 1) and columns (B, C, W, 1), (B, C, H + W, 1)."""
        if self.joined:
            y: Tensor = self.strips(torch.cat([rows, columns], 2))
            return y
        return torch.cat([self.strips(rows), self.strips(columns)], 2)


def _pointwise(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels), nn.SiLU())
