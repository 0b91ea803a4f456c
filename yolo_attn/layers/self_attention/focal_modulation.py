"""FocalModulation: each position is modulated by gated context from increasingly large windows, of FocalNet.

    [q, c_0, g] = W x                           C, C and L + 1 channels, at each position
    c_l = gelu(DW_l c_(l-1))                    l = 1 ... L, depthwise convolution of size kernel_size + step (l - 1)
    m = sum over l of g_l c_l + g_(L+1) gelu(mean over H, W of c_L)
    y = Wo (q * V m)

Paper: Yang et al., "Focal Modulation Networks", NeurIPS 2022, arXiv 2203.11926.
Code: https://github.com/microsoft/FocalNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, L + 1, H, W).
Deviations: gates are not stored on the module, which would break copies of it and add them to checkpoints. Weights have
PyTorch's initialization, not a standard deviation of 0.02: without the shortcut of FocalNet's block, the initial output
would be almost zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import saturate, total
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["FocalModulation"]


@register_layer(
    family="self_attention",
    summary="modulates each position by gated context from increasingly large windows",
    aliases=("FocalNet",),
    paper="Focal Modulation Networks, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2203.11926",
    repository="https://github.com/microsoft/FocalNet",
    cost="O(C^2 HW)",
    renamed={"focal_window": "kernel_size", "focal_level": "levels", "focal_factor": "kernel_step"},
)
class FocalModulation(Mixer):
    """Focal modulation.

    Args:
        channels: Channels of the input.
        kernel_size: Kernel size of the first level, odd.
        levels: L, number of levels.
        kernel_step: Increase of the kernel size per level, even.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        levels: int = 2,
        kernel_step: int = 2,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_integer(self, levels=levels)
        even = is_positive_integer(kernel_step) and kernel_step % 2 == 0
        check(self, even, "kernel_step", kernel_step, "an even number, such as 2")
        self.expand = nn.Conv2d(channels, 2 * channels + levels + 1, 1)
        self.levels = nn.ModuleList(_level(channels, kernel_size + kernel_step * n) for n in range(levels))
        self.modulator = nn.Conv2d(channels, channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the queries, modulated by their contexts."""
        query, context, gates = self._expand(x)
        modulator = saturate(self.modulator(saturate(total(self._gated(context, gates)))))
        return saturate(self.proj(saturate(query * modulator)))

    def _gated(self, context: Tensor, gates: Tensor) -> Iterator[Tensor]:
        """Yield the gated context of each level and of the map."""
        for n, level in enumerate(self.levels):
            context = level(context)
            yield saturate(context * gates[:, n : n + 1])
        yield saturate(F.gelu(mean(context, 2, 3, keepdim=True)) * gates[:, -1:])

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gates of each level."""
        return split_choices("level", self.weights(inputs[0]))

    def weights(self, x: Tensor) -> Tensor:
        """Return the gates of each level and of the global context, (B, L + 1, H, W)."""
        return self._expand(x)[2]

    def _expand(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, context, gates = self.expand(x).split((self.channels, self.channels, len(self.levels) + 1), 1)
        return query, context, gates


def _level(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return nn.Sequential(conv, nn.GELU())
