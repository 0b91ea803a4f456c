"""Attention with a bias from a table, compared with samples of the table."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers import DAttention
from yolo_attn.layers.self_attention import _table_attention, dattention


def attend(query: Tensor, key: Tensor, value: Tensor, points: Tensor, table: Tensor) -> Tensor:
    """Return the same with a sample for each query and point."""
    rows, columns = (torch.arange(n, dtype=query.dtype) * (2 / max(n - 1, 1)) - 1 for n in query.shape[2:4])
    positions = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
    grid = (positions[:, None] - points[:, None]).flip(3) / 2
    bias = F.grid_sample(table, grid, align_corners=True)
    return (query.flatten(2, 3) @ key.transpose(2, 3) + bias).softmax(3) @ value


@pytest.mark.parametrize(
    ("height", "width", "entries", "rows", "logits"),
    [(5, 7, 11, 2, 200), (1, 1, 5, 20, 2**20), (9, 4, 7, 4, 300), (12, 13, 39, 5, 5000), (6, 6, 11, 20, 2**20)],
)
@pytest.mark.parametrize("extent", [0.9, 3.0])  # of the points, up to which the map extends by 1 and the table by 2
def test_equals_samples_of_the_table(  # noqa: PLR0917
    height: int, width: int, entries: int, rows: int, logits: int, extent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_table_attention, "ROWS", rows)
    monkeypatch.setattr(_table_attention, "LOGITS", logits)
    torch.manual_seed(0)
    inputs = [
        torch.randn(2, 3, height, width, 4),
        torch.randn(2, 3, 30, 4),
        torch.randn(2, 3, 30, 4),
        (torch.rand(2, 30, 2) * 2 - 1) * extent,
        torch.randn(2, 3, entries, entries),
    ]
    inputs = [x.double().requires_grad_() for x in inputs]
    results = []
    for function in (_table_attention.table_attention, attend):
        y = function(*inputs)
        results.append((y, *torch.autograd.grad(y.square().sum(), inputs)))
    for computed, sampled in zip(*results, strict=True):
        torch.testing.assert_close(computed, sampled)


def test_large_logits_are_finite() -> None:
    torch.manual_seed(0)
    query, key = (1000 * torch.randn(1, 2, 5, 4) for _ in range(2))
    y = _table_attention.table_attention(
        query[:, :, None], key, torch.ones(1, 2, 5, 4), torch.zeros(1, 5, 2), torch.zeros(1, 2, 3, 3)
    )
    torch.testing.assert_close(y, torch.ones_like(y))


@pytest.mark.parametrize("training", [False, True])
def test_dattention_does_not_depend_on_how_the_bias_is_computed(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    torch.manual_seed(0)
    layer = DAttention(8, head_width=2, groups=2, table_size=4, stride=2).double().train(training)
    x = torch.randn(2, 8, 12, 11, dtype=torch.double, requires_grad=True)
    used = []
    monkeypatch.setattr(
        dattention, "table_attention", lambda *inputs: used.append(1) or _table_attention.table_attention(*inputs)
    )
    results = []
    for dense in (dattention.DENSE, 100):
        monkeypatch.setattr(dattention, "DENSE", dense)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))))
    assert len(used) == 1
    for computed, sampled in zip(*results, strict=True):
        torch.testing.assert_close(computed, sampled)
