"""gnConv: recursive gated convolution, products of depthwise features of growing width, of HorNet.

    [p; a_0; ...; a_(n-1)] = W x                a_i: C / 2^(n-1-i) channels; p: as many as a_0
    b_i = s DW7 a_i                             DW7: depthwise 7 x 7 convolution
    r_0 = p * b_0, r_i = (W_i r_(i-1)) * b_i    i = 1 ... n - 1
    y = Wo r_(n-1)

Paper: Rao et al., "HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions", NeurIPS 2022,
arXiv 2207.14284.
Code: https://github.com/raoyongming/HorNet
Shapes: x (B, C, H, W), y the same.
Deviations: the order is lowered until 2^(n-1) divides C, where the code raises an error. Products are limited to the
range of float16. The published models have s = 1/3 and orders from 2 to 5, growing with the stages; the class alone has
s = 1 and order 5. Their other kind of convolution, by Fourier transforms of one size, is not an option here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd, check_positive
from yolo_attn.layers.numerics import saturate
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["gnConv"]


@register_layer(
    family="large_kernel",
    summary="multiplies depthwise features of growing width with each other, order by order",
    aliases=("gnconv",),
    paper="HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2207.14284",
    repository="https://github.com/raoyongming/HorNet",
    cost="O(C^2 HW)",
    renamed={"s": "scale"},
)
class gnConv(Mixer):
    """Recursive gated convolution.

    Args:
        channels: Channels of the input.
        order: n, lowered until 2^(n-1) divides the channels.
        scale: s, factor of the depthwise features.
        kernel_size: Kernel size of the depthwise convolution, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, order: int = 3, scale: float = 1 / 3, kernel_size: int = 7, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, order=order)
        check_positive(self, scale=scale)
        check_odd(self, kernel_size=kernel_size)
        order = fitting_groups(channels, 2 ** (order - 1)).bit_length()
        self.scale = scale
        self.widths = [channels // 2**n for n in reversed(range(order))]
        total = sum(self.widths)
        self.expand = nn.Conv2d(channels, self.widths[0] + total, 1)
        self.dwconv = nn.Conv2d(total, total, kernel_size, padding=kernel_size // 2, groups=total)
        pairs = zip(self.widths, self.widths[1:], strict=False)
        self.orders = nn.ModuleList(nn.Conv2d(narrow, wide, 1) for narrow, wide in pairs)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected product of the highest order."""
        first, others = torch.split(self.expand(x), [self.widths[0], sum(self.widths)], 1)
        factors = torch.split(self.dwconv(others) * self.scale, self.widths, 1)
        product = saturate(first * factors[0])
        for conv, factor in zip(self.orders, factors[1:], strict=True):
            product = saturate(saturate(conv(product)) * factor)
        return saturate(self.proj(product))
