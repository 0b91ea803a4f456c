"""GC: global context, a context vector pooled with one attention map per image and added at every position.

    a = softmax over H, W of w . x              (B, 1, H, W)
    c = sum over H, W of a x                    (B, C)
    y = x + W2 relu(LN(W1 c))                   W1 (C/r, C), W2 (C, C/r), with bias; LN: layer norm over C/r

Paper: Cao et al., "GCNet: Non-Local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV workshop 2019,
arXiv 1904.11492.
Code: https://github.com/xvjiarui/GCNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, H W).
Deviations: the logits have no bias, because a softmax is invariant to it. There are at least two hidden units, because
a layer norm over a single one is constant. Logits and softmax are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.channel._context import pooled_context, position_weights
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.projections import single_channel
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["GC"]


@register_layer(
    family="channel",
    summary="adds a context vector, pooled by attention over the map, at every position",
    aliases=("ContextBlock", "GCNet", "GlobalContext"),
    paper="GCNet: Non-Local Networks Meet Squeeze-Excitation Networks and Beyond, ICCV workshop 2019",
    year=2019,
    url="https://arxiv.org/abs/1904.11492",
    repository="https://github.com/xvjiarui/GCNet",
    cost="O(C HW)",
    identity="published: last layer 0",
)
class GC(Mixer):
    """Global context; the identity with either initialization.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, reduction: float = 16, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        hidden = hidden_width(channels, reduction, 2)
        self.attn = nn.Conv2d(channels, 1, 1, bias=False)
        self.fc1 = nn.Linear(channels, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, channels)
        nn.init.kaiming_normal_(self.attn.weight)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the positions."""
        x = inputs[0]
        weights = self.weights(x)[0].float()
        return [AttentionValues("", WEIGHT, weights.reshape(x.shape[2:]) * weights.numel())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the attention over the positions, (B, H W)."""
        return position_weights(single_channel(self.attn, x))

    def mix(self, x: Tensor) -> Tensor:
        """Return x with its context added."""
        hidden = torch.relu(self.norm(self.fc1(pooled_context(x, self.weights(x)))))
        added: Tensor = self.fc2(hidden)[..., None, None]
        return x + added
