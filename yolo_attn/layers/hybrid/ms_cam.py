"""MSCAM: multi-scale channel attention, a bottleneck at every position plus one on the mean over the map.

    L(x) = BN W2 relu(BN W1 x)                  W1 (C/r, C), W2 (C, C/r), at each position
    G(x) = BN V2 relu(BN V1 mean over H, W of x)                            (C, 1, 1)
    y = x * sigmoid(L(x) + G(x))

Paper: Dai et al., "Attentional Feature Fusion", WACV 2021, arXiv 2009.14082.
Code: https://github.com/YimianDai/open-aff
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: convolutions have no bias, which the batch norms would cancel. In training the pooled vector of a single
image is normalized with the running statistics (see `BatchNorm`), where the published form raises an error.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["MSCAM", "MultiScaleContext"]


class MultiScaleContext(nn.Module):
    """The context L(x) + G(x), before the sigmoid.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel.

    Shape:
        x: (B, C, H, W), result the same.
    """

    def __init__(self, channels: int, reduction: float) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.everywhere = _bottleneck(channels, hidden)
        self.overall = _bottleneck(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the context of x."""
        with no_autocast(x):  # a batch norm over a few pooled vectors amplifies rounding errors
            dtype = cast(nn.Conv2d, self.overall[0]).weight.dtype
            overall = self.overall(x.mean((2, 3), keepdim=True, dtype=dtype))
        context: Tensor = self.everywhere(x) + overall
        return context


@register_layer(
    family="hybrid",
    summary="reweights every value by a bottleneck at its position plus one on the mean over the map",
    aliases=("MS_CAM",),
    paper="Attentional Feature Fusion, WACV 2021",
    year=2021,
    url="https://arxiv.org/abs/2009.14082",
    repository="https://github.com/YimianDai/open-aff",
    cost="O(C^2 HW / r)",
)
class MSCAM(Gate):
    """Multi-scale channel attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        self.context = MultiScaleContext(channels, reduction)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        return torch.sigmoid(self.context(x))


def _bottleneck(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        BatchNorm(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 1, bias=False),
        BatchNorm(channels),
    )
