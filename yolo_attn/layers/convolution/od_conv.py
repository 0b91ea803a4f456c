"""ODConv: omni-dimensional dynamic convolution, whose kernel is computed for each image.

    h = relu(BN(W mean over H, W of x))                     W: C to max(C / r, 16)
    c, f, p = sigmoid(heads of h / T)                       gates of the C channels, the C' filters, the k x k taps
    w = softmax(head of h / T)                              weights of n kernels
    y = silu(BN(f * (K * (c x)))),   K = p * (w_1 K_1 + ... + w_n K_n)

Paper: Li, Zhou, Yao, "Omni-Dimensional Dynamic Convolution", ICLR 2022, arXiv 2209.07947.
Code: https://github.com/OSVAI/ODConv
Shapes: x (B, C, H, W), y (B, C', ceil(H / stride), ceil(W / stride)). n k^2 C C' / groups weights in the kernels, 2.4
million at C = C' = 256.
Algorithm: the images' kernels are the groups of one convolution. In traces, where the number of groups would be fixed,
they are matrices that multiply the k x k values at each position, so the batch of an exported model may vary.
Deviations: the published layer is a bare convolution, which a norm and an activation follow in a network
(`activation="none"`). The temperature T is constant, without the schedule from 30 to 1 in the first epochs. Third-party
copies have a single kernel by default, which switches the kernel attention off. The kernels are stored as one
convolution, because Ultralytics cannot convert tensors of five dimensions to channels_last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Convolution
from yolo_attn.layers.checks import check, check_integer, check_positive
from yolo_attn.layers.convolution._activation import norm_and_activation
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import is_traced
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ODConv"]


@register_layer(
    family="convolution",
    summary="convolves with a kernel that each image gates by channel, filter and tap, and mixes from several",
    aliases=("ODConv2d",),
    paper="Omni-Dimensional Dynamic Convolution, ICLR 2022",
    year=2022,
    url="https://arxiv.org/abs/2209.07947",
    repository="https://github.com/OSVAI/ODConv",
    cost="O(k^2 C C' HW)",
)
class ODConv(Convolution):
    """Omni-dimensional dynamic convolution.

    Args:
        channels: Channels of the input.
        out_channels: C', channels of the output; None keeps those of the input.
        kernel_size: k, odd.
        stride: Step between the positions of the output.
        kernels: n, number of kernels that are mixed.
        reduction: r, channels per hidden channel.
        min_hidden: Minimum number of hidden channels.
        groups: Groups of channels, which divide the channels of input and output.
        dilation: Step between the taps.
        temperature: T, above 1 for weights that are more equal.
        activation: "silu" as in YOLO's own convolutions, or "relu", after a batch norm; "none" for neither.
        init: "paper", or "identity" if neither channels nor size change.

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "it reweights the kernel of a convolution, not positions of a map"

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        kernels: int = 4,
        reduction: float = 16,
        min_hidden: int = 16,
        groups: int = 1,
        dilation: int = 1,
        temperature: float = 1.0,
        activation: str = "silu",
        init: str = "paper",
    ) -> None:
        super().__init__(channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride, init=init)
        check_integer(self, kernels=kernels, min_hidden=min_hidden, groups=groups, dilation=dilation)
        check_positive(self, reduction=reduction, temperature=temperature)
        valid = f"a divisor of {channels} and {self.out_channels}, the channels of input and output"
        check(self, channels % groups == self.out_channels % groups == 0, "groups", groups, valid)
        self.kernel_count = kernels
        self.groups = groups
        self.dilation = dilation
        self.temperature = temperature
        hidden = hidden_width(channels, reduction, min_hidden)
        depthwise = groups == channels == self.out_channels  # its filters are its channels
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = BatchNorm(hidden)
        self.channel = _head(hidden, channels)
        self.filter = None if depthwise else _head(hidden, self.out_channels)
        self.tap = _head(hidden, kernel_size**2) if kernel_size > 1 else None
        self.kernel = _head(hidden, kernels) if kernels > 1 else None
        self.kernels = nn.Conv2d(  # contains the n kernels, see `_kernel`
            channels, kernels * self.out_channels, kernel_size, groups=groups, bias=False
        )
        for weight in self.kernels.weight.chunk(kernels):
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        self.activation = norm_and_activation(self, activation)

    def mix(self, x: Tensor) -> Tensor:
        """Return the convolution of each image by its own kernel."""
        hidden = F.relu(self.norm(self.reduce(mean(x, 2, 3, keepdim=True))))
        convolve = self._by_matrices if is_traced() else self._by_groups
        y = convolve(x * self._gate(self.channel, hidden).to(x.dtype), self._kernel(hidden))
        if self.filter is not None:
            y = y * self._gate(self.filter, hidden).to(y.dtype)
        result: Tensor = self.activation(y)
        return result

    def _gate(self, head: nn.Module, hidden: Tensor) -> Tensor:
        return torch.sigmoid(head(hidden) / self.temperature)

    def _kernel(self, hidden: Tensor) -> Tensor:
        """Return the kernel of each image, (B, C', C / groups, k, k)."""
        weight = self.kernels.weight
        kernels = weight.reshape(self.kernel_count, -1, *weight.shape[1:])
        if self.kernel is None:
            mixed = kernels
        else:
            weights = (self.kernel(hidden) / self.temperature).softmax(1).flatten(1).to(kernels.dtype)
            mixed = (weights @ kernels.flatten(1)).reshape(-1, *kernels.shape[1:])
        if self.tap is None:
            return mixed.expand(hidden.shape[0], *mixed.shape[1:])
        taps = self._gate(self.tap, hidden).reshape(-1, 1, 1, self.kernel_size, self.kernel_size)
        return mixed * taps.to(mixed.dtype)

    def _by_groups(self, x: Tensor, kernel: Tensor) -> Tensor:
        b, c, h, w = x.shape
        padding = self.kernel_size // 2 * self.dilation
        y = F.conv2d(
            x.reshape(1, b * c, h, w),
            kernel.flatten(0, 1),
            None,
            self.stride,
            padding,
            self.dilation,
            b * self.groups,
        )
        return y.reshape(b, self.out_channels, *y.shape[2:])

    def _by_matrices(self, x: Tensor, kernel: Tensor) -> Tensor:
        b = x.shape[0]
        height, width = ((size - 1) // self.stride + 1 for size in x.shape[2:])
        padding = self.kernel_size // 2 * self.dilation
        values = F.unfold(x, self.kernel_size, self.dilation, padding, self.stride)
        matrices = kernel.reshape(b, self.groups, self.out_channels // self.groups, -1).to(values.dtype)
        y = matrices @ values.reshape(b, self.groups, matrices.shape[-1], -1)
        return y.reshape(b, self.out_channels, height, width)


def _head(hidden: int, width: int) -> nn.Conv2d:
    head = nn.Conv2d(hidden, width, 1)
    nn.init.kaiming_normal_(head.weight, mode="fan_out", nonlinearity="relu")
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head
