"""SE: squeeze-and-excitation.

    s = mean over H, W of x                     (B, C)
    y = x * sigmoid(W2 relu(W1 s))              W1 (C/r, C), W2 (C, C/r)

Paper: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507.
Code: https://github.com/hujie-frank/SENet (Caffe).
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1). In a ResNet it is applied to the residual branch, before the add.
Deviations: both linear layers have no bias, as in the PyTorch copies used in comparisons; the authors' Caffe model has
biases (`bias=True`). With C < r those copies have no hidden unit and a gate of exactly 0.5; here there is at least one.
Few channels: the hidden units are few, and one that is inactive for all images has no gradient. With hardly varying
channel means all units are inactive, and the gate constant, in two of five initializations at C = 16; use a smaller
reduction there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_flag, check_positive
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SE"]


@register_layer(
    family="channel",
    summary="reweights channels by a bottleneck MLP on the channel means",
    aliases=("SELayer", "SEAttention"),
    paper="Squeeze-and-Excitation Networks, CVPR 2018",
    year=2018,
    url="https://arxiv.org/abs/1709.01507",
    repository="https://github.com/hujie-frank/SENet",
    cost="O(C HW)",
)
class SE(Gate):
    """Squeeze-and-excitation.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        bias: Whether both linear layers have a bias, as in the authors' Caffe model.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 16, bias: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_flag(self, bias=bias)
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        hidden = torch.relu(self.fc1(mean(x, 2, 3)))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]
