"""AFF: attentional feature fusion, a sum of two maps with a weight for each value.

    w = sigmoid(context(x0 + x1))               see MSCAM for the context: (B, C, H, W)
    y = f (x0 * w + x1 * (1 - w))               f = 2

With w = 1/2, its mean at initialization, f = 2 makes it the plain sum that it replaces.

Paper: Dai et al., "Attentional Feature Fusion", WACV 2021, arXiv 2009.14082.
Code: https://github.com/YimianDai/open-aff
Shapes: x0, x1 (B, C, H, W), y the same; weights([x0, x1]) (B, C, H, W), those of x0.
Deviations: those of MSCAM. The factor f = 2 is from the authors' code; the paper has none (`factor=1`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.hybrid._multi_scale_context import MultiScaleContext
from yolo_attn.layers.numerics import lerp
from yolo_attn.registry import register_layer

__all__ = ["AFF"]


@register_layer(
    family="fusion",
    summary="adds two maps with a weight for each value",
    inputs=2,
    paper="Attentional Feature Fusion, WACV 2021",
    year=2021,
    url="https://arxiv.org/abs/2009.14082",
    repository="https://github.com/YimianDai/open-aff",
    cost="O(C^2 HW / r)",
)
class AFF(Fusion):
    """Attentional feature fusion.

    Args:
        channels: Channels of the two inputs, equal.
        reduction: r, channels per hidden channel of the context.
        factor: f, factor of the weighted mean: 2 as in the authors' code, 1 as in the paper.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(
        self, channels: Sequence[int], *, reduction: float = 4, factor: float = 2, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check(self, channels[0] == channels[1], "channels", channels, "two equal numbers, with a Conv before it")
        check_positive(self, reduction=reduction, factor=factor)
        self.factor = factor
        self.context = MultiScaleContext(channels[0], reduction)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the first input."""
        return [AttentionValues("first input", GATE, self.weights(list(inputs))[0].float())]

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weights of the first input, (B, C, H, W); those of the second are 1 minus them."""
        return torch.sigmoid(self.context(xs[0] + xs[1]))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the weighted sum."""
        return self.factor * lerp(xs[1], xs[0], self.weights(xs).to(xs[0].dtype))
