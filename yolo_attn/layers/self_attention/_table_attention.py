"""Attention of the positions of a map to points anywhere, with a bias that a table has for their distances.

    y_i = sum over points p of softmax_p(q_i . k_p + B(l_i - p)) v_p

B samples the table bilinearly, and the weights of a sample are products of a row's and a column's. The bias of a point
for all positions of some rows is therefore a product of three small matrices: weights of rows, the part of the table
that these rows reach from the point, and weights of columns. Sampling would read four entries for each query, point and
head.

As in FlashAttention (Dao et al., arXiv 2205.14135), points and rows are processed in chunks that stay in the caches,
with a running maximum, and the backward pass computes the logits again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from yolo_attn.layers.numerics import no_autocast

__all__ = ["table_attention"]

ROWS = 20
"""Rows of the map in a chunk: more rows reach more of the table, fewer make smaller products."""
LOGITS = 2**20
"""Logits in a chunk, of all heads."""
LOG2E = 1 / math.log(2)  # logits have the base 2, because exp2 is several times faster than exp on a CPU


def table_attention(query: Tensor, key: Tensor, value: Tensor, points: Tensor, table: Tensor) -> Tensor:
    """Return the values attended to by each query, (B, heads, H W, d).

    Args:
        query: (B, heads, H, W, d), scaled. Rows and columns of the map have coordinates from -1 to 1.
        key: (B, heads, P, d).
        value: (B, heads, P, d).
        points: y and x of each point, (B, P, 2).
        table: Bias for distances in y and x from -2 to 2, (B, heads, T, T). It is zero beyond.
    """
    images = zip(query, key, value, points, table, strict=True)
    return torch.stack([cast(Tensor, _TableAttention.apply(*image)) for image in images])  # type: ignore[no-untyped-call]


class _Reach(NamedTuple):
    """The entries of the table that positions along an axis reach from each of n points.

    Attributes:
        first: The first of these entries in the padded table, (n,).
        distance: Distance of each position from each entry, in entries, (n, positions, entries).
    """

    first: Tensor
    distance: Tensor

    def weights(self) -> Tensor:
        """Return the weight of each entry for each position, (n, positions, entries), of which two are above zero."""
        return (1 - self.distance.abs()).relu_()

    def slopes(self) -> Tensor:
        """Return the derivatives of the weights by the distances."""
        distance = self.distance
        rising, falling = (distance >= -1) & (distance < 0), (distance >= 0) & (distance < 1)
        return rising.to(distance.dtype) - falling.to(distance.dtype)


class _Axis:
    """Positions of the map along an axis, and the entries of the table that they reach.

    Args:
        length: Number of positions.
        chunk: Number of consecutive positions that are processed together.
        points: Coordinates of the points, (P,).
        entries: T.
    """

    def __init__(self, length: int, chunk: int, points: Tensor, entries: int) -> None:
        steps = max(length - 1, 1)
        self.points, self.entries = points, entries
        self.scale = (entries - 1) / 4  # entries in a unit of distance
        self.coordinates = torch.arange(length, device=points.device, dtype=points.dtype) * (2 / steps) - 1
        self.count = math.ceil((min(chunk, length) - 1) * 2 / steps * self.scale) + 2  # entries reached, at most

    def reach(self, points: slice, positions: slice) -> _Reach:
        """Return what some positions reach from some points."""
        index = (self.coordinates[positions] - self.points[points, None]) * self.scale + (self.entries - 1) / 2
        first = index[:, :1].floor()
        taps = torch.arange(self.count, device=index.device, dtype=index.dtype)
        distance = (index - first)[..., None] - taps
        return _Reach((first[:, 0].long() + self.count).clamp(0, self.entries + self.count), distance)


class _Chunks:
    """The logits of an image in chunks of points and rows.

    Args:
        query: (heads, H, W, d).
        key: (heads, P, d).
        points: (P, 2).
        table: (heads, T, T).
    """

    def __init__(self, query: Tensor, key: Tensor, points: Tensor, table: Tensor) -> None:
        self.heads, self.height, self.width, _ = query.shape
        self.query, self.key, self.table = query, key, table
        self.scaled = query * LOG2E
        entries = table.shape[1]
        self.rows = _Axis(self.height, ROWS, points[:, 0], entries)
        self.columns = _Axis(self.width, self.width, points[:, 1], entries)
        down, right = self.rows.count, self.columns.count
        padded = F.pad(table * LOG2E, (right, right, down, down))
        # Each row of the padded table in parts that begin at each column, with all heads.
        self.parts = padded.unfold(2, right, 1).permute(1, 2, 0, 3).reshape(-1, self.heads * right)
        self.starts = entries + right + 1  # parts of a row

    def points(self) -> Iterator[slice]:
        """Return chunks of points."""
        size = max(1, LOGITS // (self.heads * min(ROWS, self.height) * self.width))
        count = self.key.shape[1]
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def bands(self) -> list[slice]:
        """Return chunks of rows."""
        return [slice(row, min(row + ROWS, self.height)) for row in range(0, self.height, ROWS)]

    def parts_for(self, rows: _Reach, columns: _Reach) -> tuple[Tensor, Tensor]:
        """Return the parts of the table that n points reach, (n, entries heads, entries), and their indices."""
        steps = torch.arange(self.rows.count, device=rows.first.device)
        index = (rows.first[:, None] + steps) * self.starts + columns.first[:, None]
        return F.embedding(index, self.parts).reshape(len(index), -1, self.columns.count), index

    def logits(self, points: slice, band: slice, by_row: Tensor, by_entry: Tensor) -> Tensor:
        """Return the logits, (heads, n, queries), from the weights of rows and the interpolated parts of the table."""
        query = self.scaled[:, band].flatten(1, 2)
        count = len(by_row)
        bias = query.new_empty(self.heads, count, query.shape[1])
        by_entry = by_entry.reshape(count, -1, self.heads, self.width)
        for head in range(self.heads):
            torch.bmm(by_row, by_entry[:, :, head], out=bias[head].view(count, -1, self.width))
        return bias.baddbmm_(self.key[:, points], query.transpose(1, 2))


class _TableAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        query, key, value, points, table = inputs
        chunks = _Chunks(query, key, points, table)
        states = [_Sums(query[:, band].flatten(1, 2)) for band in chunks.bands()]
        for part in chunks.points():
            columns = chunks.columns.reach(part, slice(None))
            across = columns.weights().transpose(1, 2)
            for band, sums in zip(chunks.bands(), states, strict=True):
                rows = chunks.rows.reach(part, band)
                entries, _ = chunks.parts_for(rows, columns)
                sums.add(chunks.logits(part, band, rows.weights(), entries @ across), value[:, part])
        y = torch.cat([sums.y / sums.total[..., None] for sums in states], 1)
        total = torch.cat([sums.largest + sums.total.log2() for sums in states], 1)
        ctx.save_for_backward(*inputs, y, total)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        with no_autocast(grad):
            query, key, value, points, table, y, total = ctx.saved_tensors
            share = (grad * y).sum(2)  # of a weight's gradient in the sum of the weights, which is constant
            return _gradients(_Chunks(query, key, points, table), value, grad, share, total)


class _Sums:
    """Sums over the points so far, relative to 2 to the power of the largest logit."""

    def __init__(self, query: Tensor) -> None:
        self.largest = query.new_full(query.shape[:2], -math.inf)
        self.total = query.new_zeros(query.shape[:2])
        self.y = torch.zeros_like(query)

    def add(self, logits: Tensor, value: Tensor) -> None:
        """Add more points. Overwrites the logits, (heads, n, queries)."""
        largest = torch.maximum(self.largest, logits.amax(1))
        shrink = torch.exp2(self.largest - largest)
        weights = logits.sub_(largest[:, None]).exp2_()
        self.largest = largest
        self.total = self.total * shrink + weights.sum(1)
        self.y = (self.y * shrink[..., None]).baddbmm_(weights.transpose(1, 2), value)


def _gradients(chunks: _Chunks, value: Tensor, grad: Tensor, share: Tensor, total: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of query, key, value, points and table.

    Args:
        chunks: The logits.
        value: (heads, P, d).
        grad: Gradient of the output, (heads, H W, d).
        share: Product of the output and its gradient, (heads, H W).
        total: Logarithm of the sum of the exponentials, (heads, H W), with the base 2.
    """
    query, key = chunks.query.flatten(1, 2), chunks.key
    of_query, of_key, of_value = (torch.zeros_like(x) for x in (query, key, value))
    of_points = torch.stack([torch.zeros_like(axis.points) for axis in (chunks.rows, chunks.columns)], 1)
    of_parts = torch.zeros_like(chunks.parts)
    for part in chunks.points():
        columns = chunks.columns.reach(part, slice(None))
        across = columns.weights()
        of_across = torch.zeros_like(across)
        for band in chunks.bands():
            rows = chunks.rows.reach(part, band)
            down = rows.weights()
            entries, index = chunks.parts_for(rows, columns)
            by_entry = entries @ across.transpose(1, 2)
            queries = slice(band.start * chunks.width, band.stop * chunks.width)
            logits = chunks.logits(part, band, down, by_entry)
            weights = logits.sub_(total[:, None, queries]).exp2_()
            of_value[:, part] += weights @ grad[:, queries]
            change = (value[:, part] @ grad[:, queries].transpose(1, 2)).sub_(share[:, None, queries]).mul_(weights)
            of_query[:, queries] += change.transpose(1, 2) @ key[:, part]
            of_key[:, part] += change @ query[:, queries]
            # (n, entries heads, columns)
            of_by_entry, of_down = _through_bias(change, down, by_entry)
            of_points[part, 0] -= (of_down * rows.slopes()).sum((1, 2))
            of_across += of_by_entry.transpose(1, 2) @ entries
            of_parts.index_add_(0, index.flatten(), (of_by_entry @ across).reshape(index.numel(), -1))
        of_points[part, 1] -= (of_across * columns.slopes()).sum((1, 2))
    of_points *= chunks.rows.scale / LOG2E
    return of_query.view_as(chunks.query), of_key, of_value, of_points, _to_table(of_parts, chunks)


def _through_bias(change: Tensor, down: Tensor, by_entry: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the interpolated parts of the table and of the weights of rows."""
    heads, (count, rows, entries) = len(change), down.shape
    by_entry = by_entry.reshape(count, entries, heads, -1)
    of_by_entry, of_down = torch.empty_like(by_entry), torch.zeros_like(down)
    for head in range(heads):
        by_row = change[head].view(count, rows, -1)
        of_by_entry[:, :, head] = down.transpose(1, 2) @ by_row
        of_down += by_row @ by_entry[:, :, head].transpose(1, 2)
    return of_by_entry.reshape(count, entries * heads, -1), of_down


def _to_table(of_parts: Tensor, chunks: _Chunks) -> Tensor:
    """Return the gradient of the table, to which each column's part of each row belongs."""
    heads, entries, _ = chunks.table.shape
    down, right = chunks.rows.count, chunks.columns.count
    of_parts = of_parts.reshape(-1, chunks.starts, heads, right)[down : down + entries]
    of_table = torch.zeros_like(chunks.table)
    for tap in range(right):  # column c of the table is tap t of the part that begins at c + right - t
        start = right - tap
        of_table += of_parts[:, start : start + entries, :, tap].permute(2, 0, 1)
    return of_table
