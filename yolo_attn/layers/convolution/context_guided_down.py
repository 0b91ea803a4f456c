"""ContextGuidedDown: the block of CGNet that reduces a map, local and surrounding features gated by the global context.

    u = act(BN(conv x))                         k x k with the stride; act: PReLU with a slope per channel
    j = W act(BN([DW u; DW_d u]))               DW: depthwise conv3, DW_d: the same with dilation d; W: 2 C' to C'
    y = j * sigmoid(W2 relu(W1 mean over H, W of j))

Paper: Wu et al., "CGNet: A Light-weight Context Guided Network for Semantic Segmentation", IEEE TIP 2021,
arXiv 1811.08201.
Code: https://github.com/wutianyiRosun/CGNet
Shapes: x (B, C, H, W), y (B, C', ceil(H / stride), ceil(W / stride)). 9 C C' weights in the first convolution.
Deviations: kernel size and stride are options, 3 and 2 in the paper. With C' < r the authors' code has no hidden unit,
so the gate is the same for every image; here there is at least one. As in the code, eps of the batch norms is 1e-3.
Third-party copies that pass the width as the dilation have a branch without surroundings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Convolution
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ContextGuidedDown"]

EPS = 1e-3


@register_layer(
    family="convolution",
    summary="convolves, then joins local and dilated depthwise convolutions, gated by their means",
    aliases=("ContextGuidedBlock_Down",),
    paper="CGNet: A Light-weight Context Guided Network for Semantic Segmentation, IEEE TIP 2021",
    year=2021,
    url="https://arxiv.org/abs/1811.08201",
    repository="https://github.com/wutianyiRosun/CGNet",
    cost="O(9 C C' HW)",
    renamed={"dilation_rate": "dilation"},
)
class ContextGuidedDown(Convolution):
    """Context guided convolution.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output; None keeps those of the input.
        kernel_size: k of the first convolution, odd.
        stride: Step between the positions of the output; 2 in the paper.
        dilation: d of the convolution of the surroundings.
        reduction: r, channels per hidden unit of the gate.
        init: "paper", or "identity" if neither channels nor size change.

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its gate is applied to the features of its own convolution, not to its input"

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 2,
        reduction: float = 16,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride, init=init)
        check_integer(self, dilation=dilation)
        check_positive(self, reduction=reduction)
        out, hidden = self.out_channels, hidden_width(self.out_channels, reduction)
        self.conv = nn.Conv2d(channels, out, kernel_size, stride, kernel_size // 2, bias=False)
        self.conv_norm = nn.Sequential(BatchNorm(out, eps=EPS), nn.PReLU(out))
        self.local = nn.Conv2d(out, out, 3, padding=1, groups=out, bias=False)
        self.surrounding = nn.Conv2d(out, out, 3, padding=dilation, dilation=dilation, groups=out, bias=False)
        self.joint_norm = nn.Sequential(BatchNorm(2 * out, eps=EPS), nn.PReLU(2 * out))
        self.reduce = nn.Conv2d(2 * out, out, 1, bias=False)
        self.mlp = nn.Sequential(nn.Linear(out, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def mix(self, x: Tensor) -> Tensor:
        """Return the gated features."""
        hidden = self.conv_norm(self.conv(x))
        local, surrounding = self.local(hidden), self.surrounding(hidden)
        with no_autocast(x):  # torch.cat rejects float16 under a bfloat16 autocast
            joint = torch.cat([local, surrounding], 1)
        features: Tensor = self.reduce(self.joint_norm(joint))
        return features * torch.sigmoid(self.mlp(mean(features, 2, 3)))[:, :, None, None].to(features.dtype)
