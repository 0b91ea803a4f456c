"""AggregatedAttention against a loop over positions, on maps that its code cannot take."""

from __future__ import annotations

from math import log, log2

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.record import randomize
from yolo_attn.layers import AggregatedAttention


def cells_of(length: int, pool: int) -> list[range]:
    """Return the positions of each cell along one axis."""
    count = max(length // pool, 1)
    return [range(n * length // count, -(-(n + 1) * length // count)) for n in range(count)]


def spaced(distance: float, length: int) -> float:
    u = 8 * distance / max(length - 1, 1)
    return (1 if u > 0 else -1) * log2(abs(u) + 1) / 3


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (1, 1), (4, 6)])
def test_equals_a_loop(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = AggregatedAttention(4, heads=2, pool=3).eval()
    randomize(layer)
    layer, x = layer.double(), torch.randn(1, 4, *size).double()
    height, width = size
    with torch.no_grad():
        query = layer.query(x)[0]
        key, value = layer.key_value(x)[0].chunk(2)
        features = F.gelu(layer.reduce(x))[0]
        places: list[tuple[float, float]] = []
        pooled: list[Tensor] = []
        for rows in cells_of(height, 3):
            for columns in cells_of(width, 3):
                places.append((sum(rows) / len(rows), sum(columns) / len(columns)))
                pooled.append(torch.stack([features[:, i, j] for i in rows for j in columns]).mean(0))
        cell_key, cell_value = layer.key_value(layer.norm(torch.stack(pooled)).T[None, :, :, None])[0, ..., 0].chunk(2)
        context = torch.zeros_like(x)
        for head in range(2):
            own = slice(2 * head, 2 * head + 2)
            for i in range(height):
                for j in range(width):
                    unit = F.normalize(query[own, i, j], dim=0)
                    near = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                    inside = [n for n, (a, b) in enumerate(near) if 0 <= a < height and 0 <= b < width]
                    count = log(len(inside) + len(places))
                    scaled = (unit + layer.embedding[head, :, 0]) * F.softplus(layer.temperature[head]) * count
                    logits = [
                        scaled @ F.normalize(key[own, near[n][0], near[n][1]], dim=0) + layer.near_bias[9 * head + n]
                        for n in inside
                    ]
                    for n, (row, column) in enumerate(places):
                        distance = torch.tensor([spaced(i - row, height), spaced(j - column, width)]).double()
                        logits.append(scaled @ F.normalize(cell_key[own, n], dim=0) + layer.mlp(distance)[head])
                    weights = torch.stack(logits).softmax(0)
                    tokens = layer.tokens[head] @ unit + layer.token_bias[9 * head : 9 * head + 9]
                    for weight, n in zip(weights, inside, strict=False):
                        context[0, own, i, j] += (weight + tokens[n]) * value[own, near[n][0], near[n][1]]
                    context[0, own, i, j] += cell_value[own] @ weights[len(inside) :]
        torch.testing.assert_close(layer(x), layer.proj(context))
