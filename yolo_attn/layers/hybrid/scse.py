"""SCSE: a channel gate and a spatial gate in parallel.

    c = sigmoid(W2 relu(W1 mean over H, W of x))                (B, C); hidden width C / r
    s = sigmoid(w . x) at each position                         (B, 1, H, W)
    y = max(x * c, x * s)                                       or their sum

Paper: Roy et al., "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks", MICCAI 2018,
arXiv 1803.02579; "Recalibrating Fully Convolutional Networks with Spatial and Channel Squeeze & Excitation Blocks",
IEEE TMI 2019, arXiv 1808.08127.
Code: https://github.com/ai-med/squeeze_and_excitation
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: none. The first paper adds the products (`combine="sum"`), the second paper and the code take their maximum,
which selects the smaller gate where x is negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_positive
from yolo_attn.layers.projections import single_channel
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SCSE"]


@register_layer(
    family="hybrid",
    summary="reweights channels and positions in parallel and takes the larger product, or the sum",
    aliases=("scSE", "SCSEModule"),
    paper="Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks, MICCAI 2018",
    year=2018,
    url="https://arxiv.org/abs/1803.02579",
    repository="https://github.com/ai-med/squeeze_and_excitation",
    cost="O(C HW)",
)
class SCSE(Gate):
    """Concurrent spatial and channel squeeze and excitation.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        combine: "max" or "sum" of the two products.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 2, combine: str = "max", init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_choice(self, "combine", combine, ("max", "sum"))
        hidden = hidden_width(channels, reduction)
        self.combine = combine
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.spatial = nn.Conv2d(channels, 1, 1)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        channel = torch.sigmoid(self.fc2(torch.relu(self.fc1(mean(x, 2, 3)))))[:, :, None, None]
        spatial = torch.sigmoid(single_channel(self.spatial, x))
        if self.combine == "sum":
            return channel + spatial
        return torch.where(x >= 0, torch.maximum(channel, spatial), torch.minimum(channel, spatial))
