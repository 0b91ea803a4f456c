"""CAM: DANet's channel attention, each channel attends to the channels least similar to it.

    E = X X^T, X (C, HW)                        (C, C)
    A = softmax over the columns of (max over the columns of E) - E
    Y = X + s * A X                             s: a learned scalar, initialized to 0

Paper: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019, arXiv 1809.02983.
Code: https://github.com/junfu1115/DANet
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, C).
Deviations: none from the code. The paper writes softmax(E), and the code reverses the sign: the most similar channel,
above all the channel itself, gets the least weight. E is a sum over the map, so on large maps it is large and the
softmax is almost one-hot. It is computed in float32, because E exceeds the range of float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.registry import register_layer

__all__ = ["CAM"]


@register_layer(
    family="self_attention",
    summary="DANet's channel attention: each channel attends to the channels least similar to it",
    aliases=("ChannelAttentionModule",),
    paper="Dual Attention Network for Scene Segmentation, CVPR 2019",
    year=2019,
    url="https://arxiv.org/abs/1809.02983",
    repository="https://github.com/junfu1115/DANet",
    cost="O(C^2 HW)",
    identity="published: residual weight 0",
)
class CAM(Mixer):
    """Channel attention of DANet; the identity with either initialization.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.residual_scale = nn.Parameter(torch.zeros(1))

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the scaled output of the attention."""
        with no_autocast(x):
            y = self.weights(x) @ widen(x).flatten(2)
        height, width = x.shape[2:]
        return x + (self.residual_scale * y).reshape(-1, self.channels, height, width).to(x.dtype)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the total weight of each channel over all channels that attend to it."""
        return [AttentionValues("", WEIGHT, self.weights(inputs[0])[0].float().sum(0))]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each channel (last) for each channel, (B, C, C)."""
        with no_autocast(x):
            channels = widen(x).flatten(2)
            # The published form subtracts from the maximum of E, which does not change the softmax.
            return (-channels @ channels.transpose(1, 2)).softmax(2)
