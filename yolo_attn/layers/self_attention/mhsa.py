"""MHSA: multi-head self-attention over the positions of a map.

    q = Wq (x + p), k = Wk (x + p), v = Wv x    at each position; p: position features, with position="sine"
    s_ij = (q_i . k_j + b_ij) / sqrt(d)         in each head of d = C / heads channels
    y_i = Wo concat over the heads of sum over j of softmax_j(s_ij) v_j
    position="sine"       sines of row and column, relative to the map size (DETR)
    position="relative"   b_ij = q_i . (u[row_i - row_j] + w[column_i - column_j]), u, w learned vectors (Shaw, BoTNet)
    position="bias"       s_ij += T[row_i - row_j, column_i - column_j], a learned table for each head (Swin)

Paper: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762; positions: Carion et al., arXiv
2005.12872 (sine), Shaw et al., arXiv 1803.02155, and Srinivas et al., arXiv 2101.11605 (relative), Liu et al.,
arXiv 2103.14030 (bias).
Code: https://github.com/tensorflow/tensor2tensor; `nn.MultiheadAttention` in PyTorch has the same numbers.
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights; "relative" and "bias" process the queries in chunks. Time grows with (HW)^2: for P5, or P4.
Deviations: no dropout. Distances are clamped to `max_distance`, so any map size works. The number of heads is reduced
to its greatest common divisor with C. A third-party BoTNet has tables of absolute positions, which it truncates in
raster order for smaller maps and multiplies with the query of the wrong token; here positions are relative. Another
third-party implementation takes distances along the flattened map, where vertical neighbors are as far apart as the map
is wide. Here distances are two-dimensional, and equal to those on maps of height 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer
from yolo_attn.layers.self_attention._attention import Attention, Read
from yolo_attn.layers.self_attention._tokens import (
    attend,
    check_sine,
    chunked,
    sine_positions,
    to_map,
    to_tokens,
    token_positions,
)
from yolo_attn.registry import register_layer

__all__ = ["MHSA"]

POSITIONS = ("sine", "none", "relative", "bias")


@register_layer(
    family="self_attention",
    summary="lets each position attend to all others in several heads",
    aliases=("MultiHeadSelfAttention",),
    paper="Attention Is All You Need, NeurIPS 2017",
    year=2017,
    url="https://arxiv.org/abs/1706.03762",
    repository="https://github.com/tensorflow/tensor2tensor",
    cost="O(C (HW)^2)",
)
class MHSA(Mixer):
    """Multi-head self-attention.

    Args:
        channels: Channels of the input; with position="sine" a multiple of 4.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        position: "sine", "none", "relative" or "bias".
        max_distance: Largest distance in rows or columns that "relative" and "bias" distinguish.
        residual: Whether x is added, as around each attention of the Transformer.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        position: str = "sine",
        max_distance: int = 20,
        residual: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_choice(self, "position", position, POSITIONS)
        check_integer(self, heads=heads, max_distance=max_distance)
        check_flag(self, residual=residual)
        if position == "sine":
            check_sine(self, channels)
        self.attention = Attention(channels, channels, heads=heads)
        self.position = position
        self.max_distance = max_distance
        self.residual = residual
        heads, distances = self.attention.heads, 2 * max_distance + 1
        width = channels // heads
        if position == "relative":
            self.offsets = nn.Parameter(torch.randn(2, distances, width) * width**-0.5)  # u, w
        elif position == "bias":
            self.table = nn.Parameter(torch.randn(heads, distances, distances) * 0.02)

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of the attention, plus x with `residual`."""
        y = to_map(self.attention(*self._arguments(x)), x)
        return x + y if self.residual else y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        x = inputs[0]
        return [self.attention.reading(*self._arguments(x), maps=(x, x))]

    def _arguments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Read | None]:
        """Return the arguments of the attention."""
        position = sine_positions(x) if self.position == "sine" else None
        read = partial(self._read, x) if self.position in {"relative", "bias"} else None
        tokens = to_tokens(x)
        return tokens, tokens, position, position, read

    def _read(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        height, width = x.shape[2:]

        def part(query: Tensor, row: Tensor, column: Tensor) -> Tensor:
            rows, columns = self._distance(row, height), self._distance(column, width)  # (n, H), (n, W)
            bias = self._relative if self.position == "relative" else self._bias
            return attend(query, key, value, bias=bias(query, rows, columns).to(query.dtype))

        b, heads, count, _ = query.shape
        return chunked(part, query, *token_positions(x), elements_per_query=2 * b * heads * count)  # logits and bias

    def _distance(self, index: Tensor, size: int) -> Tensor:
        """Return the clamped distances along one dimension, (n, size), as indices from 0 to 2 max_distance."""
        distance = index - torch.arange(size, device=index.device)
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def _relative(self, query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return b / sqrt(d), (B, heads, n, HW)."""
        b, heads = query.shape[:2]
        query = query * (self.channels // self.attention.heads) ** -0.5
        offsets = self.offsets.to(query.dtype)
        row_bias = (query @ offsets[0].t()).gather(3, rows.expand(b, heads, -1, -1))
        column_bias = (query @ offsets[1].t()).gather(3, columns.expand(b, heads, -1, -1))
        return (row_bias[..., :, None] + column_bias[..., None, :]).flatten(3)

    def _bias(self, query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return T at the distances, (1, heads, n, HW)."""
        index = rows[:, :, None] * self.table.shape[2] + columns[:, None, :]
        return self.table.flatten(1)[:, index.flatten(1)][None]
