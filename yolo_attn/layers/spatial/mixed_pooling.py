"""MixedPooling: a residual block with pooling to coarse grids and to strips.

    a = relu(BN(W1 x)), b = relu(BN(W2 x))                      C -> C/4 each
    p = relu(f0(a) + up(f1(pool20(a))) + up(f2(pool12(a))))     f: 3 x 3 convolution and BN; up: bilinear
    s = relu(f3(mean over H of b) + f4(mean over W of b))       f3: 1 x 3, f4: 3 x 1
    y = relu(x + BN(W3 [relu(f5(p)); relu(f6(s))]))             C/2 -> C

Paper: Hou et al., "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", CVPR 2020, arXiv 2003.13328.
Code: https://github.com/houqb/SPNet (StripPooling in customize.py)
Shapes: x (B, C, H, W), y the same.
Deviations: none. On a map smaller than a grid, cells repeat, as in adaptive pooling. The last ReLU removes the negative
values of x.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, is_positive_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["MixedPooling"]


@register_layer(
    family="spatial",
    summary="adds context from coarse grids and from row and column means",
    aliases=("MPM", "MixedPoolingModule"),
    paper="Strip Pooling: Rethinking Spatial Pooling for Scene Parsing, CVPR 2020",
    year=2020,
    url="https://arxiv.org/abs/2003.13328",
    repository="https://github.com/houqb/SPNet",
    cost="O(C^2 HW)",
    renamed={"pool_size": "grid_sizes"},
)
class MixedPooling(Mixer):
    """Mixed pooling module.

    Args:
        channels: Channels of the input.
        grid_sizes: Height and width of each coarse grid, in cells.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, grid_sizes: Sequence[int] = (20, 12), init: str = "paper") -> None:
        super().__init__(channels, init=init)
        listed = isinstance(grid_sizes, (list, tuple)) and len(grid_sizes) > 0
        good = listed and all(map(is_positive_integer, grid_sizes))
        check(self, good, "grid_sizes", grid_sizes, "a list of positive integers, such as [20, 12]")
        hidden = hidden_width(channels, 4)
        self.grid_sizes = tuple(grid_sizes)
        self.grid_reduce = nn.Sequential(_conv(channels, hidden, (1, 1)), nn.ReLU())
        self.strip_reduce = nn.Sequential(_conv(channels, hidden, (1, 1)), nn.ReLU())
        self.grid_local = _conv(hidden, hidden, (3, 3))
        self.grid_convs = nn.ModuleList(_conv(hidden, hidden, (3, 3)) for _ in grid_sizes)
        self.strip_w = _conv(hidden, hidden, (1, 3))
        self.strip_h = _conv(hidden, hidden, (3, 1))
        self.grid_fuse = nn.Sequential(_conv(hidden, hidden, (3, 3)), nn.ReLU())
        self.strip_fuse = nn.Sequential(_conv(hidden, hidden, (3, 3)), nn.ReLU())
        self.proj = _conv(2 * hidden, channels, (1, 1))

    def mix(self, x: Tensor) -> Tensor:
        """Return x with its context added."""
        grids, strips = self.grid_reduce(x), self.strip_reduce(x)
        grids = torch.relu(self.grid_local(grids) + self._coarse(grids))
        strips = torch.relu(self.strip_w(mean(strips, 2, keepdim=True)) + self.strip_h(mean(strips, 3, keepdim=True)))
        context = self.proj(torch.cat([self.grid_fuse(grids), self.strip_fuse(strips)], 1))
        return torch.relu(x + context)

    def _coarse(self, x: Tensor) -> Tensor:
        """Return the sum of the coarse grids' features, upsampled to the size of x."""
        grids = (conv(adaptive_mean(x, n, n)) for conv, n in zip(self.grid_convs, self.grid_sizes, strict=True))
        return total(F.interpolate(grid, x.shape[2:], mode="bilinear", align_corners=True) for grid in grids)


def _conv(channels: int, width: int, kernel: tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=False)
    return nn.Sequential(conv, BatchNorm(width))
