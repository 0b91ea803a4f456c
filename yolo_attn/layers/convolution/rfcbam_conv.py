"""RFCBAMConv: a convolution of k x k values that channel and spatial attention weight.

    f = relu(BN(D x))                           D: k x k depthwise, k^2 maps for each channel
    c = sigmoid(W2 relu(W1 mean over H, W of x))                    W1: C to 16
    m = sigmoid(conv3([max over C of f; mean over C of f]))         on the grid of k H' x k W' values
    y = relu(BN(W (f * c * m)))                 W: C k^2 to C' channels at each position

Paper: Zhang et al., "RFAConv: Innovating Spatial Attention and Standard Convolutional Operation", arXiv 2304.03198.
Code: https://github.com/Liuchen1997/RFAConv
Shapes: x (B, C, H, W), y (B, C', ceil(H / stride), ceil(W / stride)). C k^2 (C' + k^2 + 2) weights, 0.6 million at C =
C' = 256. The k^2 maps of each channel take nine times the memory of x: place it where the map is small.
Deviations: the last convolution has no bias, which the norm would subtract. Only the map m is laid out as a grid; see
`_receptive_field`. The authors' code misspells ReLU and cannot be constructed; it is read as ReLU. Third-party
copies have the activation SiLU (`activation="silu"`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.convolution._receptive_field import ReceptiveFieldConvolution, receptive_field_features
from yolo_attn.layers.statistics import mean, mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["RFCBAMConv"]


@register_layer(
    family="convolution",
    summary="convolves k x k values reweighted per channel and per value, as CBAM does with positions; takes memory",
    paper="RFAConv: Innovating Spatial Attention and Standard Convolutional Operation, arXiv 2023",
    year=2023,
    url="https://arxiv.org/abs/2304.03198",
    repository="https://github.com/Liuchen1997/RFAConv",
    cost="O(9 C C' HW)",
)
class RFCBAMConv(ReceptiveFieldConvolution):
    """Receptive-field CBAM convolution.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output; None keeps those of the input.
        kernel_size: k, odd, at least 3.
        stride: Step between the positions of the output.
        hidden: Hidden channels of the channel attention.
        activation: "relu", or "silu" as in YOLO's own convolutions, after a batch norm; "none" for neither.
        init: "paper", or "identity" if neither channels nor size change.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        hidden: int = 16,
        activation: str = "relu",
        init: str = "paper",
    ) -> None:
        super().__init__(
            channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            activation=activation,
            init=init,
        )
        check_integer(self, hidden=hidden)
        self.features = receptive_field_features(channels, kernel_size, stride)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def weighted(self, x: Tensor) -> Tensor:
        """Return the features times both gates."""
        features: Tensor = self.features(x)
        b, _, h, w = features.shape
        features = features.reshape(b, -1, self.taps, h, w)
        average, most = mean_and_max(features, 1)
        grid = F.pixel_shuffle(torch.cat([most, average], 1).flatten(1, 2), self.kernel_size)
        spatial = F.pixel_unshuffle(torch.sigmoid(self.spatial(grid)), self.kernel_size)[:, None]
        channel = self.fc(mean(x, 2, 3))[..., None, None, None]
        weighted: Tensor = features * channel.to(features.dtype) * spatial.to(features.dtype)
        return weighted.flatten(1, 2)
