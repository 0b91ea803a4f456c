"""HSFPNGate: the channel gate of HS-FPN.

    y = x * sigmoid(M(mean over H, W of x) + M(max over H, W of x))
    M(s) = W2 relu(W1 s)                        shared, without biases; W1 (C/r, C), W2 (C, C/r)

Paper: Chen et al., "Accurate Leukocyte Detection Based on Deformable-DETR and Multi-Level Feature Fusion for Aiding
Diagnosis of Blood Diseases", Computers in Biology and Medicine 2024, arXiv 2401.00926.
Code: https://github.com/JustlfC03/MFDS-DETR
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1). In the paper the gates of the levels are followed by a 1 x 1
convolution to one width, and by the selection of HSFPN.
Deviations: with C < r the authors' code has no hidden unit; here there is at least one. It differs from CBAMChannel in
its biases, its reduction and its initial weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["HSFPNGate"]


@register_layer(
    family="channel",
    summary="the gate of HS-FPN: reweights channels by their mean and maximum",
    aliases=("ChannelAttention_HSFPN",),
    paper="Accurate Leukocyte Detection Based on Deformable-DETR and Multi-Level Feature Fusion, CBM 2024",
    year=2024,
    url="https://arxiv.org/abs/2401.00926",
    repository="https://github.com/JustlfC03/MFDS-DETR",
    cost="O(C HW)",
    renamed={"ratio": "reduction"},
)
class HSFPNGate(Gate):
    """Channel gate of HS-FPN.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        hidden = hidden_width(channels, reduction)
        first, second = nn.Linear(channels, hidden, bias=False), nn.Linear(hidden, channels, bias=False)
        for linear in (first, second):
            nn.init.xavier_uniform_(linear.weight)
        self.mlp = nn.Sequential(first, nn.ReLU(), second)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        mean, most = (pooled.flatten(1) for pooled in mean_and_max(x, 2, 3))
        return torch.sigmoid(self.mlp(mean) + self.mlp(most))[:, :, None, None]
