"""RFAConv: receptive-field attention, a convolution that weights the k x k values at each position.

    a = softmax over the k^2 maps of each channel of G m        m: mean over the k x k positions; G: C to C k^2, grouped
    f = relu(BN(D x))                                           D: k x k depthwise, k^2 maps for each channel
    y = relu(BN(W (a * f)))                                     W: C k^2 to C' channels at each position

With `features="unfold"`, f are the k^2 neighbors themselves, and a = softmax of BN(G f) with G between the k^2 values
of each channel.

Paper: Zhang et al., "RFAConv: Innovating Spatial Attention and Standard Convolutional Operation", arXiv 2304.03198.
Code: https://github.com/Liuchen1997/RFAConv
Shapes: x (B, C, H, W), y (B, C', ceil(H / stride), ceil(W / stride)). C k^2 (C' + k^2 + 3) weights, 0.6 million at C =
C' = 256. The k^2 maps of each channel take nine times the memory of x: place it where the map is small.
Deviations: the convolutions before batch norms have no bias, which the norm would subtract. The authors lay the k^2
maps out as a larger map, whose convolution is W; see `_receptive_field`. Their code defines the class twice: first with
D, which they recommend, then unfolded, at stride 1 only. Third-party copies have the activation SiLU
(`activation="silu"`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.convolution._receptive_field import ReceptiveFieldConvolution, receptive_field_features
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.registry import register_layer

__all__ = ["RFAConv"]


@register_layer(
    family="convolution",
    summary="convolves k x k values that are weighted by a softmax at each position and channel; takes memory",
    paper="RFAConv: Innovating Spatial Attention and Standard Convolutional Operation, arXiv 2023",
    year=2023,
    url="https://arxiv.org/abs/2304.03198",
    repository="https://github.com/Liuchen1997/RFAConv",
    cost="O(9 C C' HW)",
)
class RFAConv(ReceptiveFieldConvolution):
    """Receptive-field attention convolution.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output; None keeps those of the input.
        kernel_size: k, odd, at least 3.
        stride: Step between the positions of the output.
        features: "conv" for learned features of the k x k positions, "unfold" for the values themselves.
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
        features: str = "conv",
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
        check_choice(self, "features", features, ("conv", "unfold"))
        self.unfold = features == "unfold"
        width = channels * self.taps
        if self.unfold:
            logits = nn.Conv2d(width, width, 1, groups=channels, bias=False)
            self.logits: nn.Module = nn.Sequential(logits, BatchNorm(width))
        else:
            self.logits = nn.Conv2d(channels, width, 1, groups=channels, bias=False)
            self.features = receptive_field_features(channels, kernel_size, stride)

    def weighted(self, x: Tensor) -> Tensor:
        """Return the features times their weights."""
        padding = self.kernel_size // 2
        if self.unfold:
            height, width = ((size - 1) // self.stride + 1 for size in x.shape[2:])
            neighbors = F.unfold(x, self.kernel_size, padding=padding, stride=self.stride)
            values = neighbors.reshape(x.shape[0], -1, height, width)
            return self._weights(values) * values
        features: Tensor = self.features(x)
        return self._weights(F.avg_pool2d(x, self.kernel_size, self.stride, padding)) * features

    def _weights(self, x: Tensor) -> Tensor:
        """Return the weights (B, C k^2, H', W'), which sum to one over the k^2 of each channel."""
        logits: Tensor = self.logits(x)
        b, _, h, w = logits.shape
        return logits.reshape(b, -1, self.taps, h, w).softmax(2).to(x.dtype).flatten(1, 2)
