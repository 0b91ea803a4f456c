"""ResidualAttention: the attention module of the residual attention network, a trunk gated by an hourglass mask.

    z = R(x), T = R(R(z))                       R: pre-activation bottleneck block, C -> C/4 -> C/4 -> C, plus its input
    d_1 = R(pool(z)), d_2 = R(pool(d_1)), ...   pool: max, 3 x 3, stride 2; the deepest level has two R
    u_n = d_n at the deepest level n, u_i = R(up(u_i+1) + d_i + R'(d_i)) above it      up: bilinear
    M = sigmoid(W2 relu(BN(W1 relu(BN(up(u_1) + T)))))
    y = R((1 + M) * T)

Paper: Wang et al., "Residual Attention Network for Image Classification", CVPR 2017, arXiv 1704.06904.
Code: https://github.com/fwang91/residual-attention-network (Caffe);
https://github.com/tengshaofeng/ResidualAttentionNetwork-pytorch (port)
Shapes: x (B, C, H, W), y the same. `depth` is 3, 2, 1 in stages 1, 2, 3 of the paper's network.
Deviations: the port is limited to maps of 56, 28 and 14 and has an unused shortcut convolution in every block; here any
map size is supported and there is no such convolution. The terms + d_i and + T in the mask are the port's; the paper
has only the skip connections R' (`plain_skips=True`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["ResidualAttention"]


@register_layer(
    family="hybrid",
    summary="reweights a trunk of residual blocks by an hourglass mask; heavy",
    aliases=("ResidualAttentionModule",),
    paper="Residual Attention Network for Image Classification, CVPR 2017",
    year=2017,
    url="https://arxiv.org/abs/1704.06904",
    repository="https://github.com/fwang91/residual-attention-network",
    cost="O(C^2 HW)",
    renamed={"pools": "depth"},
)
class ResidualAttention(Mixer):
    """The attention module of the residual attention network.

    Args:
        channels: Channels of the input.
        depth: Number of times that the mask branch halves the map.
        plain_skips: Whether the skip connections of the mask follow the paper instead of the port.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, depth: int = 2, plain_skips: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, depth=depth)
        check_flag(self, plain_skips=plain_skips)
        self.plain_skips = plain_skips
        self.first = _blocks(channels, 1)
        self.trunk = _blocks(channels, 2)
        self.down = nn.ModuleList(_blocks(channels, 2 if level == depth else 1) for level in range(1, depth + 1))
        self.skips = nn.ModuleList(_blocks(channels, 1) for _ in range(depth - 1))
        self.up = nn.ModuleList(_blocks(channels, 1) for _ in range(depth - 1))
        self.mask = nn.Sequential(_preactivated(channels, channels), _preactivated(channels, channels))
        self.last = _blocks(channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the module's output."""
        x = self.first(x)
        trunk = self.trunk(x)
        mask = torch.sigmoid(self.mask(self._hourglass(x, trunk)))
        y: Tensor = self.last((1 + mask) * trunk)
        return y

    def _hourglass(self, x: Tensor, trunk: Tensor) -> Tensor:
        """Return the features that the mask is computed from, (B, C, H, W)."""
        levels = []
        for block in self.down:
            x = block(F.max_pool2d(x, 3, stride=2, padding=1))
            levels.append(x)
        x = levels.pop()
        for level, skip, block in reversed(list(zip(levels, self.skips, self.up, strict=True))):
            x = block(self._add(x, level) + skip(level))
        return self._add(x, trunk)

    def _add(self, x: Tensor, finer: Tensor) -> Tensor:
        """Upsample x to a finer map and, unless `plain_skips` is set, add that map."""
        x = F.interpolate(x, finer.shape[2:], mode="bilinear", align_corners=True)
        return x if self.plain_skips else x + finer


class _Bottleneck(nn.Module):
    """Pre-activation bottleneck of three convolutions with an identity shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = hidden_width(channels, 4)
        self.layers = nn.Sequential(
            _preactivated(channels, hidden), _preactivated(hidden, hidden, 3), _preactivated(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = x + self.layers(x)
        return y


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Bottleneck(channels) for _ in range(count)))


def _preactivated(channels: int, width: int, kernel: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(BatchNorm(channels), nn.ReLU(), conv)
