"""CBAMChannel: the channel gate of CBAM.

    y = x * sigmoid(MLP(mean over H, W of x) + MLP(max over H, W of x))
    MLP(s) = W2 relu(W1 s)                      shared, with biases; W1 (C/r, C), W2 (C, C/r)

Paper: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv 1807.06521.
Code: https://github.com/Jongchan/attention-module
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1).
Deviations: with C < r the authors' code has no hidden unit; here there is at least one.
Few channels: as in SE, all hidden units can be inactive for every image, in one of five initializations at C = 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["CBAMChannel"]


@register_layer(
    family="channel",
    summary="the channel half of CBAM: reweights channels by their mean and maximum",
    paper="CBAM: Convolutional Block Attention Module, ECCV 2018",
    year=2018,
    url="https://arxiv.org/abs/1807.06521",
    repository="https://github.com/Jongchan/attention-module",
    cost="O(C HW)",
)
class CBAMChannel(Gate):
    """The channel gate of CBAM.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        hidden = hidden_width(channels, reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        mean, most = (pooled.flatten(1) for pooled in mean_and_max(x, 2, 3))
        return torch.sigmoid(self.mlp(mean) + self.mlp(most))[:, :, None, None]
