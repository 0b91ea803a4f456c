"""MDTA: multi-Dconv head transposed attention, attention among channels after a depthwise convolution, of Restormer.

    [q; k; v] = DW W x                          DW: depthwise convolution
    A = softmax(tau q' k'^T)                    q', k': the channels of q and k, each divided by its length over H, W
    y = Wo (A v)                                A (d, d) and tau: in each head of d channels

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022,
arXiv 2111.09881.
Code: https://github.com/swz30/Restormer
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, d, d).
Deviations: lengths and weights are computed in float32, where the code gives NaN for channels of zeros in float16. The
number of heads is reduced to its greatest common divisor with C. `dilation` spreads the depthwise convolution, as in
some detectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd
from yolo_attn.layers.self_attention._channels import channel_contexts, channel_values, channel_weights
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["MDTA"]


@register_layer(
    family="self_attention",
    summary="mixes channels by their similarity over the whole map, after a depthwise convolution; linear in the map",
    paper="Restormer: Efficient Transformer for High-Resolution Image Restoration, CVPR 2022",
    year=2021,
    url="https://arxiv.org/abs/2111.09881",
    repository="https://github.com/swz30/Restormer",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class MDTA(Mixer):
    """Multi-Dconv head transposed attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        kernel_size: Kernel size of the depthwise convolution, odd.
        dilation: Dilation of the depthwise convolution.
        bias: Whether the convolutions have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        kernel_size: int = 3,
        dilation: int = 1,
        bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, dilation=dilation)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, bias=bias)
        width, padding = 3 * channels, dilation * (kernel_size // 2)
        self.temperature = nn.Parameter(torch.ones(fitting_groups(channels, heads)))
        self.qkv = nn.Conv2d(channels, width, 1, bias=bias)
        self.dwconv = nn.Conv2d(width, width, kernel_size, padding=padding, dilation=dilation, groups=width, bias=bias)
        self.proj = nn.Conv2d(channels, channels, 1, bias=bias)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts."""
        query, key, value = self.dwconv(self.qkv(x)).chunk(3, 1)
        y: Tensor = self.proj(channel_contexts(channel_weights(query, key, self.temperature), value))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the mean weight that each channel receives."""
        return [channel_values(self.weights(inputs[0]))]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights among the channels of each head, (B, heads, d, d)."""
        query, key, _ = self.dwconv(self.qkv(x)).chunk(3, 1)
        return channel_weights(query, key, self.temperature)
