"""ASFF: adaptively spatial feature fusion, a weighted sum of pyramid levels with weights for each position.

    u_0 = x0, u_n = f_n(resize(x_n))            f_n: conv1 C_n -> C, BN, leaky ReLU; to the height and width of x0
    a = softmax over n of W [g_0(u_0); g_1(u_1); ...]       g_n: conv1 C -> hidden, BN, leaky ReLU
    y = h(sum over n of a_n u_n)                h: conv3 C -> C, BN, leaky ReLU

The resize averages over equal parts of the map. If x0 is larger by an integer factor, it is nearest-neighbor
interpolation.

Paper: Liu et al., "Learning Spatial Fusion for Single-Shot Object Detection", 2019, arXiv 1911.09516.
Code: https://github.com/GOATmessi8/ASFF
Shapes: x0 (B, C, H, W), x_n (B, C_n, any height, any width), y (B, C, H, W); weights([x0, ...]) (B, N, H, W).
Deviations: the authors' module has three levels of 512, 256 and 256 channels, each twice the size of the previous one,
and downsamples finer levels by strided convolutions and max pooling. Here any number of levels, widths and sizes can be
fused, and levels are downsampled by averaging, because sizes are unknown before the maps are computed. y has the
channels of the first input, not twice or four times as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.registry import register_layer

__all__ = ["ASFF"]

SLOPE = 0.1  # negative slope of the leaky ReLU


@register_layer(
    family="fusion",
    summary="adds pyramid levels with weights for each position",
    inputs=2,
    more_inputs=True,
    paper="Learning Spatial Fusion for Single-Shot Object Detection, 2019",
    year=2019,
    url="https://arxiv.org/abs/1911.09516",
    repository="https://github.com/GOATmessi8/ASFF",
    cost="O(9 C^2 HW)",
    renamed={"compress": "hidden"},
)
class ASFF(Fusion):
    """Adaptively spatial feature fusion.

    Args:
        channels: Channels of each input; the output has those of the first.
        hidden: Channels from which the weights of a level are computed.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    most = None
    same_size = False

    def __init__(self, channels: Sequence[int], *, hidden: int = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, hidden=hidden)
        width = channels[0]
        self.align = nn.ModuleList(_conv(c, width, 1) for c in channels[1:])
        self.reduce = nn.ModuleList(_conv(width, hidden, 1) for _ in channels)
        self.select = nn.Conv2d(len(channels) * hidden, len(channels), 1)
        self.expand = _conv(width, width, 3)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of each input."""
        return split_choices("input", self.weights(list(inputs)))

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weights of each level at each position, (B, N, H, W)."""
        return self._level_weights(self._levels(xs))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the weighted sum of the levels after a convolution."""
        levels = self._levels(xs)
        weights = self._level_weights(levels)
        y: Tensor = self.expand(total(weights[:, n : n + 1] * level for n, level in enumerate(levels)))
        return y

    def _levels(self, xs: list[Tensor]) -> list[Tensor]:
        """Return all levels with the channels and the size of the first."""
        height, width = xs[0].shape[2:]
        others = zip(self.align, xs[1:], strict=True)
        return [xs[0], *(align(adaptive_mean(x, height, width)) for align, x in others)]

    def _level_weights(self, levels: list[Tensor]) -> Tensor:
        reduced = [reduce(level) for reduce, level in zip(self.reduce, levels, strict=True)]
        logits: Tensor = self.select(torch.cat(reduced, 1))
        return logits.softmax(1)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, BatchNorm(outputs), nn.LeakyReLU(SLOPE))
