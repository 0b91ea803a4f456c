"""MultiSEAM: SEAM with descriptions of patches of three sizes.

    e_p = BN(gelu(convolution of p x p with stride p of x))     p = 3, 5, 7
    s = (mean of x + sum over p of mean of D(e_p)) / 4          means over positions; D: n steps of SEAM's description
    y = x * exp(sigmoid(W2 relu(W1 s)))                         the gate is between 1 and e

Paper: Yu et al., "YOLO-FaceV2: A Scale and Occlusion Aware Face Detector", Pattern Recognition 2024, arXiv 2208.02019.
Code: https://github.com/Krasjet-Yu/YOLO-FaceV2
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1), about 1.65 at the beginning of training.
The patches have 83 C^2 weights, as many as nine 3 x 3 convolutions. e_p does not depend on rows and columns beyond the
last whole patch.
Deviations: smaller maps than a patch are padded with zeros at the bottom and right, where the authors' code raises an
error. With C < r that code has no hidden unit and a gate of exactly exp(1/2); here there is at least one.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.channel._seam import Amplifier, Description
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.pooling import padded_to
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["MultiSEAM"]

PATCHES = (3, 5, 7)


@register_layer(
    family="channel",
    summary="amplifies channels by a bottleneck MLP on means of convolved patches of three sizes",
    paper="YOLO-FaceV2: A Scale and Occlusion Aware Face Detector, Pattern Recognition 2024",
    year=2022,
    url="https://arxiv.org/abs/2208.02019",
    repository="https://github.com/Krasjet-Yu/YOLO-FaceV2",
    cost="O(C^2 HW)",
)
class MultiSEAM(Gate):
    """Separated and enhancement attention with patches of 3, 5 and 7.

    Args:
        channels: Channels of the input.
        depth: n, steps of the description of each patch size.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, depth: int = 1, reduction: float = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, depth=depth)
        check_positive(self, reduction=reduction)
        self.descriptions = nn.ModuleList(_description(channels, patch, depth) for patch in PATCHES)
        self.amplifier = Amplifier(channels, reduction)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        maps = (description(padded_to(x, patch)) for description, patch in zip(self.descriptions, PATCHES, strict=True))
        means = [mean(map_, 2, 3) for map_ in (*maps, x)]
        gate: Tensor = self.amplifier(total(means) / len(means))
        return gate


def _description(channels: int, patch: int, depth: int) -> nn.Sequential:
    """Return the convolution of the patches, followed by the steps of their description."""
    convolution = nn.Conv2d(channels, channels, patch, stride=patch)
    return nn.Sequential(convolution, nn.GELU(), BatchNorm(channels), *(Description(channels) for _ in range(depth)))
