"""ESE: effective squeeze-and-excitation with a single linear layer.

    s = mean over H, W of x                     (B, C)
    y = x * hardsigmoid(W s + b)                W (C, C), hardsigmoid(z) = min(max(z + 3, 0), 6) / 6

Paper: Lee and Park, "CenterMask: Real-Time Anchor-Free Instance Segmentation", CVPR 2020, arXiv 1911.06667.
Code: https://github.com/youngwanLEE/vovnet-detectron2
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1). C^2 + C weights.
Deviations: none.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ESE"]


@register_layer(
    family="channel",
    summary="reweights channels by one linear layer on the channel means",
    aliases=("EffectiveSE", "eSEModule"),
    paper="CenterMask: Real-Time Anchor-Free Instance Segmentation, CVPR 2020",
    year=2020,
    url="https://arxiv.org/abs/1911.06667",
    repository="https://github.com/youngwanLEE/vovnet-detectron2",
    cost="O(C HW + C^2)",
)
class ESE(Gate):
    """Effective squeeze-and-excitation.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.fc = nn.Linear(channels, channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        return F.hardsigmoid(self.fc(mean(x, 2, 3))).unsqueeze(-1).unsqueeze(-1)
