"""Base of fusions that weight two maps value by value, by a convolution of their sum and a pattern computed from it.

i = x0 + x1
w = sigmoid(conv7 of [i_c; q_c])            for each channel c, reflection padding; q: the pattern (B, C, H, W)
y = W (i + w * x0 + (1 - w) * x1)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check, check_flag
from yolo_attn.layers.numerics import lerp, no_autocast, one_dtype
from yolo_attn.layers.self_attention._neighborhood import reflect

__all__ = ["BORDER", "KERNEL_SIZE", "PixelFusion", "reflected"]

KERNEL_SIZE = 7
BORDER = KERNEL_SIZE // 2


class PixelFusion(Fusion):
    """A fusion by weights of single values. Implement `pattern`.

    Args:
        channels: Channels of the two inputs, equal.
        double_sigmoid: Whether the sigmoid of w is applied twice.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(self, channels: Sequence[int], *, double_sigmoid: bool, init: str) -> None:
        super().__init__(channels, init=init)
        check(self, channels[0] == channels[1], "channels", channels, "two equal numbers, with a Conv before it")
        check_flag(self, double_sigmoid=double_sigmoid)
        width = channels[0]
        self.double_sigmoid = double_sigmoid
        self.gate = nn.Conv2d(2 * width, width, KERNEL_SIZE, groups=width)
        self.proj = nn.Conv2d(width, width, 1)

    def pattern(self, total: Tensor) -> Tensor:
        """Return q, broadcastable to the sum of the inputs (B, C, H, W)."""
        raise NotImplementedError  # abstract

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the first input."""
        return [AttentionValues("first input", GATE, self.weights(list(inputs))[0].float())]

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weights of the first input, (B, C, H, W); those of the second are 1 minus them."""
        total = xs[0] + xs[1]
        total, pattern = one_dtype([total, self.pattern(total)])
        with no_autocast(total):  # torch.stack rejects float16 under a bfloat16 autocast
            pairs = torch.stack([total, pattern.expand_as(total)], 2).flatten(1, 2)
        gate = torch.sigmoid(self.gate(reflected(pairs)))
        return torch.sigmoid(gate) if self.double_sigmoid else gate

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the projection of the sum and the weighted mean."""
        y: Tensor = self.proj(xs[0] + xs[1] + lerp(xs[1], xs[0], self.weights(xs).to(xs[0].dtype)))
        return y


def reflected(x: Tensor) -> Tensor:
    """Return a map with the border that the convolutions need."""
    with no_autocast(x):  # torch.cat rejects float16 under a bfloat16 autocast
        return reflect(x, BORDER)
