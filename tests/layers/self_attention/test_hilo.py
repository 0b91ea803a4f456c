"""HiLo compared with loops over windows, including smaller ones at the border."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import HiLo

WINDOW = 2


def windows(height: int, width: int) -> list[list[tuple[int, int]]]:
    return [
        [(i, j) for i in range(r, min(r + WINDOW, height)) for j in range(c, min(c + WINDOW, width))]
        for r in range(0, height, WINDOW)
        for c in range(0, width, WINDOW)
    ]


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values.T @ (keys @ query / query.numel() ** 0.5).softmax(0)


@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_equals_the_loops(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = HiLo(8, heads=2).eval()  # one head of four channels each
    x = torch.randn(1, 8, *size)
    assert layer.high is not None and layer.low is not None
    high, low = torch.zeros(1, 4, *size), torch.zeros(1, 4, *size)
    with torch.no_grad():
        q, k, v = layer.high.qkv(x)[0].split(4)
        means = torch.stack([torch.stack([x[0, :, i, j] for i, j in window]).mean(0) for window in windows(*size)], 1)
        lk, lv = layer.low.key_value(means[None, :, :, None])[0, :, :, 0].split(4)
        lq = layer.low.query(x)[0]
        for positions in windows(*size):
            keys, values = (torch.stack([part[:, i, j] for i, j in positions]) for part in (k, v))
            for i, j in positions:
                high[0, :, i, j] = attend(q[:, i, j], keys, values)
                low[0, :, i, j] = attend(lq[:, i, j], lk.T, lv.T)
        expected = torch.cat([layer.high.proj(high), layer.low.proj(low)], 1)
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("options", "high", "low"), [({"alpha": 0}, 8, 0), ({"alpha": 1}, 0, 8), ({"window": 1}, 0, 8)]
)
def test_all_heads_can_be_of_one_kind(options: dict[str, float], high: int, low: int) -> None:
    layer = HiLo(16, **options)
    assert (layer.high.heads if layer.high else 0, layer.low.heads if layer.low else 0) == (high, low)
    assert layer(torch.randn(1, 16, 3, 4)).shape == (1, 16, 3, 4)
