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

import torch
from torch import Tensor

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.hybrid._multi_scale_context import MultiScaleContext
from yolo_attn.registry import register_layer

__all__ = ["MSCAM"]


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
