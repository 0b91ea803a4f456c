"""AreaAttention: self-attention within a few runs of consecutive positions, of YOLOv12.

    q, k, v = BN W x                            at each position
    o = softmax(q k^T / sqrt(d)) v              in each head of d channels, over the positions of an area
    y = BN Wo (o + BN DW v)                     DW: depthwise convolution of the whole map
    areas: the positions, row by row, cut into A runs of equal length

Paper: Tian et al., "YOLOv12: Attention-Centric Real-Time Object Detectors", NeurIPS 2025, arXiv 2502.12524.
Code: https://github.com/sunsmarterjie/yolov12 (AAttn); Ultralytics has it as AAttn in A2C2f.
Shapes: x (B, C, H, W), y the same.
Cost: time is quadratic, divided by A; A is 4 at stride 16 and 1 at stride 32 in YOLOv12.
Deviations: the number of positions need not be a multiple of A, where the code raises an error: the last areas are
shorter. The head width is reduced to its greatest common divisor with C. The kernel size 7 is that of Ultralytics and
of the paper; the authors' code has 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.self_attention._tokens import attend
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["AreaAttention"]


@register_layer(
    family="self_attention",
    summary="self-attention within a few runs of consecutive positions; quadratic, divided by their number",
    paper="YOLOv12: Attention-Centric Real-Time Object Detectors, NeurIPS 2025",
    year=2025,
    url="https://arxiv.org/abs/2502.12524",
    repository="https://github.com/sunsmarterjie/yolov12",
    cost="O(C^2 HW + C (HW)^2 / A)",
    renamed={"area": "areas"},
)
class AreaAttention(Mixer):
    """Area attention.

    Args:
        channels: Channels of the input.
        head_width: d, channels of a head, reduced to the greatest common divisor with the channels.
        areas: A, number of areas.
        kernel_size: Kernel size of the depthwise convolution, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_width: int = 32,
        areas: int = 4,
        kernel_size: int = 7,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, head_width=head_width, areas=areas)
        check_odd(self, kernel_size=kernel_size)
        self.heads = channels // fitting_groups(channels, head_width)
        self.areas = areas
        self.qkv = nn.Sequential(nn.Conv2d(channels, 3 * channels, 1, bias=False), BatchNorm(3 * channels))
        self.local = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False),
            BatchNorm(channels),
        )
        self.proj = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels))

    def mix(self, x: Tensor) -> Tensor:
        """Return the contexts plus the convolution of the values, projected."""
        value, contexts = self._attention(x)
        y: Tensor = self.proj(contexts(value) + self.local(value))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to those of their area."""
        return [Reading("", *self._attention(inputs[0]), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, C, H, W), and the contexts as a function of them."""
        query, key, value = self.qkv(x).chunk(3, 1)
        q, k, mask = self._split(query), self._split(key), self._mask(x)

        def contexts(values: Tensor) -> Tensor:
            mixed = attend(q, k, self._split(values), bias=mask)  # (B, areas heads, positions, d)
            b, _, positions, depth = mixed.shape
            tokens = mixed.reshape(b, self.areas, self.heads, positions, depth).permute(0, 2, 4, 1, 3)
            flat = tokens.reshape(b, values.shape[1], -1)[:, :, : values.shape[2] * values.shape[3]]
            return flat.reshape(values.shape)

        return value, contexts

    def _split(self, x: Tensor) -> Tensor:
        """Return a map (B, heads d, H, W) by area and head, (B, areas heads, positions, d)."""
        b, channels = x.shape[:2]
        tokens = x.flatten(2)
        tokens = F.pad(tokens, (0, -tokens.shape[2] % self.areas))
        parts = tokens.reshape(b, self.heads, channels // self.heads, self.areas, -1)
        return parts.permute(0, 3, 1, 4, 2).flatten(1, 2)

    def _mask(self, x: Tensor) -> Tensor | None:
        """Return whether each key of each area is on the map, (1, areas heads, 1, positions); None if all of them are.

        An area without any is not masked, because the softmax of nothing is NaN.
        """
        count = x.shape[2] * x.shape[3]
        if not torch.jit.is_tracing() and count % self.areas == 0:  # type: ignore[attr-defined, no-untyped-call]
            return None
        index = torch.arange(count + -count % self.areas, device=x.device).reshape(self.areas, 1, 1, -1)
        inside = (index < count) | (index[..., :1] >= count)
        return inside.expand(-1, self.heads, -1, -1).flatten(0, 1)[None]
