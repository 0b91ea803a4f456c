"""XCA: cross-covariance attention, attention among channels instead of positions.

    q, k, v = W x                               at each position
    A = softmax(tau q' k'^T)                    q', k': the channels of q and k, each divided by its length over H, W
    y = Wo (A v)                                A (d, d) and tau: in each head of d channels

Paper: Ali et al., "XCiT: Cross-Covariance Image Transformers", NeurIPS 2021, arXiv 2106.09681.
Code: https://github.com/facebookresearch/xcit
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, d, d).
Deviations: lengths and weights are computed in float32, where the code gives NaN for channels of zeros in float16. The
number of heads is reduced to its greatest common divisor with C. XCiT's block follows it with a convolution over
neighbors, which is not part of the mechanism; positions interact through A only. No dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.self_attention._channels import channel_contexts, channel_values, channel_weights
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["XCA"]


@register_layer(
    family="self_attention",
    summary="mixes channels by their similarity over the whole map; linear in the map",
    paper="XCiT: Cross-Covariance Image Transformers, NeurIPS 2021",
    year=2021,
    url="https://arxiv.org/abs/2106.09681",
    repository="https://github.com/facebookresearch/xcit",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class XCA(Mixer):
    """Cross-covariance attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        qkv_bias: Whether queries, keys and values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, heads: int = 8, qkv_bias: bool = True, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_flag(self, qkv_bias=qkv_bias)
        self.temperature = nn.Parameter(torch.ones(fitting_groups(channels, heads)))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=qkv_bias)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts."""
        query, key, value = self.qkv(x).chunk(3, 1)
        y: Tensor = self.proj(channel_contexts(channel_weights(query, key, self.temperature), value))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the mean weight that each channel receives."""
        return [channel_values(self.weights(inputs[0]))]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights among the channels of each head, (B, heads, d, d)."""
        query, key, _ = self.qkv(x).chunk(3, 1)
        return channel_weights(query, key, self.temperature)
