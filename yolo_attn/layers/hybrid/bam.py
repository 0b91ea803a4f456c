"""BAM: bottleneck attention, a channel gate and a spatial gate in parallel.

    Mc = W2 relu(BN(W1 mean over H, W of x))    (B, C, 1, 1), W1 (C/r, C), W2 (C, C/r)
    Ms = conv1(D(D(relu(BN(conv1(x))))))        (B, 1, H, W), C -> C/r -> 1; D = relu(BN(conv3 with dilation d))
    y = x * (1 + sigmoid(Mc + Ms))

Paper: Park et al., "BAM: Bottleneck Attention Module", BMVC 2018, arXiv 1807.06514.
Code: https://github.com/Jongchan/attention-module
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), between 1 and 2.
Deviations: the authors' code, which does not run as published, multiplies the branches, sigmoid(Mc * Ms)
(`combine="multiply"`); the paper adds them. In the paper's formulas each branch ends with a batch norm; in the code, as
here, a batch norm precedes each ReLU. Convolutions followed by a batch norm have no bias, which the norm would cancel.
In training the pooled vector of a single image is normalized with the running statistics (see `BatchNorm`), where the
code raises an error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["BAM"]


@register_layer(
    family="hybrid",
    summary="reweights every value by a channel MLP and dilated convolutions in parallel",
    aliases=("BAMBlock",),
    paper="BAM: Bottleneck Attention Module, BMVC 2018",
    year=2018,
    url="https://arxiv.org/abs/1807.06514",
    repository="https://github.com/Jongchan/attention-module",
    cost="O(C^2 HW / r)",
)
class BAM(Gate):
    """Bottleneck attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel of both branches.
        dilation: d, dilation of the two 3 x 3 convolutions.
        combine: "add" for sigmoid(Mc + Ms) as in the paper, "multiply" for sigmoid(Mc * Ms) as in the code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, reduction: float = 16, dilation: int = 4, combine: str = "add", init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_integer(self, dilation=dilation)
        check_choice(self, "combine", combine, ("add", "multiply"))
        hidden = hidden_width(channels, reduction)
        self.combine = combine
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.spatial = nn.Sequential(
            _conv(channels, hidden, 1),
            _conv(hidden, hidden, 3, dilation),
            _conv(hidden, hidden, 3, dilation),
            nn.Conv2d(hidden, 1, 1),
        )

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        channel: Tensor = self.channel(mean(x, 2, 3))[..., None, None]
        spatial: Tensor = self.spatial(x)
        both = channel + spatial if self.combine == "add" else channel * spatial
        return 1 + torch.sigmoid(both)


def _conv(channels: int, out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, BatchNorm(out), nn.ReLU())
