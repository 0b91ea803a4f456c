"""NAM: normalization-based attention over channels.

    w = |g| / sum |g|                           g: the scale of a batch norm, one per channel
    y = x * sigmoid(w * BN(x))

Paper: Liu et al., "NAM: Normalization-based Attention Module", NeurIPS 2021 workshop, arXiv 2111.12419.
Code: https://github.com/Christian-lyc/NAM
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W). Initially w is 1/C and the gate is near 0.5. The paper adds an L1
penalty on g to the loss to spread it.
Deviations: the authors' code reads g from `weight.data`, which stops the gradient through w; here it flows. All-zero g
gives w = 0 instead of NaN. The spatial part, which the authors did not release, is `NAMSpatial`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers.base import Gate
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import widen
from yolo_attn.registry import register_layer

__all__ = ["NAM"]


@register_layer(
    family="channel",
    summary="reweights channels by the scales of a batch norm",
    aliases=("NAMAttention",),
    paper="NAM: Normalization-based Attention Module, NeurIPS 2021 workshop",
    year=2021,
    url="https://arxiv.org/abs/2111.12419",
    repository="https://github.com/Christian-lyc/NAM",
    cost="O(C HW)",
)
class NAM(Gate):
    """Normalization-based attention over channels.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.norm = BatchNorm(channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        scale = widen(self.norm.weight).abs()
        share = scale / scale.sum().clamp(min=1e-12)
        normed: Tensor = self.norm(x)
        return torch.sigmoid(share.to(normed.dtype).view(1, -1, 1, 1) * normed)
