"""RFCAConv: a convolution of k x k values that coordinate attention weights.

    f = relu(BN(D x))                   D: k x k depthwise, k^2 maps for each channel, on a grid of k H' x k W' values
    z = [mean over columns of f; mean over rows of f]               (B, C, k H' + k W', 1)
    t = hardswish(BN(W1 z))                                         W1: C to m = max(8, C / r)
    y = silu(BN(W (f * sigmoid(Wh t_rows) * sigmoid(Ww t_columns))))         W: C k^2 to C' channels at each position

Paper: Zhang et al., "RFAConv: Innovating Spatial Attention and Standard Convolutional Operation", arXiv 2304.03198.
Code: https://github.com/Liuchen1997/RFAConv
Shapes: x (B, C, H, W), y (B, C', ceil(H / stride), ceil(W / stride)). C k^2 (C' + k^2 + 2) weights, 0.6 million at C =
C' = 256. The k^2 maps of each channel take nine times the memory of x: place it where the map is small.
Deviations: the published layer ends in W with a bias (`activation="none"`), although a row in the place of `Conv` then
has no non-linearity. W1 has no bias, which the norm would subtract. The grid is not laid out: a row of it is one row of
taps of one row of the output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.convolution._receptive_field import ReceptiveFieldConvolution, receptive_field_features
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["RFCAConv"]


@register_layer(
    family="convolution",
    summary="convolves k x k values reweighted by the means of their rows and columns, as CA does; takes memory",
    paper="RFAConv: Innovating Spatial Attention and Standard Convolutional Operation, arXiv 2023",
    year=2023,
    url="https://arxiv.org/abs/2304.03198",
    repository="https://github.com/Liuchen1997/RFAConv",
    cost="O(9 C C' HW)",
)
class RFCAConv(ReceptiveFieldConvolution):
    """Receptive-field coordinate attention convolution.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output; None keeps those of the input.
        kernel_size: k, odd, at least 3.
        stride: Step between the positions of the output.
        reduction: r, channels per hidden channel.
        min_hidden: Minimum number of hidden channels.
        activation: "silu" as in YOLO's own convolutions, or "relu", after a batch norm; "none" for neither.
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
        reduction: float = 32,
        min_hidden: int = 8,
        activation: str = "silu",
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
        check_positive(self, reduction=reduction)
        check_integer(self, min_hidden=min_hidden)
        hidden = hidden_width(channels, reduction, min_hidden)
        self.features = receptive_field_features(channels, kernel_size, stride)
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = BatchNorm(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)

    def weighted(self, x: Tensor) -> Tensor:
        """Return the features times the gates of their rows and columns."""
        features: Tensor = self.features(x)
        k = self.kernel_size
        b, _, h, w = features.shape
        grid = features.reshape(b, -1, k, k, h, w)
        rows, columns = mean(grid, 3, 5).flatten(2), mean(grid, 2, 4).flatten(2)  # (B, C, k H'), (B, C, k W')
        hidden = F.hardswish(self.norm(self.reduce(torch.cat([rows, columns], 2)[..., None])))
        row_gate = torch.sigmoid(self.conv_h(hidden[:, :, : k * h])).reshape(b, -1, k, 1, h, 1)
        column_gate = torch.sigmoid(self.conv_w(hidden[:, :, k * h :])).reshape(b, -1, 1, k, 1, w)
        return (grid * row_gate.to(grid.dtype) * column_gate.to(grid.dtype)).reshape(b, -1, h, w)
