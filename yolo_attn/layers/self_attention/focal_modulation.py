"""FocalModulation: every position is scaled by context from windows that grow level by level, of FocalNet.

    [q, c_0, g] = W x                           C, C and L + 1 channels, at each position
    c_l = gelu(DW_l c_(l-1))                    l = 1 ... L, depthwise convolution of size window + factor (l - 1)
    m = sum over l of g_l c_l + g_(L+1) gelu(mean over H, W of c_L)
    y = Wo (q * V m)

Paper: Yang et al., "Focal Modulation Networks", NeurIPS 2022, arXiv 2203.11926.
Code: https://github.com/microsoft/FocalNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, L + 1, H, W).
Deviations: no gates are kept on the module, where they break copies of it and get into checkpoints. Weights start as
PyTorch's do, not at 0.02: without the shortcut of FocalNet's block the output would start at almost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import saturate, total
from yolo_attn.registry import register_layer

__all__ = ["FocalModulation"]


@register_layer(
    family="self_attention",
    summary="scales every position by gated context from windows that grow",
    aliases=("FocalNet",),
    paper="Focal Modulation Networks, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2203.11926",
    repository="https://github.com/microsoft/FocalNet",
    cost="O(C^2 HW)",
)
class FocalModulation(Mixer):
    """Focal modulation.

    Args:
        channels: Channels of the input.
        focal_window: Kernel size of the first level, odd.
        focal_level: L, the number of levels.
        focal_factor: By how much the kernel grows from level to level, even.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        focal_window: int = 3,
        focal_level: int = 2,
        focal_factor: int = 2,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, focal_window=focal_window)
        check_integer(self, focal_level=focal_level)
        even = is_positive_integer(focal_factor) and focal_factor % 2 == 0
        check(self, even, "focal_factor", focal_factor, "an even number, such as 2")
        self.focal_level = focal_level
        self.expand = nn.Conv2d(channels, 2 * channels + focal_level + 1, 1)
        self.levels = nn.ModuleList(_level(channels, focal_window + focal_factor * n) for n in range(focal_level))
        self.modulator = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the queries, scaled by their contexts."""
        query, context, gates = self._expand(x)
        gated = []
        for n, level in enumerate(self.levels):
            context = level(context)
            gated.append(saturate(context * gates[:, n : n + 1]))
        gated.append(saturate(F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, self.focal_level :]))
        modulator = saturate(self.modulator(saturate(total(gated))))
        y: Tensor = self.out(saturate(query * modulator))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gates of each level."""
        return split_choices("level", self.weights(inputs[0]))

    def weights(self, x: Tensor) -> Tensor:
        """Return the gate of each level and of the whole map, (B, L + 1, H, W)."""
        return self._expand(x)[2]

    def _expand(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, context, gates = self.expand(x).split((self.channels, self.channels, self.focal_level + 1), 1)
        return query, context, gates


def _level(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return nn.Sequential(conv, nn.GELU())
