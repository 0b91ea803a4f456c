"""ECA: efficient channel attention.

    s = mean over H, W of x                     (B, C)
    y = x * sigmoid(conv1d_k(s))                a single kernel of k weights along the channels, zero padding

Paper: Wang et al., "ECA-Net: Efficient Channel Attention for Deep CNNs", CVPR 2020, arXiv 1910.03151.
Code: https://github.com/BangguWu/ECANet
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1). Neighboring channels share weights, so channel order matters.
Deviations: none. The paper and its code differ in k: the code uses 3 for every C (the default here); the paper uses
k(C) = |(log2 C + 1) / 2| rounded up to an odd number (`kernel_size=None`): 3 for 8 to 64 channels, 5 for 128 to 1024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.channel._kernel_size import adaptive_kernel_size
from yolo_attn.layers.checks import check_odd
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ECA"]


@register_layer(
    family="channel",
    summary="reweights channels by a short convolution over the channel means",
    aliases=("ECAttention", "ECALayer"),
    paper="ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020",
    year=2020,
    url="https://arxiv.org/abs/1910.03151",
    repository="https://github.com/BangguWu/ECANet",
    cost="O(C HW)",
)
class ECA(Gate):
    """Efficient channel attention.

    Args:
        channels: Channels of the input.
        kernel_size: k, channels that each gate depends on, odd; None selects the paper's k(C).
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int | None = 3, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        if kernel_size is None:
            kernel_size = adaptive_kernel_size(channels)
        check_odd(self, kernel_size=kernel_size)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        means = mean(x, 2, 3).unsqueeze(1)  # (B, 1, C); indexing with None takes twice as long
        conv = self.conv  # calling the module takes a tenth of the time of the layer at 20 x 20 positions
        logits = F.conv1d(means, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)
        return torch.sigmoid(logits).transpose(1, 2).unsqueeze(-1)
