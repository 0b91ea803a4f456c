"""MSDA: multi-scale dilated attention, each group of heads attends to a neighborhood of another dilation.

    q, k, v = W x                               at each position
    o = softmax(q k^T / sqrt(d)) v              in each head of d channels, over the 3 x 3 positions at distances of
                                                0 and r in rows and columns; r: the dilation of the head's group
    y = Wo [o of all groups]

Paper: Jiao et al., "DilateFormer: Multi-Scale Dilated Transformer for Visual Recognition", IEEE TMM 2023,
arXiv 2302.01791.
Code: https://github.com/JIAOJIAYUASD/dilateformer
Shapes: x (B, C, H, W), y the same.
As published, neighbors beyond the map take part as zero keys and zero values; `mask_border` excludes them.
Deviations: the code writes into its input, which changes it in evaluation and fails in training. The number of heads is
reduced to its greatest common divisor with C, and as many dilations are used as divide the number of heads. The
dilations are those of most copies; the paper has 1, 2 and 3, which require multiples of 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import total, widen
from yolo_attn.layers.self_attention._neighborhood import by_head, neighbors
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["MSDA"]


@register_layer(
    family="self_attention",
    summary="attends to neighborhoods of several dilations, one for each group of heads; linear in the map",
    aliases=("MultiDilatelocalAttention",),
    paper="DilateFormer: Multi-Scale Dilated Transformer for Visual Recognition, IEEE TMM 2023",
    year=2023,
    url="https://arxiv.org/abs/2302.01791",
    repository="https://github.com/JIAOJIAYUASD/dilateformer",
    cost="O((C^2 + C k^2) HW)",
    renamed={"num_heads": "heads", "dilation": "dilations"},
)
class MSDA(Mixer):
    """Multi-scale dilated attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        dilations: Dilations r; the first ones are used, as many as divide the number of heads.
        kernel_size: Height and width of the neighborhoods in positions, odd.
        qkv_bias: Whether queries, keys and values have a bias.
        mask_border: Whether neighbors beyond the map are excluded.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        dilations: Sequence[int] = (1, 2, 3, 4),
        kernel_size: int = 3,
        qkv_bias: bool = True,
        mask_border: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check(self, _are_dilations(dilations), "dilations", dilations, "a list of positive integers, such as [1, 2]")
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias, mask_border=mask_border)
        heads = fitting_groups(channels, heads)
        groups = max(n for n in range(1, len(dilations) + 1) if heads % n == 0)
        self.dilations = tuple(dilations[:groups])
        self.heads = heads // groups  # of a group
        self.kernel_size = kernel_size
        self.mask_border = mask_border
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=qkv_bias)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts of all groups."""
        y: Tensor = self.proj(torch.cat([contexts(value) for value, contexts in self._groups(x)], 1))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of each group of heads."""
        found = zip(self.dilations, self._groups(inputs[0]), strict=True)
        return [Reading(f"dilation {dilation}", *group, self.heads) for dilation, group in found]

    def _groups(self, x: Tensor) -> list[tuple[Tensor, Callable[[Tensor], Tensor]]]:
        """Return the values of each group (B, C / groups, H, W), with the contexts as a function of them."""
        queries, keys, values = (t.chunk(len(self.dilations), 1) for t in self.qkv(x).chunk(3, 1))
        groups = zip(queries, keys, values, self.dilations, strict=True)
        return [(value, self._read(query, key, dilation)) for query, key, value, dilation in groups]

    def _read(self, query: Tensor, key: Tensor, dilation: int) -> Callable[[Tensor], Tensor]:
        """Return the contexts of one group of heads as a function of its values."""
        k = self.kernel_size
        query = widen(query) * (query.shape[1] // self.heads) ** -0.5
        products = [by_head(query * near, self.heads).sum(2) for near in neighbors(key, k, dilation)]
        logits = torch.stack(products, 2)  # (B, heads, k k, H, W)
        if self.mask_border:
            inside = torch.stack(neighbors(torch.ones_like(logits[0, 0, 0]), k, dilation))
            logits = logits.masked_fill(inside == 0, float("-inf"))
        weights = logits.softmax(2).to(key.dtype).unbind(2)

        def contexts(values: Tensor) -> Tensor:
            near = zip(weights, neighbors(values, k, dilation), strict=True)
            return total(weight[:, :, None] * by_head(value, self.heads) for weight, value in near).flatten(1, 2)

        return contexts


def _are_dilations(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and len(values) > 0 and all(map(is_positive_integer, values))
