"""Multi-scale context of MSCAM, which AFF and iAFF also use; see `ms_cam` for the formula."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean

__all__ = ["MultiScaleContext"]


class MultiScaleContext(nn.Module):
    """Local and global context L(x) + G(x), the logits of the gate.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden channel.

    Shape:
        x: (B, C, H, W), the output the same.
    """

    def __init__(self, channels: int, reduction: float) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.local_context = _bottleneck(channels, hidden)
        self.global_context = _bottleneck(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the context of x."""
        with no_autocast(x):  # a batch norm over a few pooled vectors amplifies rounding errors
            dtype = cast(nn.Conv2d, self.global_context[0]).weight.dtype
            overall = self.global_context(mean(x, 2, 3, keepdim=True, dtype=dtype))
        context: Tensor = self.local_context(x) + overall
        return context


def _bottleneck(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        BatchNorm(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 1, bias=False),
        BatchNorm(channels),
    )
