"""EfficientAdditive: attention with a single global query, of SwiftFormer.

    q_n = Wq x_n / |Wq x_n|, k_n = Wk x_n / |Wk x_n|                n: the positions of the map
    a_n = w . q_n / sqrt(C),  a = a / |a| over n                    w: a learned vector
    g = sum over n of a_n q_n                                       the global query, (B, C)
    y_n = Wf (Wp (g * k_n) + q_n)

Paper: Shaker et al., "SwiftFormer: Efficient Additive Attention for Transformer-based Real-time Mobile Vision
Applications", ICCV 2023, arXiv 2303.15446.
Code: https://github.com/Amshaker/SwiftFormer
Shapes: x (B, C, H, W), y the same; weights(x) (B, H, W).
Deviations: none from the code, except that norms are computed in float32. In the paper, a is a softmax over n
(`weighting="softmax"`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.numerics import unit, widen
from yolo_attn.registry import register_layer

__all__ = ["EfficientAdditive"]


@register_layer(
    family="self_attention",
    summary="pools all queries into one global query that multiplies every key; linear in the map",
    aliases=("EfficientAdditiveAttention", "SwiftFormerAttention"),
    paper="SwiftFormer: Efficient Additive Attention for Transformer-based Real-time Mobile Vision Applications, "
    "ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2303.15446",
    repository="https://github.com/Amshaker/SwiftFormer",
    cost="O(C^2 HW)",
)
class EfficientAdditive(Mixer):
    """Efficient additive attention.

    Args:
        channels: Channels of the input.
        weighting: How a is normalized: "l2" as in the code, "softmax" as in the paper.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, weighting: str = "l2", init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_choice(self, "weighting", weighting, ("l2", "softmax"))
        self.weighting = weighting
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.score_weight = nn.Parameter(torch.randn(channels))
        self.proj = nn.Conv2d(channels, channels, 1)
        self.out_proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected product of the global query and the keys."""
        query = self._query(x)
        key = unit(widen(self.key(x)), 1)
        global_query = (self._weights(query) * query).sum((2, 3), keepdim=True)  # (B, C, 1, 1)
        y: Tensor = self.out_proj(self.proj((global_query * key).to(x.dtype)) + query.to(x.dtype))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the positions in the global query."""
        weights = self.weights(inputs[0])[0].float()
        scale = weights.numel() ** (0.5 if self.weighting == "l2" else 1)  # uniform weights become 1
        return [AttentionValues("", WEIGHT, weights * scale)]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each position in the global query, (B, H, W)."""
        return self._weights(self._query(x))[:, 0]

    def _query(self, x: Tensor) -> Tensor:
        return unit(widen(self.query(x)), 1)

    def _weights(self, query: Tensor) -> Tensor:
        logits = (query * self.score_weight.to(query.dtype)[:, None, None]).sum(1, keepdim=True) * self.channels**-0.5
        if self.weighting == "l2":
            return unit(logits, 2, 3)
        weights: Tensor = logits.flatten(2).softmax(2).reshape(logits.shape)
        return weights
