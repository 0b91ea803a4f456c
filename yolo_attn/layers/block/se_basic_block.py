"""SEBasicBlock: the basic block of ResNet with squeeze and excitation on its residual branch.

    f(x) = SE(BN conv3(relu(BN conv3 x)))       see SE
    y = relu(f(x) + s(x))                       s: the identity, or BN conv1 where the channels change

Paper: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507.
Code: https://github.com/moskomule/senet.pytorch, which third-party copies follow.
Shapes: x (B, C, H, W), y (B, out_channels, H, W).
Deviations: no stride; use a Conv row for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Block
from yolo_attn.layers.channel.se import SE
from yolo_attn.layers.checks import check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.registry import register_layer

__all__ = ["SEBasicBlock"]


@register_layer(
    family="block",
    summary="two 3 x 3 convolutions reweighted by SE, with a shortcut",
    paper="Squeeze-and-Excitation Networks, CVPR 2018",
    year=2018,
    url="https://arxiv.org/abs/1709.01507",
    repository="https://github.com/moskomule/senet.pytorch",
    cost="O(18 C^2 HW)",
    renamed={"out": "out_channels"},
)
class SEBasicBlock(Block):
    """Basic residual block with squeeze and excitation.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; None keeps those of the input.
        reduction: r of SE, channels per hidden unit; None omits SE, which gives the plain ResNet block.
        init: "paper", or "identity" if the number of channels does not change.

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the number of channels changes.
    """

    def __init__(
        self, channels: int, *, out_channels: int | None = None, reduction: float | None = 16, init: str = "paper"
    ) -> None:
        super().__init__(channels, out_channels=out_channels, init=init)
        if reduction is not None:
            check_positive(self, reduction=reduction)
        out = self.out_channels
        self.conv1 = _conv(channels, out, 3)
        self.norm1 = BatchNorm(out)
        self.conv2 = _conv(out, out, 3)
        self.norm2 = BatchNorm(out)
        self.se = nn.Identity() if reduction is None else SE(out, reduction=reduction)
        self.shortcut = nn.Identity() if out == channels else nn.Sequential(_conv(channels, out, 1), BatchNorm(out))

    def mix(self, x: Tensor) -> Tensor:
        """Return the rectified sum of residual branch and shortcut."""
        hidden = torch.relu(self.norm1(self.conv1(x)))
        branch = self.se(self.norm2(self.conv2(hidden)))
        return torch.relu(branch + self.shortcut(x))


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
