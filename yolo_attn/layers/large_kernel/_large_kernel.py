"""Base class and depthwise convolution of the large-kernel layers.

    y = x * a(x)                                the module named in the papers
    y = x + W2 (h * a(h)), h = gelu(W1 x)       the module as used in the authors' networks (`project=True`)

No sigmoid is applied to the map a: it has any size and sign, and y grows with the square of x. In float16 the product
saturates at 65504.
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
    """Base class of the large-kernel layers. Subclasses implement `attention`.

    Args:
        channels: Channels of the input.
        project: Whether the product is placed between two 1 x 1 convolutions, with a GELU and a shortcut.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool, init: str) -> None:
        super().__init__(channels, init=init)
        check_flag(self, project=project)
        self.proj_in = nn.Conv2d(channels, channels, 1) if project else None
        self.proj_out = nn.Conv2d(channels, channels, 1) if project else None

    def attention(self, x: Tensor) -> Tensor:
        """Return the map (B, C, H, W) that x is multiplied by."""
        raise NotImplementedError  # abstract

    def mix(self, x: Tensor) -> Tensor:
        """Return the product of x and its map, or x plus the projected product."""
        if self.proj_out is None:
            return saturate(x * self.attention(x))
        hidden = self._project_in(x)
        projected: Tensor = self.proj_out(saturate(hidden * self.attention(hidden)))
        return saturate(x + saturate(projected))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the map of factors."""
        return [AttentionValues("", GATE, self.weights(inputs[0])[0].float())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the map that x, or with `project` its projection, is multiplied by, (B, C, H, W)."""
        return self.attention(self._project_in(x))

    def _project_in(self, x: Tensor) -> Tensor:
        return x if self.proj_in is None else F.gelu(self.proj_in(x))


def depthwise(channels: int, height: int, width: int, dilation: int = 1) -> nn.Conv2d:
    """Return a depthwise convolution that keeps the size of the map.

    Args:
        channels: Channels of the input.
        height: Height of the kernel, odd.
        width: Width of the kernel, odd.
        dilation: Step between the taps of the kernel.
    """
    padding = (height // 2 * dilation, width // 2 * dilation)
    return nn.Conv2d(channels, channels, (height, width), padding=padding, dilation=dilation, groups=channels)
