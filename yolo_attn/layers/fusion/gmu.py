"""GMU: gated multimodal unit, two maps passed through tanh and mixed by a gate computed from both.

    h0 = tanh(W0 x0), h1 = tanh(W1 x1)          W0 (C, C0), W1 (C, C1), at each position
    z = sigmoid(Wz [x0; x1])                    Wz (C, C0 + C1)
    y = z * h0 + (1 - z) * h1

Paper: Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR workshop 2017, arXiv 1702.01992.
Code: https://github.com/johnarevalo/gmu-mmimdb (Theano)
Shapes: x0 (B, C0, H, W), x1 (B, C1, H, W), y (B, C0, H, W); weights([x0, x1]) (B, C0, H, W), those of h0.
Deviations: none from the paper; vectors become maps, linear layers 1 x 1 convolutions. The authors' code gates on the
projected inputs, z = sigmoid(Wz [W0 x0; W1 x1]) with Wz (C, 2 C), and has batch norms before W0 and W1. y is between -1
and 1, a scale that the following rows have to adapt to. A third-party implementation reads x0 twice, so x1 has no
effect, and has a single gate for all channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.numerics import lerp, no_autocast, one_dtype
from yolo_attn.registry import register_layer

__all__ = ["GMU"]


@register_layer(
    family="fusion",
    summary="mixes two maps by a gate computed from both",
    aliases=("GatedMultimodalUnit",),
    inputs=2,
    paper="Gated Multimodal Units for Information Fusion, ICLR workshop 2017",
    year=2017,
    url="https://arxiv.org/abs/1702.01992",
    repository="https://github.com/johnarevalo/gmu-mmimdb",
    cost="O(C^2 HW)",
)
class GMU(Fusion):
    """Gated multimodal unit.

    Args:
        channels: Channels of the two inputs; the output has those of the first.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: Sequence[int], *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.first = nn.Conv2d(channels[0], channels[0], 1, bias=False)
        self.second = nn.Conv2d(channels[1], channels[0], 1, bias=False)
        self.gate = nn.Conv2d(sum(channels), channels[0], 1, bias=False)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the first input."""
        return [AttentionValues("first input", GATE, self.weights(list(inputs))[0].float())]

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weights of the first input, (B, C, H, W); those of the second are 1 minus them."""
        with no_autocast(xs[0]):  # torch.cat rejects float16 under a bfloat16 autocast
            both = torch.cat(one_dtype(xs), 1)
        return torch.sigmoid(self.gate(both))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the gated sum."""
        return lerp(torch.tanh(self.second(xs[1])), torch.tanh(self.first(xs[0])), self.weights(xs))
