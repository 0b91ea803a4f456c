"""MHSA: multi-head self-attention over the cells of a map.

    q = Wq (x + p), k = Wk (x + p), v = Wv x    at each cell; p: position features, with position="sine"
    s_ij = (q_i . k_j + b_ij) / sqrt(d)         in each head of d = C / heads channels
    y_i = Wo concat over the heads of sum over j of softmax_j(s_ij) v_j
    position="sine"       waves of row and column, the same place on every map size (DETR)
    position="relative"   b_ij = q_i . (u[row_i - row_j] + w[column_i - column_j]), u, w learned vectors (Shaw, BoTNet)
    position="bias"       s_ij += T[row_i - row_j, column_i - column_j], a learned number for each head (Swin)

Paper: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762; positions: Carion et al., arXiv
2005.12872 (sine), Shaw et al., arXiv 1803.02155, and Srinivas et al., arXiv 2101.11605 (relative), Liu et al.,
arXiv 2103.14030 (bias).
Code: https://github.com/tensorflow/tensor2tensor; `nn.MultiheadAttention` in PyTorch has the same numbers.
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights; "relative" and "bias" go through the queries in parts. Time grows with (HW)^2: for P5, or P4.
Deviations: no dropout. Distances beyond `max_distance` count as `max_distance`, so that any map size works. Heads are
brought down to what divides the channels. The BoTNet copy in circulation has tables of absolute positions, which it
cuts off in raster order for smaller maps and multiplies with the query of the wrong token; ours are relative. One copy
in circulation takes distances along the flattened map, where a cell's lower neighbour is as far as the map is wide;
ours are two-dimensional, and equal it on maps of height one.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer
from yolo_attn.layers.self_attention.attention import Attention
from yolo_attn.layers.self_attention.tokens import attend, check_sine, maps, places, sine_positions, stream, tokens
from yolo_attn.registry import register_layer

__all__ = ["MHSA"]

POSITIONS = ("sine", "none", "relative", "bias")


@register_layer(
    family="self_attention",
    summary="lets every cell attend to every other in several heads",
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
        channels: Channels of the input; with position="sine" a multiple of four.
        heads: Number of heads, brought down to what divides the channels.
        position: "sine", "none", "relative" or "bias".
        max_distance: Largest distance in rows or columns that "relative" and "bias" tell apart.
        residual: Whether x is added, as around every attention of the Transformer.
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
        """Return what every cell reads from the map."""
        place = sine_positions(x) if self.position == "sine" else None
        read = partial(self._read, x) if self.position in {"relative", "bias"} else None
        cells = tokens(x)
        y = maps(self.attention(cells, cells, place, place, read), x)
        return x + y if self.residual else y

    def _read(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        height, width = x.shape[2:]

        def part(query: Tensor, row: Tensor, column: Tensor) -> Tensor:
            rows, columns = self._distance(row, height), self._distance(column, width)  # (n, H), (n, W)
            bias = self._relative if self.position == "relative" else self._bias
            return attend(query, key, value, bias=bias(query, rows, columns).to(query.dtype))

        b, heads, count, _ = query.shape
        return stream(part, query, *places(x), held=2 * b * heads * count)  # logits and bias

    def _distance(self, place: Tensor, size: int) -> Tensor:
        """Return the distance from every cell along one dimension, (n, size), as an index from 0 to 2 max_distance."""
        distance = place - torch.arange(size, device=place.device)
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def _relative(self, query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return b / sqrt(d), (B, heads, n, HW)."""
        b, heads = query.shape[:2]
        query = query * (self.channels // self.attention.heads) ** -0.5
        offsets = self.offsets.to(query.dtype)
        of_row = (query @ offsets[0].t()).gather(3, rows.expand(b, heads, -1, -1))
        of_column = (query @ offsets[1].t()).gather(3, columns.expand(b, heads, -1, -1))
        return (of_row[..., :, None] + of_column[..., None, :]).flatten(3)

    def _bias(self, query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return T at the distances, (1, heads, n, HW)."""
        index = rows[:, :, None] * self.table.shape[2] + columns[:, None, :]
        return self.table.flatten(1)[:, index.flatten(1)][None]
