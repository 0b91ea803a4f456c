"""LocalAttention: each position attends to a window around itself or around a predicted center.

    local-m (predict=False)  p_i = position i
    local-p (predict=True)   p_i = (H, W) * sigmoid(V tanh(Wp x_i)), clamped to the last row and column
    s_ij = x_i^T Wa x_j, or x_i . x_j           only for positions j within D rows and D columns of p_i
    a_ij = softmax_j(s_ij)                      local-p: times exp(-|j - p_i|^2 / (2 sigma^2)), sigma = D / 2
    y_i = tanh(Wc [sum over j of a_ij x_j; x_i])

Paper: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015, arXiv 1508.04025,
section 3.2.
Code: none from the authors for the local forms.
Shapes: x (B, C, H, W), y the same.
Algorithm: on a map much larger than a window, blocks of queries whose windows begin in the same tile are multiplied
with the keys of a region that includes them (`_blocks.py`); otherwise, and in exported models, all with the whole map.
Memory: queries or blocks are processed in chunks. Exported models take time that grows with (HW)^2.
Deviations: the paper's sentences have one dimension, maps have two: the window is a square and the Gaussian is
isotropic. On a map of height 1 both equal the paper's. A predicted center beyond the map is clamped to its border.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.self_attention._blocks import blocks_pay, sort_into_blocks
from yolo_attn.layers.self_attention._tokens import chunked, to_map, to_tokens, token_positions
from yolo_attn.registry import register_layer

__all__ = ["LocalAttention"]


@register_layer(
    family="self_attention",
    summary="lets each position attend to a window around itself or around a predicted center",
    aliases=("LuongLocalAttention",),
    paper="Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015",
    year=2015,
    url="https://arxiv.org/abs/1508.04025",
    cost="O(C (HW)^2)",
    renamed={"window": "radius"},
)
class LocalAttention(Mixer):
    """Local attention.

    Args:
        channels: Channels of the input.
        radius: D, rows and columns that the window extends to each side.
        predict: Whether the center of the window is predicted (local-p) or is the position itself (local-m).
        score: "general" or "dot".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, radius: int = 10, predict: bool = True, score: str = "general", init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, radius=radius)
        check_flag(self, predict=predict)
        check_choice(self, "score", score, ("general", "dot"))
        self.radius = radius
        self.predict = (
            nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Tanh(), nn.Linear(channels, 2, bias=False))
            if predict
            else None
        )
        self.bilinear = nn.Linear(channels, channels, bias=False) if score == "general" else None
        self.combine = nn.Linear(2 * channels, channels, bias=False)
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.uniform_(linear.weight, -0.1, 0.1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of each position."""
        return self.read(x, x)

    def read(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return the output of each position of x that attends to a window of another map of the same shape."""
        tokens = to_tokens(x)
        context = self._context(x, memory, memory).to(tokens.dtype)
        return to_map(torch.tanh(self.combine(torch.cat([context, tokens], 2))), x)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to their windows."""
        x = inputs[0]
        contexts = partial(self._context, x, x)
        return [Reading("", x, lambda values: to_map(contexts(values), x))]

    def _context(self, x: Tensor, memory: Tensor, values: Tensor) -> Tensor:
        """Return the context of each position of x, (B, HW, C), with keys and values from two maps of its shape."""
        tokens = to_tokens(x)
        query = tokens if self.bilinear is None else self.bilinear(tokens)
        centers = self._centers(x, tokens)
        keys = widen(to_tokens(memory))
        values = keys if values is memory else widen(to_tokens(values))
        height, width = x.shape[2:]
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        attend = self._in_map if traced or not blocks_pay(height, width, self.radius) else self._in_blocks
        with no_autocast(x):
            return attend((height, width), widen(query), centers, keys, values)

    def _centers(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of the center of each window, each (1 or B, HW, 1)."""
        if self.predict is None:
            row, column = token_positions(x)
            return row[None], column[None]
        center = torch.sigmoid(widen(self.predict(tokens)))
        height, width = x.shape[2:]
        return (height * center[..., :1]).clamp(max=height - 1), (width * center[..., 1:]).clamp(max=width - 1)

    def _in_map(
        self, size: tuple[int, int], query: Tensor, centers: tuple[Tensor, Tensor], keys: Tensor, values: Tensor
    ) -> Tensor:
        """Return the contexts, from products with the keys of the whole map."""
        rows, columns = (torch.arange(length, device=query.device) for length in size)

        def part(query: Tensor, row: Tensor, column: Tensor) -> Tensor:
            return self._weights(query @ keys.transpose(1, 2), rows - row, columns - column) @ values

        return chunked(part, query, *centers, elements_per_query=4 * query.shape[0] * query.shape[1])

    def _in_blocks(
        self, size: tuple[int, int], query: Tensor, centers: tuple[Tensor, Tensor], keys: Tensor, values: Tensor
    ) -> Tensor:
        """Return the same, from products of each block of queries with the keys of its region."""
        (height, width), (batch, _, channels) = size, query.shape
        row, column = (center[..., 0].expand(batch, -1) for center in centers)
        blocks = sort_into_blocks(row, column, height, width, self.radius)
        tables = [keys.flatten(0, 1)] if values is keys else [keys.flatten(0, 1), values.flatten(0, 1)]

        def part(query: Tensor, center: Tensor, origins: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
            region = (origins[..., None] + rows[..., None] * width + columns[:, None]).flatten(1)
            regions = [F.embedding(region, table) for table in tables]
            logits = query.reshape(len(query), -1, channels) @ regions[0].transpose(1, 2)
            center = center.reshape(len(query), -1, 2)
            weights = self._weights(logits, rows[:, None] - center[..., :1], columns[:, None] - center[..., 1:])
            return (weights @ regions[-1]).flatten(1)

        center = torch.stack([row, column], 2)
        slots = [F.embedding(blocks.queries, table.flatten(0, 1)).flatten(1) for table in (query, center)]
        pairs = blocks.queries.shape[1] * blocks.rows.shape[1] * blocks.columns.shape[1]
        places = (blocks.origins, blocks.rows, blocks.columns)
        contexts = chunked(part, *slots, *places, elements_per_query=6 * pairs)
        return F.embedding(blocks.slots, contexts.reshape(-1, channels)).reshape(query.shape)

    def _weights(self, logits: Tensor, down: Tensor, right: Tensor) -> Tensor:
        """Return the weight of each key for each query, (n, queries, rows columns), zero outside of the windows.

        Args:
            logits: (n, queries, rows columns).
            down: Distance of each row from the centers, (n or 1, queries, rows).
            right: Distance of each column from the centers, (n or 1, queries, columns).
        """
        far = (down.abs() > self.radius)[..., :, None] | (right.abs() > self.radius)[..., None, :]
        # An empty slot of a block has no window: its weights must be finite.
        weights = logits.masked_fill(far.flatten(2), torch.finfo(logits.dtype).min).softmax(2)
        if self.predict is None:
            return weights
        spread = -2 / self.radius**2  # -1 / (2 sigma^2)
        near = torch.exp(spread * down**2)[..., :, None] * torch.exp(spread * right**2)[..., None, :]
        return weights * near.flatten(2)
