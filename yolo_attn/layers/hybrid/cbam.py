"""CBAM: a channel gate followed by a spatial gate.

    y = spatial(channel(x))                     see CBAMChannel and CBAMSpatial for the two gates

Paper: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv 1807.06521.
Code: https://github.com/Jongchan/attention-module
Shapes: x (B, C, H, W), y the same.
Deviations: those of its gates. `ultralytics.nn.modules.CBAM` is a different layer: its channel gate is a single C x C
linear layer on the mean.
"""

from __future__ import annotations

from yolo_attn.layers.base import Chain
from yolo_attn.layers.channel.cbam_channel import CBAMChannel
from yolo_attn.layers.spatial.cbam_spatial import CBAMSpatial
from yolo_attn.registry import register_layer

__all__ = ["CBAM"]


@register_layer(
    family="hybrid",
    summary="reweights channels, then positions, by their mean and maximum",
    paper="CBAM: Convolutional Block Attention Module, ECCV 2018",
    year=2018,
    url="https://arxiv.org/abs/1807.06521",
    repository="https://github.com/Jongchan/attention-module",
    cost="O((C + k^2) HW)",
    identity="residual gamma in each gate",
)
class CBAM(Chain):
    """Convolutional block attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit of the channel gate.
        kernel_size: k of the spatial gate, odd.
        norm: Whether a batch norm follows the convolution of the spatial gate, as in the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, reduction: float = 16, kernel_size: int = 7, norm: bool = True, init: str = "paper"
    ) -> None:
        super().__init__(
            channel=CBAMChannel(channels, reduction=reduction, init=init),
            spatial=CBAMSpatial(channels, kernel_size=kernel_size, norm=norm, init=init),
        )
