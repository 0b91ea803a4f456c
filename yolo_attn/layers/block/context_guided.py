"""ContextGuided: the block of CGNet, local and surrounding features gated by the global context.

    u = act(BN(W x))                            C' / 2 channels; act: PReLU with a slope per channel
    j = act(BN([DW u; DW_d u]))                 DW: depthwise conv3, DW_d: the same with dilation d; C' channels
    g = sigmoid(W2 relu(W1 mean over H, W of j))
    y = x + j * g                               without x where the channels change

Paper: Wu et al., "CGNet: A Light-weight Context Guided Network for Semantic Segmentation", IEEE TIP 2021,
arXiv 1811.08201.
Code: https://github.com/wutianyiRosun/CGNet
Shapes: x (B, C, H, W), y (B, C', H, W); weights(features(x)) (B, C', 1, 1).
Deviations: with C' < r the authors' code has no hidden unit, so g is the same for every image; here there is at least
one. As in the code, eps of the batch norms is 1e-3. Its blocks have d = 2, r = 8 in the second and d = 4, r = 16 in the
third stage.
Few channels: as in SE, all hidden units can be inactive for every image, in two of five initializations at C' = 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Block
from yolo_attn.layers.checks import check, check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ContextGuided"]

EPS = 1e-3


@register_layer(
    family="block",
    summary="joins local and dilated depthwise convolutions, gated by their means, with a shortcut",
    aliases=("ContextGuidedBlock",),
    paper="CGNet: A Light-weight Context Guided Network for Semantic Segmentation, IEEE TIP 2021",
    year=2021,
    url="https://arxiv.org/abs/1811.08201",
    repository="https://github.com/wutianyiRosun/CGNet",
    cost="O(C^2 HW / 2)",
    renamed={"dilation_rate": "dilation"},
)
class ContextGuided(Block):
    """Context guided block.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output, an even number; None keeps those of the input.
        dilation: d of the convolution of the surroundings.
        reduction: r, channels per hidden unit of the gate.
        init: "paper", or "identity" if the number of channels does not change.

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the number of channels changes.
    """

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        dilation: int = 2,
        reduction: float = 16,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, out_channels=out_channels, init=init)
        check_integer(self, dilation=dilation)
        check_positive(self, reduction=reduction)
        out = self.out_channels
        argument = "channels" if out_channels is None else "out_channels"
        check(self, out % 2 == 0, argument, out, "an even number")
        half, hidden = out // 2, hidden_width(out, reduction)
        self.reduce = nn.Conv2d(channels, half, 1, bias=False)
        self.reduce_norm = nn.Sequential(BatchNorm(half, eps=EPS), nn.PReLU(half))
        self.local = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.surrounding = nn.Conv2d(half, half, 3, padding=dilation, dilation=dilation, groups=half, bias=False)
        self.joint_norm = nn.Sequential(BatchNorm(out, eps=EPS), nn.PReLU(out))
        self.mlp = nn.Sequential(nn.Linear(out, hidden), nn.ReLU(), nn.Linear(hidden, out))
        self.shortcut = out == channels

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate of the joint features."""
        return [AttentionValues("", GATE, self.weights(self.features(inputs[0]))[0, :, 0, 0].float())]

    def features(self, x: Tensor) -> Tensor:
        """Return j, (B, C', H, W)."""
        hidden = self.reduce_norm(self.reduce(x))
        local, surrounding = self.local(hidden), self.surrounding(hidden)
        with no_autocast(x):  # torch.cat rejects float16 under a bfloat16 autocast
            joint = torch.cat([local, surrounding], 1)
        y: Tensor = self.joint_norm(joint)
        return y

    def weights(self, features: Tensor) -> Tensor:
        """Return the gate of the joint features, (B, C', 1, 1)."""
        return torch.sigmoid(self.mlp(mean(features, 2, 3)))[:, :, None, None]

    def mix(self, x: Tensor) -> Tensor:
        """Return the gated features, plus x where the channels do not change."""
        features = self.features(x)
        y = features * self.weights(features).to(features.dtype)
        return x + y if self.shortcut else y
