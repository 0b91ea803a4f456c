"""CAFMFusion: CGAFusion with CAFM in place of its channel and spatial attention.

    i = x0 + x1
    w = sigmoid(conv7 of [i_c; CAFM(i)_c])      for each channel c, reflection padding
    y = W (i + w * x0 + (1 - w) * x1)

Paper: none describes the combination, which several YOLO forks contain. CAFM: Hu et al., IEEE GRSL 2024,
arXiv 2403.10067; CGAFusion: Chen et al., IEEE TIP 2024, arXiv 2301.04805.
Code: none by the authors of the two papers.
Shapes: x0, x1 (B, C, H, W), y the same; weights([x0, x1]) (B, C, H, W), those of x0.
Deviations: those of CAFM and CGAFusion; the forks apply the sigmoid of w twice (`double_sigmoid=True`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.fusion._pixel_fusion import PixelFusion
from yolo_attn.layers.self_attention.cafm import CAFM
from yolo_attn.registry import register_layer

__all__ = ["CAFMFusion"]


@register_layer(
    family="fusion",
    summary="adds two maps and their mean weighted for each value by CAFM of the sum; unpublished",
    inputs=2,
    paper="Hybrid Convolutional and Attention Network for Hyperspectral Image Denoising, IEEE GRSL 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.10067",
    cost="O(C^2 HW)",
)
class CAFMFusion(PixelFusion):
    """Fusion by weights from CAFM.

    Args:
        channels: Channels of the two inputs, equal.
        heads: Number of heads of CAFM, reduced to the greatest common divisor with the channels.
        double_sigmoid: Whether the sigmoid of the weights is applied twice, as in the forks.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(
        self, channels: Sequence[int], *, heads: int = 8, double_sigmoid: bool = False, init: str = "paper"
    ) -> None:
        super().__init__(channels, double_sigmoid=double_sigmoid, init=init)
        check_integer(self, heads=heads)
        self.cafm = CAFM(channels[0], heads=heads)

    def pattern(self, total: Tensor) -> Tensor:
        """Return CAFM of the sum, (B, C, H, W)."""
        return cast(Tensor, self.cafm(total))
