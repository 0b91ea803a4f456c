"""AFGC: adaptive fine-grained channel attention, products of each channel with the sum over all channels.

    s = mean over H, W of x                     (B, C)
    a = conv1d_k(s), b = W s + c                along the channels, and among all of them
    o = m sigmoid(b sum(a)) + (1 - m) sigmoid(a sum(b))         sums over the channels; m = sigmoid(learned number)
    y = x * sigmoid(conv1d_k(o))                the same conv1d_k: a single kernel of k weights, zero padding

Paper: Sun et al., "Unsupervised Bidirectional Contrastive Reconstruction and Adaptive Fine-Grained Channel Attention
Networks for image dehazing", Neural Networks 176, 2024.
Code: https://github.com/Lose-Code/UBRFC-Net
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1).
Deviations: the authors' code computes the sums as those of the C x C products of a and b, which is equal. Here they are
in float32, because they grow with the number of channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.channel._kernel_size import adaptive_kernel_size
from yolo_attn.layers.checks import check_odd
from yolo_attn.layers.numerics import lerp, widen
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["AFGC"]

MIX = -0.8
"""Initial value of the number whose sigmoid is m: m = 0.31."""


@register_layer(
    family="channel",
    summary="reweights channels by products of neighboring and of all channel means",
    aliases=("AFGCAttention",),
    paper="Unsupervised Bidirectional Contrastive Reconstruction and Adaptive Fine-Grained Channel Attention Networks "
    "for image dehazing, Neural Networks 2024",
    year=2024,
    url="https://github.com/Lose-Code/UBRFC-Net",
    repository="https://github.com/Lose-Code/UBRFC-Net",
    cost="O(C HW)",
)
class AFGC(Gate):
    """Adaptive fine-grained channel attention.

    Args:
        channels: Channels of the input.
        kernel_size: k, odd; None selects k(C) = |(log2 C + 1) / 2| rounded up to an odd number, as published: 3 for 8
            to 64 channels, 5 for 128 to 1024.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int | None = None, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        kernel_size = adaptive_kernel_size(channels) if kernel_size is None else kernel_size
        check_odd(self, kernel_size=kernel_size)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.fc = nn.Linear(channels, channels)
        self.mix = nn.Parameter(torch.full((1,), MIX))

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        means = mean(x, 2, 3)
        near, whole = widen(self.conv(means[:, None])[:, 0]), widen(self.fc(means))
        of_whole = torch.sigmoid(whole * near.sum(1, keepdim=True))
        of_near = torch.sigmoid(near * whole.sum(1, keepdim=True))
        blended = lerp(of_near, of_whole, torch.sigmoid(widen(self.mix)))
        return torch.sigmoid(self.conv(blended.to(x.dtype)[:, None])).transpose(1, 2)[..., None]
