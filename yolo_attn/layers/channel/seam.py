"""SEAM: separated and enhancement attention, a channel gate that amplifies, computed from a convolved map.

    d_0 = x
    u = d_i + BN(gelu(DW d_i))                  DW: depthwise 3 x 3 convolution
    d_i+1 = BN(gelu(W u))                       n steps, each with its own weights
    g = exp(sigmoid(W2 relu(W1 mean over H, W of d_n)))         between 1 and e; W1 (C/r, C), W2 (C, C/r)
    y = x * g

Paper: Yu et al., "YOLO-FaceV2: A Scale and Occlusion Aware Face Detector", Pattern Recognition 2024, arXiv 2208.02019.
Code: https://github.com/Krasjet-Yu/YOLO-FaceV2
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1), about 1.65 at the beginning of training.
Deviations: with C < r the authors' code has no hidden unit and a gate of exactly exp(1/2); here there is at least one.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.channel._seam import Amplifier, Description
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SEAM"]


@register_layer(
    family="channel",
    summary="amplifies channels by a bottleneck MLP on the means of a convolved map",
    paper="YOLO-FaceV2: A Scale and Occlusion Aware Face Detector, Pattern Recognition 2024",
    year=2022,
    url="https://arxiv.org/abs/2208.02019",
    repository="https://github.com/Krasjet-Yu/YOLO-FaceV2",
    cost="O(C^2 HW)",
    renamed={"n": "depth"},
)
class SEAM(Gate):
    """Separated and enhancement attention.

    Args:
        channels: Channels of the input.
        depth: n, steps of the description.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, depth: int = 1, reduction: float = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, depth=depth)
        check_positive(self, reduction=reduction)
        self.description = nn.Sequential(*(Description(channels) for _ in range(depth)))
        self.amplifier = Amplifier(channels, reduction)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        gate: Tensor = self.amplifier(mean(self.description(x), 2, 3))
        return gate
