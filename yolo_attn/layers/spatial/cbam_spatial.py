"""CBAMSpatial: the spatial gate of CBAM.

    y = x * sigmoid(BN(conv_k([max over C of x; mean over C of x])))        conv 2 -> 1, without bias

Paper: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv 1807.06521.
Code: https://github.com/Jongchan/attention-module
Shapes: x (B, C, H, W), y the same; gate (B, 1, H, W).
Deviations: none. The paper and its code differ: the paper concatenates [mean; max], the code and this layer [max;
mean], which is equivalent at initialization; the code has a batch norm after the convolution, the paper none
(`norm=False`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_flag, check_odd
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.projections import few_channels
from yolo_attn.layers.statistics import mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["CBAMSpatial"]


@register_layer(
    family="spatial",
    summary="the spatial half of CBAM: reweights positions by their mean and maximum over channels",
    paper="CBAM: Convolutional Block Attention Module, ECCV 2018",
    year=2018,
    url="https://arxiv.org/abs/1807.06521",
    repository="https://github.com/Jongchan/attention-module",
    cost="O((C + k^2) HW)",
)
class CBAMSpatial(Gate):
    """The spatial gate of CBAM.

    Args:
        channels: Channels of the input.
        kernel_size: k, odd; the paper uses 7 and 3.
        norm: Whether a batch norm follows the convolution, as in the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 7, norm: bool = True, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, norm=norm)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1, momentum=0.01) if norm else None

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, 1, H, W)."""
        mean, most = mean_and_max(x, 1)
        pooled = few_channels(torch.cat([most, mean], 1))
        logits: Tensor = self.conv(pooled)
        return torch.sigmoid(logits if self.norm is None else self.norm(logits))
