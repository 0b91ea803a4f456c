"""LiteMLA: multi-scale linear attention with ReLU features, of MIT's EfficientViT.

    t_0 = W x                                   3C channels: q, k and v of each head of c channels
    t_s = G DW_s t_0                            for each kernel size s; DW_s: depthwise, G: 1 x 1, c channels a group
    o = (sum of v relu(k)^T) relu(q) / (sum of relu(k) . relu(q) + 1e-15)       in each head of all t, over positions
    y = BN Wo [o of all heads]

Paper: Cai et al., "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV 2023,
arXiv 2205.14756.
Code: https://github.com/mit-han-lab/efficientvit
Shapes: x (B, C, H, W), y the same.
Deviations: the head width is reduced to its greatest common divisor with C. For maps of up to c positions the code
multiplies in another order, with equal results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd_list
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import saturate, widen
from yolo_attn.layers.self_attention._linear import linear_contexts, per_head
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["LiteMLA"]

EPS = 1e-15


@register_layer(
    family="self_attention",
    summary="linear attention with ReLU features, of each position and of its neighborhoods",
    paper="EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction, ICCV 2023",
    year=2022,
    url="https://arxiv.org/abs/2205.14756",
    repository="https://github.com/mit-han-lab/efficientvit",
    cost="O(C^2 HW)",
    renamed={"dim": "head_width", "scales": "kernel_sizes"},
)
class LiteMLA(Mixer):
    """Lightweight multi-scale linear attention.

    Args:
        channels: Channels of the input.
        head_width: c, channels of a head, reduced to the greatest common divisor with the channels.
        kernel_sizes: Kernel sizes s of the neighborhoods, odd; each adds as many heads again.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, head_width: int = 16, kernel_sizes: Sequence[int] = (5,), init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, head_width=head_width)
        check_odd_list(self, [5], kernel_sizes=kernel_sizes)
        self.kernel_sizes = tuple(kernel_sizes)
        self.heads = channels // fitting_groups(channels, head_width)
        width = 3 * channels
        self.qkv = nn.Conv2d(channels, width, 1, bias=False)
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, k, padding=k // 2, groups=width, bias=False),
                nn.Conv2d(width, width, 1, groups=3 * self.heads, bias=False),
            )
            for k in kernel_sizes
        )
        self.proj = nn.Conv2d((1 + len(self.scales)) * channels, channels, 1, bias=False)
        self.norm = BatchNorm(channels)

    def mix(self, x: Tensor) -> Tensor:
        """Return the normalized projection of the contexts of all heads."""
        contexts = [context(value) for value, context in self._attentions(x)]
        y: Tensor = self.norm(saturate(self.proj(torch.cat(contexts, 1))))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others, for the positions and for their neighborhoods."""
        names = ["positions", *(f"neighborhoods of {k}" for k in self.kernel_sizes)]
        found = zip(names, self._attentions(inputs[0]), strict=True)
        return [Reading(name, *attention, self.heads) for name, attention in found]

    def _attentions(self, x: Tensor) -> list[tuple[Tensor, Callable[[Tensor], Tensor]]]:
        """Return the values (B, C, H, W) of each scale, with the contexts as a function of them."""
        qkv = self.qkv(x)
        return [self._attention(t) for t in (qkv, *(scale(qkv) for scale in self.scales))]

    def _attention(self, qkv: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        query, key, value = per_head(qkv, self.heads).chunk(3, 2)  # (B, heads, c, HW)
        q, k = (torch.relu(widen(t)) for t in (query, key))
        # A mean instead of a sum leaves eps N times as large, which only a total of zero makes visible.
        contexts = partial(linear_contexts, q, k, eps=EPS)
        return value.reshape(qkv.shape[0], self.channels, *qkv.shape[2:]), contexts
