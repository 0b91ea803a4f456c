"""CGAFusion: mixup fusion by content-guided attention, two maps with weights for each value.

    i = x0 + x1
    c = W2 relu(W1 mean over H, W of i)         (B, C, 1, 1)
    p = conv7 of [mean over C of i; max over C of i]        (B, 1, H, W)
    w = sigmoid(conv7 of [i_c; c_c + p])        for each channel c
    y = W (i + w * x0 + (1 - w) * x1)

Convolutions of 7 x 7 positions pad maps by reflection.

Paper: Chen et al., "DEA-Net: Single image dehazing based on detail-enhanced convolution and content-guided attention",
IEEE TIP 2024, arXiv 2301.04805.
Code: https://github.com/cecret3350/DEA-Net
Shapes: x0, x1 (B, C, H, W), y the same; weights([x0, x1]) (B, C, H, W), those of x0.
Deviations: the authors' code applies the sigmoid of w twice, so w is between 0.5 and 0.73, and x0 always outweighs x1;
here it is applied once, as in the paper (`double_sigmoid=True` is the code). With C < r there is one hidden unit. Maps
smaller than the padding are reflected more than once, where the code raises an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.fusion._pixel_fusion import KERNEL_SIZE, PixelFusion, reflected
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean, mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["CGAFusion"]


@register_layer(
    family="fusion",
    summary="adds two maps and their mean weighted for each value by channel and spatial attention to the sum",
    inputs=2,
    paper="DEA-Net: Single image dehazing based on detail-enhanced convolution and content-guided attention, TIP 2024",
    year=2024,
    url="https://arxiv.org/abs/2301.04805",
    repository="https://github.com/cecret3350/DEA-Net",
    cost="O((C^2 + 98 C) HW)",
)
class CGAFusion(PixelFusion):
    """Content-guided attention fusion.

    Args:
        channels: Channels of the two inputs, equal.
        reduction: r, channels per hidden unit of the channel attention.
        double_sigmoid: Whether the sigmoid of the weights is applied twice, as in the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(
        self, channels: Sequence[int], *, reduction: float = 8, double_sigmoid: bool = False, init: str = "paper"
    ) -> None:
        super().__init__(channels, double_sigmoid=double_sigmoid, init=init)
        check_positive(self, reduction=reduction)
        width, hidden = channels[0], hidden_width(channels[0], reduction)
        self.channel = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1))
        self.spatial = nn.Conv2d(2, 1, KERNEL_SIZE)

    def pattern(self, total: Tensor) -> Tensor:
        """Return the sum of the channel and the spatial attention, (B, C, H, W)."""
        with no_autocast(total):  # torch.cat rejects float16 under a bfloat16 autocast
            pooled = torch.cat(mean_and_max(total, 1), 1)
        pattern: Tensor = self.channel(mean(total, 2, 3, keepdim=True)) + self.spatial(reflected(pooled))
        return pattern
