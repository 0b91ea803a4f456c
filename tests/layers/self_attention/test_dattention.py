"""DAttention: sampling points, weights and chunks."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import DAttention
from yolo_attn.layers.self_attention import _tokens, dattention


def without_offsets(**options: object) -> DAttention:
    """Return a layer without offsets."""
    torch.manual_seed(0)
    layer = DAttention(8, head_width=4, table_size=5, **options).eval()
    torch.nn.init.zeros_(layer.offset_proj.weight)
    torch.nn.init.normal_(layer.table)
    return layer


def test_without_offsets_it_equals_self_attention_with_relative_positions() -> None:
    layer = without_offsets()
    x = torch.randn(1, 8, 5, 5)  # of the size of the table, so its entries are not interpolated
    with torch.no_grad():
        q, k, v = (conv(x).reshape(2, 4, 25) for conv in (layer.query, layer.key, layer.value))
        gathered = torch.zeros(2, 4, 25)
        for head in range(2):
            for query in range(25):
                logits = q[head, :, query] @ k[head] / 2
                for key in range(25):
                    rows, columns = query // 5 - key // 5, query % 5 - key % 5
                    logits[key] += layer.table[head, 4 + rows, 4 + columns]
                gathered[head, :, query] = v[head] @ logits.softmax(0)
        torch.testing.assert_close(layer(x), layer.proj(gathered.reshape(1, 8, 5, 5)), atol=1e-5, rtol=1e-4)


def test_the_grid_extends_from_corner_to_corner_unless_shifted() -> None:
    x = torch.randn(2, 8, 9, 7)
    points = without_offsets(stride=2).points(x)
    assert points.shape == (2, 1, 5, 4, 2)
    torch.testing.assert_close(points[0, 0, :, 0, 0], torch.linspace(-1, 1, 5))
    torch.testing.assert_close(points[0, 0, 0, :, 1], torch.linspace(-1, 1, 4))
    assert without_offsets(stride=2, shifted_grid=True).points(x)[0, 0, -1, -1].min() > 1


def test_offsets_are_limited_to_the_range_or_to_the_map() -> None:
    torch.manual_seed(0)
    x = 100 * torch.randn(2, 8, 6, 6)
    for offset_range, limit in ((2, 2 / 5), (1, 1 / 5)):
        layer = DAttention(8, offset_range=offset_range)
        torch.nn.init.normal_(layer.offset_proj.weight, 0, 10)
        moved = (layer.points(x) - without_offsets().points(x)).abs().amax()
        assert limit * 0.99 < moved <= limit + 1e-6  # a grid step of six points is 2 / 5
    layer = DAttention(8, offset_range=None)
    torch.nn.init.normal_(layer.offset_proj.weight, 0, 10)
    assert layer.points(x).abs().max() == 1


@pytest.mark.parametrize("training", [False, True])
def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    torch.manual_seed(0)
    layer = DAttention(8, head_width=4, groups=2, table_size=3).double().train(training)
    x = torch.randn(2, 8, 5, 6, dtype=torch.double, requires_grad=True)
    results = []
    monkeypatch.setattr(dattention, "DENSE", 100)
    for queries in (30, 7):  # all at once, then seven at a time of two images, two heads and 30 points
        monkeypatch.setattr(_tokens, "MAX_ELEMENTS", queries * 2 * 2 * 30 * dattention.ELEMENTS)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)
