"""ASFF: adaptively spatial feature fusion, levels of a pyramid mixed with weights of their own at each position.

    u_0 = x0, u_n = f_n(resize(x_n))            f_n: conv1 C_n -> C, BN, leaky relu; to the height and width of x0
    a = softmax over n of W [g_0(u_0); g_1(u_1); ...]       g_n: conv1 C -> compress, BN, leaky relu
    y = h(sum over n of a_n u_n)                h: conv3 C -> C, BN, leaky relu

The resize takes means over equal cells; where x0 is larger by a whole factor, that is the nearest neighbour.

Paper: Liu et al., "Learning Spatial Fusion for Single-Shot Object Detection", 2019, arXiv 1911.09516.
Code: https://github.com/GOATmessi8/ASFF
Shapes: x0 (B, C, H, W), x_n (B, C_n, any height, any width), y (B, C, H, W); weights([x0, ...]) (B, N, H, W).
Deviations: the authors' module is made for three levels of 512, 256 and 256 channels, each twice the size of the one
before, and comes down from finer levels by strided convolutions and max pooling. Here any number, any widths and any
sizes fuse, and what comes down are means, because sizes are not known before the maps arrive. y has the channels of the
first input, not twice or four times as many.
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

SLOPE = 0.1  # of the leaky ReLU below zero


@register_layer(
    family="fusion",
    summary="mixes levels of a pyramid with weights of their own at each position",
    inputs=2,
    more_inputs=True,
    paper="Learning Spatial Fusion for Single-Shot Object Detection, 2019",
    year=2019,
    url="https://arxiv.org/abs/1911.09516",
    repository="https://github.com/GOATmessi8/ASFF",
    cost="O(9 C^2 HW)",
)
class ASFF(Fusion):
    """Adaptively spatial feature fusion.

    Args:
        channels: Channels of each input; the output has those of the first.
        compress: Channels that the weights of one level are computed from.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    most = None
    same_size = False

    def __init__(self, channels: Sequence[int], *, compress: int = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, compress=compress)
        own = channels[0]
        self.bring = nn.ModuleList(_conv(c, own, 1) for c in channels[1:])
        self.compress = nn.ModuleList(_conv(own, compress, 1) for _ in channels)
        self.choose = nn.Conv2d(len(channels) * compress, len(channels), 1)
        self.expand = _conv(own, own, 3)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of each input."""
        return split_choices("input", self.weights(list(inputs)))

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weight of each level at each position, (B, N, H, W)."""
        return self._choose(self._levels(xs))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the weighted mean of the levels, convolved."""
        levels = self._levels(xs)
        weights = self._choose(levels)
        y: Tensor = self.expand(total(weights[:, n : n + 1] * level for n, level in enumerate(levels)))
        return y

    def _levels(self, xs: list[Tensor]) -> list[Tensor]:
        """Return all levels with the channels and the size of the first."""
        height, width = xs[0].shape[2:]
        brought = zip(self.bring, xs[1:], strict=True)
        return [xs[0], *(bring(adaptive_mean(x, height, width)) for bring, x in brought)]

    def _choose(self, levels: list[Tensor]) -> Tensor:
        compressed = [compress(level) for compress, level in zip(self.compress, levels, strict=True)]
        logits: Tensor = self.choose(torch.cat(compressed, 1))
        return logits.softmax(1)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, BatchNorm(outputs), nn.LeakyReLU(SLOPE))
