"""CPCA: channel prior convolutional attention, a channel gate followed by a map from multi-scale strip convolutions.

    h = gelu(W x)
    h = h * (sigmoid(M mean of h) + sigmoid(M max of h))        M = W2 relu W1, hidden width C / r; over H, W
    a = W (u + sum over k of v_k(h_k(u))), u = dw5(h)           h_k: 1 x k, v_k: k x 1; k = 7, 11, 21
    y = W (a * h)

Paper: Huang et al., "Channel Prior Convolutional Attention for Medical Image Segmentation", Computers in Biology and
Medicine 2024, arXiv 2306.05196.
Code: https://github.com/Cuthbert-Huang/CPCANet
Shapes: x (B, C, H, W), y the same.
Deviations: none. The authors' code and its copies use a single W three times; `shared=False` uses three. The channel
gate is a sum of two sigmoids, between 0 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_odd_list, check_positive
from yolo_attn.layers.large_kernel._multi_scale import MultiScale
from yolo_attn.layers.numerics import saturate
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["CPCA"]


@register_layer(
    family="hybrid",
    summary="reweights channels, then multiplies by a map from depthwise strip convolutions of three lengths",
    aliases=("CPCABlock",),
    paper="Channel Prior Convolutional Attention for Medical Image Segmentation, Comput. Biol. Med. 2024",
    year=2023,
    url="https://arxiv.org/abs/2306.05196",
    repository="https://github.com/Cuthbert-Huang/CPCANet",
    cost="O(C^2 HW)",
    renamed={"kernels": "kernel_sizes"},
)
class CPCA(Mixer):
    """Channel prior convolutional attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit of the channel gate.
        kernel_sizes: Lengths k of the strips, odd.
        shared: Whether W is a single convolution used three times, as in the authors' code, instead of three.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: float = 4,
        kernel_sizes: Sequence[int] = (7, 11, 21),
        shared: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_odd_list(self, [7, 11, 21], kernel_sizes=kernel_sizes)
        check_flag(self, shared=shared)
        hidden = hidden_width(channels, reduction)
        self.pointwise = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(1 if shared else 3))
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.scales = MultiScale(channels, kernel_sizes)

    def mix(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        hidden = F.gelu(self.pointwise[0](x))
        hidden = hidden * self._channel_gate(hidden)
        weights = self.pointwise[len(self.pointwise) // 2](self.scales(hidden))
        return saturate(self.pointwise[-1](saturate(weights * hidden)))

    def _channel_gate(self, x: Tensor) -> Tensor:
        """Return the channel gate (B, C, 1, 1)."""
        mean, most = (torch.sigmoid(self.mlp(pooled.flatten(1))) for pooled in mean_and_max(x, 2, 3))
        return (mean + most)[:, :, None, None]
