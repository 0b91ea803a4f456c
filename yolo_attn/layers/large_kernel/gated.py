"""What the large-kernel layers share: x times a map of long reach, alone or between two projections.

    y = x * a(x)                                the module that the papers name
    y = x + W2 (h * a(h)), h = gelu(W1 x)       the same as it stands in the authors' networks (`project=True`)

The map a passes no sigmoid: it has any size and sign, and y grows with the square of x. What float16 cannot hold of the
product counts as its largest number, 65504.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag
from yolo_attn.layers.numerics import saturate

__all__ = ["LargeKernel", "depthwise"]


class LargeKernel(Mixer):
    """Base of the large-kernel layers. Write `attention`.

    Args:
        channels: Channels of the input.
        project: Whether the product stands between two 1 x 1 convolutions, with a GELU and a shortcut.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool, init: str) -> None:
        super().__init__(channels, init=init)
        check_flag(self, project=project)
        self.enter = nn.Conv2d(channels, channels, 1) if project else None
        self.leave = nn.Conv2d(channels, channels, 1) if project else None

    def attention(self, x: Tensor) -> Tensor:
        """Return the map (B, C, H, W) that x is multiplied by."""
        raise NotImplementedError  # abstract

    def mix(self, x: Tensor) -> Tensor:
        """Return x times its map, or x plus the projected product."""
        if self.leave is None:
            return saturate(x * self.attention(x))
        hidden = self._enter(x)
        projected: Tensor = self.leave(saturate(hidden * self.attention(hidden)))
        return x + saturate(projected)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the map of factors."""
        return [AttentionValues("", GATE, self.weights(inputs[0])[0].float())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the map (B, C, H, W) that x is multiplied by, or with `project` what enters the product."""
        return self.attention(self._enter(x))

    def _enter(self, x: Tensor) -> Tensor:
        return x if self.enter is None else F.gelu(self.enter(x))


def depthwise(channels: int, height: int, width: int, dilation: int = 1) -> nn.Conv2d:
    """Return a convolution with one kernel per channel that keeps the size of the map.

    Args:
        channels: Channels in and out.
        height: Height of the kernel, odd.
        width: Width of the kernel, odd.
        dilation: Step between its taps.
    """
    padding = (height // 2 * dilation, width // 2 * dilation)
    return nn.Conv2d(channels, channels, (height, width), padding=padding, dilation=dilation, groups=channels)
