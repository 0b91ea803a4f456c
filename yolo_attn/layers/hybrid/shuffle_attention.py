"""ShuffleAttention (SA-Net): a channel gate for half of each channel group and a spatial gate for the other half.

    x is split into G groups, each into two halves a, b of C / 2G channels
    a' = a * sigmoid(w1 * mean over H, W of a + b1)
    b' = b * sigmoid(w2 * IN(b) + b2)           IN: instance norm with scale and shift
    y = [a', b'] of all groups, with the first and second half of the channels interleaved

All groups share the parameters, one value for each channel of a half.

Paper: Zhang and Yang, "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", ICASSP 2021, arXiv
2102.00240.
Code: https://github.com/wofmanaf/SA-Net
Shapes: x (B, C, H, W), y the same, with an even number of channels.
Deviations: the number of groups is reduced to the greatest common divisor with C / 2, where published code raises an
error or splits unevenly. The shuffle changes the channel order that the following layers were trained with; in a
pretrained network use `shuffle=False`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import channel_shuffle, is_traced
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ShuffleAttention"]


@register_layer(
    family="hybrid",
    summary="gates half of each channel group by channel and half by position, then shuffles channels",
    aliases=("SA",),
    paper="SA-Net: Shuffle Attention for Deep Convolutional Neural Networks, ICASSP 2021",
    year=2021,
    url="https://arxiv.org/abs/2102.00240",
    repository="https://github.com/wofmanaf/SA-Net",
    cost="O(C HW)",
)
class ShuffleAttention(Mixer):
    """Shuffle attention.

    Args:
        channels: Channels of the input, an even number.
        groups: G, reduced to the greatest common divisor with half the channels; many copies use 8.
        shuffle: Whether the channels are interleaved at the end.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, groups: int = 64, shuffle: bool = True, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check(self, channels % 2 == 0, "channels", channels, "an even number")
        check_integer(self, groups=groups)
        check_flag(self, shuffle=shuffle)
        self.groups = fitting_groups(channels // 2, groups)
        self.shuffle = shuffle
        half = channels // (2 * self.groups)
        self.channel_weight = nn.Parameter(torch.zeros(half))
        self.channel_bias = nn.Parameter(torch.ones(half))
        self.norm = GroupNorm(half, half)
        self.spatial_weight = nn.Parameter(torch.zeros(half))
        self.spatial_bias = nn.Parameter(torch.ones(half))

    def mix(self, x: Tensor) -> Tensor:
        """Return the gated channels, shuffled."""
        b, c, h, w = x.shape
        first, second = x.reshape(b * self.groups, c // self.groups, h, w).chunk(2, 1)
        first = first * self._channel_gate(first)
        second = second * self._spatial_gate(second)
        if self.shuffle and self.groups % 2 == 0 and not is_traced():
            return _interleaved(first, second, b).reshape(b, c, h, w)
        y = torch.cat([first, second], 1).reshape(b, c, h, w)
        return channel_shuffle(y, 2) if self.shuffle else y

    def _channel_gate(self, x: Tensor) -> Tensor:
        return _gate(mean(x, 2, 3, keepdim=True), self.channel_weight, self.channel_bias).to(x.dtype)

    def _spatial_gate(self, x: Tensor) -> Tensor:
        norm = self.norm
        if is_traced():  # exporters expect the weights of a norm to be constants
            return _gate(norm(x), self.spatial_weight, self.spatial_bias).to(x.dtype)
        weight = self.spatial_weight * norm.weight  # w2 IN(b) + b2 is a norm with another scale and shift
        bias = self.spatial_weight * norm.bias + self.spatial_bias
        return torch.sigmoid(torch.group_norm(x, norm.num_groups, weight, bias, norm.eps)).to(x.dtype)


def _gate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return sigmoid(weight * x + bias), with a weight and a bias per channel."""
    return torch.sigmoid(weight.view(1, -1, 1, 1) * x + bias.view(1, -1, 1, 1))


def _interleaved(first: Tensor, second: Tensor, images: int) -> Tensor:
    """Return both halves of all groups as one map whose channels are shuffled, with a single copy.

    Args:
        first: First half of an even number of groups in each image, (B groups, C / 2 groups, H, W).
        second: The second half.
        images: B.
    """
    halves = (half.reshape(images, 2, -1, *half.shape[1:]).permute(0, 2, 3, 1, 4, 5) for half in (first, second))
    return torch.stack(tuple(halves), 2)  # (B, groups / 2, first or second, C / 2 groups, half of the channels, H, W)
