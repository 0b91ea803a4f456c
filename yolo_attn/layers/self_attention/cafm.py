"""CAFM: convolution and attention fusion, attention among channels plus a convolution of the same queries and keys.

    [q; k; v] = DW W x                          DW: depthwise 3 x 3 convolution
    g = Wo (A v)                                A = softmax(tau q' k'^T) in each head of d channels; q', k': the
                                                channels of q and k, each divided by its length over H, W
    f = F [q; k; v]                             3 heads groups of d channels to 9 groups of d channels
    l_i = conv3 of (f_1i ... f_9i)              9 channels to one per head, for each index i = 1 ... d in a group
    y = g + l                                   channels of l: by index i, then by head

Paper: Hu et al., "Hybrid Convolutional and Attention Network for Hyperspectral Image Denoising", IEEE GRSL 2024,
arXiv 2403.10067.
Code: https://github.com/summitgao/HCANet
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, d, d).
Deviations: in the code, the map of [q; k; v] is read as if channels were its last dimension, so the convolution mixes
distant positions and channels; here each position keeps its own. Its 3D kernels see zeros in all but their middle
slices; here they are 2D, with a third of the weights and the same result. Lengths and weights are computed in float32.
The number of heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.self_attention._channels import channel_contexts, channel_values, channel_weights
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["CAFM"]

PARTS = 9
"""Channels that the local branch makes of each index in a group, as many as a 3 x 3 window has positions."""


@register_layer(
    family="self_attention",
    summary="adds attention among channels and a convolution of the same queries, keys and values; linear in the map",
    paper="Hybrid Convolutional and Attention Network for Hyperspectral Image Denoising, IEEE GRSL 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.10067",
    repository="https://github.com/summitgao/HCANet",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class CAFM(Mixer):
    """Convolution and attention fusion module.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        bias: Whether the convolutions of queries, keys, values and contexts have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, heads: int = 8, bias: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_flag(self, bias=bias)
        heads = fitting_groups(channels, heads)
        self.depth = channels // heads
        self.temperature = nn.Parameter(torch.ones(heads))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.proj = nn.Conv2d(channels, channels, 1, bias=bias)
        self.combine = nn.Conv2d(3 * heads, PARTS, 1)
        self.conv = nn.Conv2d(PARTS * self.depth, channels, 3, padding=1, groups=self.depth)

    def mix(self, x: Tensor) -> Tensor:
        """Return the sum of the global and the local branch."""
        qkv = self.dwconv(self.qkv(x))
        query, key, value = qkv.chunk(3, 1)
        contexts = channel_contexts(channel_weights(query, key, self.temperature), value)
        y: Tensor = self.proj(contexts) + self._convolve(qkv)
        return y

    def _convolve(self, qkv: Tensor) -> Tensor:
        """Return the local branch, (B, C, H, W)."""
        b, _, height, width = qkv.shape
        groups = qkv.reshape(b, -1, self.depth * height, width)  # (B, 3 heads, d H, W)
        combined = self.combine(groups).reshape(b, PARTS, self.depth, height * width)  # NCNN has no five dimensions
        y: Tensor = self.conv(combined.transpose(1, 2).reshape(b, -1, height, width))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the mean weight that each channel receives in the global branch."""
        return [channel_values(self.weights(inputs[0]))]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights among the channels of each head, (B, heads, d, d)."""
        query, key, _ = self.dwconv(self.qkv(x)).chunk(3, 1)
        return channel_weights(query, key, self.temperature)
