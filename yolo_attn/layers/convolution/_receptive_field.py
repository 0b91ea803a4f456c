"""Convolutions whose k x k values at each position are features of their own, which attention can weight.

    f = relu(BN(D x))                   D: k x k depthwise, k^2 maps for each channel, with the stride
    y = W (f * a)                       W: C k^2 to C' channels at each position

The authors lay the k^2 maps out as a grid of k H x k W positions and convolve it with k x k at stride k. A window of
that convolution contains exactly the k^2 maps of one position, so it is a 1 x 1 convolution of them, which needs no
grid.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.base import Convolution
from yolo_attn.layers.checks import check
from yolo_attn.layers.convolution._activation import norm_and_activation
from yolo_attn.layers.norms import BatchNorm

MIN_KERNEL = 3  # a 1 x 1 kernel has a single value, and nothing to weight


class ReceptiveFieldConvolution(Convolution):
    """A convolution of weighted k x k values. Implement `weighted`.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; None keeps those of the input.
        kernel_size: k, odd, at least 3.
        stride: Step between the positions of the output.
        activation: "relu" or "silu" after a batch norm; "none" for neither, but with a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its weights belong to k x k values at each position, not to the positions of a map"

    def __init__(
        self, channels: int, *, out_channels: int | None, kernel_size: int, stride: int, activation: str, init: str
    ) -> None:
        super().__init__(channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride, init=init)
        check(self, kernel_size >= MIN_KERNEL, "kernel_size", kernel_size, "an odd integer from 3 on")
        self.taps = kernel_size**2
        self.conv = nn.Conv2d(channels * self.taps, self.out_channels, 1, bias=activation == "none")
        self.activation = norm_and_activation(self, activation)

    def weighted(self, x: Tensor) -> Tensor:
        """Return the weighted features (B, C k^2, H', W'), the k^2 of each channel next to each other, row by row."""
        raise NotImplementedError  # abstract

    def mix(self, x: Tensor) -> Tensor:
        """Return the convolution of the weighted features."""
        y: Tensor = self.activation(self.conv(self.weighted(x)))
        return y


def receptive_field_features(channels: int, kernel_size: int, stride: int) -> nn.Sequential:
    """Return the layers that compute k^2 features for each channel."""
    conv = nn.Conv2d(
        channels,
        channels * kernel_size**2,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=channels,
        bias=False,
    )
    return nn.Sequential(conv, BatchNorm(channels * kernel_size**2), nn.ReLU())
