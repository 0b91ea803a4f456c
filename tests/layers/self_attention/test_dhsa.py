"""DHSA against loops over channels and parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.parity.record import randomize
from yolo_attn.layers import DHSA

HEADS = 2


def contexts(query: Tensor, key: Tensor, value: Tensor, parts: list[list[int]], tau: float) -> Tensor:
    """Return the attention (d, N) of one head, whose parts are lists of positions; -1 is padding."""

    def rows(x: Tensor) -> Tensor:
        padded = torch.cat([x, torch.zeros(len(x), 1).double()], 1)
        return torch.stack([padded[channel, part] for channel in range(len(x)) for part in parts])

    q, k, v = rows(query), rows(key), rows(value)
    logits = tau * torch.nn.functional.cosine_similarity(q[:, None], k, dim=2)
    mixed = (logits.exp() / (1 + logits.exp().sum(1, keepdim=True))) @ v
    result = torch.zeros(len(value), value.shape[1] + 1).double()
    for n, row in enumerate(mixed):
        result[n // len(parts), parts[n % len(parts)]] = row
    return result[:, :-1]


@pytest.mark.parametrize("size", [(2, 4), (3, 3)])
def test_equals_the_loops(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = DHSA(4, heads=HEADS).eval()
    randomize(layer)
    layer, x = layer.double(), torch.randn(1, 4, *size).double()
    count = size[0] * size[1]
    length = -(-count // HEADS)
    places = [n if n < count else -1 for n in range(HEADS * length)]
    boxes = [places[n * length : (n + 1) * length] for n in range(HEADS)]
    spread = [places[n::HEADS] for n in range(HEADS)]
    with torch.no_grad():
        first = x[:, :2]
        rows = first.argsort(2)
        columns = first.gather(2, rows).argsort(3)
        moved = torch.cat([first.gather(2, rows).gather(3, columns), x[:, 2:]], 1)
        parts = [*layer.query_key_conv(layer.query_key(moved)).chunk(4, 1), layer.value_conv(layer.value(moved))]
        q1, k1, q2, k2, value = (part[0].flatten(1) for part in parts)
        order = value.argsort(1)
        q1, k1, q2, k2, value = (t.gather(1, order) for t in (q1, k1, q2, k2, value))
        product = torch.zeros(4, count).double()
        for head in range(HEADS):
            own, tau = slice(2 * head, 2 * head + 2), float(layer.temperature[head])
            box = contexts(q1[own], k1[own], value[own], boxes, tau)
            product[own] = box * contexts(q2[own], k2[own], value[own], spread, tau)
        placed = torch.zeros(4, count).double()
        for channel in range(4):
            placed[channel, order[channel]] = product[channel]
        y = layer.proj(placed.reshape(x.shape))
        expected = y.clone()
        for channel in range(2):
            for i in range(size[0]):
                for j in range(size[1]):
                    column = int(columns[0, channel, i, j])
                    expected[0, channel, rows[0, channel, i, column], column] = y[0, channel, i, j]
        torch.testing.assert_close(layer(x), expected)
