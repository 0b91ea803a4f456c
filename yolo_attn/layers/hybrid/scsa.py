"""SCSA: row and column gates followed by a channel gate from self-attention among channels.

    h, w = means over W, over H of x            each split into four channel groups
    g_h = sigmoid(GN(dw_j h_j)), g_w likewise   dw_j: kernels 3, 5, 7, 9 along the axis, the same for both; GN: 4 groups
    z = GN(avgpool7(x * g_h * g_w))             GN: 1 group; N windows of 7 x 7
    A = softmax(q k^T / sqrt(d))                q, k, v: z scaled per channel; heads of d channels; A (d, d) per head
    y = x * g_h * g_w * sigmoid(mean over N of A v)

Paper: Si et al., "SCSA: Exploring the Synergistic Effects Between Spatial and Channel Attention", Neurocomputing 2025,
arXiv 2407.05128.
Code: https://github.com/HZAI-ZJNU/SCSA
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W). C must be a multiple of 4.
Deviations: the authors' code has no default for the number of heads; here it is 8, reduced to the greatest common
divisor with the channels. A map smaller than a window is replicate-padded to its size, where the code raises an error.
The mean over N is computed on v, before A, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd_list
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import at_least_one, no_autocast, widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["SCSA"]

PARTS = 4


@register_layer(
    family="hybrid",
    summary="reweights rows and columns by 1D convolutions of four lengths, then channels by attention among channels",
    paper="SCSA: Exploring the Synergistic Effects Between Spatial and Channel Attention, Neurocomputing 2025",
    year=2024,
    url="https://arxiv.org/abs/2407.05128",
    repository="https://github.com/HZAI-ZJNU/SCSA",
    cost="O(C HW + C^2 HW / 49)",
    renamed={"head_num": "heads", "window_size": "window", "group_kernel_sizes": "kernel_sizes"},
)
class SCSA(Gate):
    """Spatial and channel synergistic attention.

    Args:
        channels: Channels of the input, a multiple of 4.
        heads: Heads of the channel attention, reduced to the greatest common divisor with the channels.
        window: Height and width of the windows averaged before the channel attention; None averages the whole map.
        kernel_sizes: Kernel sizes of the four 1D convolutions, odd.
        qkv_bias: Whether q, k and v have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range, or the channels are not a multiple of 4.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        window: int | None = 7,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        qkv_bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check(self, channels % PARTS == 0, "channels", channels, f"a multiple of {PARTS}")
        check_integer(self, heads=heads)
        if window is not None:
            check_integer(self, window=window)
        check_odd_list(self, [3, 5, 7, 9], kernel_sizes=kernel_sizes)
        four = len(kernel_sizes) == PARTS
        check(self, four, "kernel_sizes", kernel_sizes, "a list of four, such as [3, 5, 7, 9]")
        check_flag(self, qkv_bias=qkv_bias)
        part = channels // PARTS
        self.heads = fitting_groups(channels, heads)
        self.window = window
        self.convs = nn.ModuleList(nn.Conv1d(part, part, k, padding=k // 2, groups=part) for k in kernel_sizes)
        self.row_norm = GroupNorm(PARTS, channels)
        self.column_norm = GroupNorm(PARTS, channels)
        self.norm = GroupNorm(1, channels)
        self.query = nn.Conv2d(channels, channels, 1, groups=channels, bias=qkv_bias)
        self.key = nn.Conv2d(channels, channels, 1, groups=channels, bias=qkv_bias)
        self.value = nn.Conv2d(channels, channels, 1, groups=channels, bias=qkv_bias)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        rows = torch.sigmoid(self.row_norm(self._along(x.mean(3))))[:, :, :, None]
        columns = torch.sigmoid(self.column_norm(self._along(x.mean(2))))[:, :, None]
        spatial = rows * columns
        return spatial * self._channel_gate(x * spatial)

    def _along(self, means: Tensor) -> Tensor:
        """Convolve each quarter of the channels of (B, C, length) with its own kernel."""
        quarters = means.chunk(PARTS, 1)
        return torch.cat([conv(quarter) for conv, quarter in zip(self.convs, quarters, strict=True)], 1)

    def _channel_gate(self, x: Tensor) -> Tensor:
        """Return the channel gate (B, C, 1, 1)."""
        z = self.norm(self._windows(x))
        per_head = (x.shape[0], self.heads, self.channels // self.heads, -1)
        query, key, value = (f(z).reshape(per_head) for f in (self.query, self.key, self.value))  # (B, heads, d, N)
        with no_autocast(x):
            query, key, value = widen(query), widen(key), widen(value)
            weights = (query @ key.transpose(2, 3) * per_head[2] ** -0.5).softmax(3)
            logits = weights @ value.mean(3, keepdim=True)
        return torch.sigmoid(logits).reshape(-1, self.channels, 1, 1).to(x.dtype)

    def _windows(self, x: Tensor) -> Tensor:
        """Return the mean of each complete window; incomplete windows at the right and the bottom are discarded."""
        if self.window is None:
            return x.mean((2, 3), keepdim=True)
        down, right = (at_least_one(self.window - size + 1) - 1 for size in x.shape[2:])
        return F.avg_pool2d(F.pad(x, (0, right, 0, down), mode="replicate"), self.window)
