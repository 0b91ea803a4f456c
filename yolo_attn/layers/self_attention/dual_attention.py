"""DualAttention: the sum of DANet's position attention and channel attention.

    y = PAM(x) + CAM(x)                         2 x at initialization
    y = PAM(x) + CAM(x) - x                     with init="identity": x at initialization

Paper: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019, arXiv 1809.02983.
Code: https://github.com/junfu1115/DANet
Shapes: x (B, C, H, W), y the same.
Memory: see `PAM`; for P5, or P4.
Deviations: the two attentions alone, without the surrounding convolutions of the paper's segmentation head. Each of
them is the identity at initialization, so their sum is 2 x. The identity initialization subtracts x and needs no gamma:
with gamma and both residual weights at 0, queries, keys and values would get no gradient in the first two steps.
"""

from __future__ import annotations

from torch import Tensor

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.self_attention.cam import CAM
from yolo_attn.layers.self_attention.pam import PAM
from yolo_attn.registry import register_layer

__all__ = ["DualAttention"]


@register_layer(
    family="self_attention",
    summary="DANet: the sum of position attention and channel attention",
    aliases=("DANet", "DAModule"),
    paper="Dual Attention Network for Scene Segmentation, CVPR 2019",
    year=2019,
    url="https://arxiv.org/abs/1809.02983",
    repository="https://github.com/junfu1115/DANet",
    cost="O(C (HW)^2)",
    identity="published: residual weights 0, with x subtracted",
)
class DualAttention(Mixer):
    """Position and channel attention of DANet.

    Args:
        channels: Channels of the input.
        reduction: Channels per channel of queries and keys of the position attention; at least 1.
        init: "paper" (2 x at initialization) or "identity" (x is subtracted).

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, reduction: float = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check(self, reduction >= 1, "reduction", reduction, "a number of at least 1")
        self.position = PAM(channels, reduction=reduction)
        self.channel = CAM(channels)

    def mix(self, x: Tensor) -> Tensor:
        """Return the sum of the two attentions."""
        y: Tensor = self.position(x)
        if self.init == "identity":
            y = y - x  # before the sum, which would overflow float16 sooner
        channel: Tensor = self.channel(x)
        return y + channel
