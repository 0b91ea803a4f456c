"""NAMSpatial: normalization-based attention over positions.

    w = |g| / sum |g|                           g: the scale of a batch norm whose "channels" are the positions
    y = x * sigmoid(w * BN_s(x))                BN_s: each position normalized over batch and channels

Paper: Liu et al., "NAM: Normalization-based Attention Module", NeurIPS 2021 workshop, arXiv 2111.12419, equation 3.
Code: none from the authors for this part.
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: one scale per position ties the published form to one map size. Here scale, shift and running statistics are
stored on a grid of `grid_size` x `grid_size` and resized bilinearly, which changes nothing for a map of that size.
All-zero g gives w = 0 instead of NaN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import widen
from yolo_attn.registry import register_layer

__all__ = ["NAMSpatial"]


@register_layer(
    family="spatial",
    summary="reweights positions by the scales of a batch norm over positions",
    paper="NAM: Normalization-based Attention Module, NeurIPS 2021 workshop",
    year=2021,
    url="https://arxiv.org/abs/2111.12419",
    repository="https://github.com/Christian-lyc/NAM",
    cost="O(C HW)",
    renamed={"size": "grid_size"},
)
class NAMSpatial(Gate):
    """Normalization-based attention over positions.

    Args:
        channels: Channels of the input.
        grid_size: Height and width of the grid of scales, in cells; 20 is P5 of an image of 640 pixels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, grid_size: int = 20, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, grid_size=grid_size)
        self.grid_size = grid_size
        self.norm = BatchNorm(grid_size * grid_size)  # its parameters and statistics are resized and applied in `gate`

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        x = widen(x)
        mean, var = self._statistics(x)
        scale = self._on_map(self.norm.weight, x)
        share = scale.abs() / scale.abs().sum().clamp(min=1e-12)
        slope = share * scale * (var + self.norm.eps).rsqrt()  # (1, 1, H, W), like its factors
        return torch.sigmoid(slope * (x - mean) + share * self._on_map(self.norm.bias, x))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance per position: of the batch in training, else the running ones."""
        mean, var = self.norm.running_mean, self.norm.running_var
        count = x.shape[0] * x.shape[1]
        if not self.training or count == 1:  # the variance of one value is undefined
            return self._on_map(mean, x), self._on_map(var, x)
        batch_var, batch_mean = torch.var_mean(x, (0, 1), correction=0, keepdim=True)
        with torch.no_grad():
            self._update(mean, batch_mean)
            self._update(var, batch_var * (count / (count - 1)))
            self.norm.num_batches_tracked.add_(1)
        return batch_mean, batch_var

    def _update(self, running: Tensor, batch: Tensor) -> None:
        """Update a running statistic with the batch's, resized to the grid."""
        on_grid = F.interpolate(batch, size=(self.grid_size, self.grid_size), mode="area").flatten()
        running.lerp_(on_grid.to(running.dtype), self.norm.momentum)

    def _on_map(self, values: Tensor, x: Tensor) -> Tensor:
        """Return values of the grid (grid_size * grid_size,), resized to the map of x, (1, 1, H, W)."""
        grid = widen(values).view(1, 1, self.grid_size, self.grid_size)
        return F.interpolate(grid, size=x.shape[2:], mode="bilinear", align_corners=False)
