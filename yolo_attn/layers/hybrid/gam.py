"""GAM: global attention, a channel MLP at every position followed by two 7 x 7 convolutions.

    Mc = sigmoid(W2 relu(W1 x))                 W1 (C/r, C), W2 (C, C/r), at each position
    Ms = sigmoid(BN(conv7(relu(BN(conv7(x * Mc))))))                        C -> C/r -> C
    y = x * Mc * Ms

Paper: Liu et al., "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions", 2021,
arXiv 2112.05561.
Code: none from the authors.
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W). 25 C^2 weights, 1.6 million at C = 256.
Deviations: none from the paper. Third-party copies omit the sigmoid of Mc, which the paper's figure shows
(`channel_sigmoid=False`; the gate is then unbounded, can change signs and can overflow in half precision). Some use
replicate padding (`padding_mode="replicate"`). For ResNet-50 the paper groups the convolutions and shuffles channels
(`groups=4`); the copies shuffle Ms by the number of groups, as here, or always by 4 (`shuffle_groups=4`).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import channel_shuffle, saturate
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.registry import register_layer

__all__ = ["GAM"]


@register_layer(
    family="hybrid",
    summary="reweights every value by a channel MLP and two 7 x 7 convolutions; heavy",
    aliases=("GAMAttention",),
    paper="Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions, 2021",
    year=2021,
    url="https://arxiv.org/abs/2112.05561",
    cost="O(C^2 k^2 HW / r)",
)
class GAM(Gate):
    """Global attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel.
        kernel_size: k of the two convolutions, odd.
        groups: Groups of the two convolutions, reduced to the greatest common divisor with their channels.
        shuffle_groups: Groups of the channel shuffle of Ms, reduced likewise; None uses `groups`, 1 disables it.
        channel_sigmoid: Whether Mc has a sigmoid, as in the paper.
        padding_mode: "zeros" or "replicate".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: float = 4,
        kernel_size: int = 7,
        groups: int = 1,
        shuffle_groups: int | None = None,
        channel_sigmoid: bool = True,
        padding_mode: str = "zeros",
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        shuffle_groups = groups if shuffle_groups is None else shuffle_groups
        check_positive(self, reduction=reduction)
        check_odd(self, kernel_size=kernel_size)
        check_integer(self, groups=groups, shuffle_groups=shuffle_groups)
        check_flag(self, channel_sigmoid=channel_sigmoid)
        check_choice(self, "padding_mode", padding_mode, ("zeros", "replicate"))
        hidden = hidden_width(channels, reduction)
        self.channel_sigmoid = channel_sigmoid
        self.shuffle_groups = fitting_groups(channels, shuffle_groups)
        self.channel = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
        conv = partial(
            nn.Conv2d,
            kernel_size=kernel_size,
            padding=kernel_size // 2,
            padding_mode="replicate" if padding_mode == "replicate" else "zeros",
            groups=fitting_groups(fitting_groups(channels, hidden), groups),
        )
        self.spatial = nn.Sequential(
            conv(channels, hidden), BatchNorm(hidden), nn.ReLU(), conv(hidden, channels), BatchNorm(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x by its gate, which has no bound without the channel sigmoid."""
        y = super().forward(x)
        return y if self.channel_sigmoid else saturate(y)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        channel: Tensor = self.channel(x)
        channel = torch.sigmoid(channel) if self.channel_sigmoid else saturate(channel)
        # Without the channel sigmoid, the product, its convolution and the norm can exceed the range of float16.
        hidden = saturate(self.spatial[0](saturate(x * channel, channel.dtype)))
        spatial = torch.sigmoid(self.spatial[3:](saturate(self.spatial[1:3](hidden))))
        return channel * channel_shuffle(spatial, self.shuffle_groups)
