"""iAFF: iterative attentional feature fusion, AFF whose context is computed from maps fused in a first round.

    w = sigmoid(context1(x0 + x1)), z = x0 * w + x1 * (1 - w)               see MSCAM for the contexts
    v = sigmoid(context2(z)),       y = x0 * v + x1 * (1 - v)

Paper: Dai et al., "Attentional Feature Fusion", WACV 2021, arXiv 2009.14082.
Code: https://github.com/YimianDai/open-aff
Shapes: x0, x1 (B, C, H, W), y the same; weights([x0, x1]) (B, C, H, W), those of x0.
Precision: each context has two ReLUs, and the second context reads the output of the first. Near their kinks a float32
rounding error selects one of two slopes, so the gradients of two correct implementations can differ at single
positions.
Deviations: those of MSCAM. The authors' PyTorch port runs the global half of context1 in both rounds, so that of
context2 has no effect. Their MXNet code, and this one, use each context's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.hybrid._multi_scale_context import MultiScaleContext
from yolo_attn.layers.numerics import lerp, one_dtype
from yolo_attn.registry import register_layer

__all__ = ["iAFF"]


@register_layer(
    family="fusion",
    summary="adds two maps with a weight for each value, computed in two rounds",
    aliases=("IAFF",),
    inputs=2,
    paper="Attentional Feature Fusion, WACV 2021",
    year=2021,
    url="https://arxiv.org/abs/2009.14082",
    repository="https://github.com/YimianDai/open-aff",
    cost="O(C^2 HW / r)",
)
class iAFF(Fusion):
    """Iterative attentional feature fusion.

    Args:
        channels: Channels of the two inputs, equal.
        reduction: r, channels per hidden channel of the contexts.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(self, channels: Sequence[int], *, reduction: float = 4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check(self, channels[0] == channels[1], "channels", channels, "two equal numbers, with a Conv before it")
        check_positive(self, reduction=reduction)
        self.context1 = MultiScaleContext(channels[0], reduction)
        self.context2 = MultiScaleContext(channels[0], reduction)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the first input."""
        return [AttentionValues("first input", GATE, self.weights(list(inputs))[0].float())]

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the final weights of the first input, (B, C, H, W); those of the second are 1 minus them."""
        xs = one_dtype(xs)
        weights = torch.sigmoid(self.context1(xs[0] + xs[1]))
        return torch.sigmoid(self.context2(lerp(xs[1], xs[0], weights.to(xs[0].dtype))))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the weighted mean."""
        return lerp(xs[1], xs[0], self.weights(xs).to(xs[0].dtype))
