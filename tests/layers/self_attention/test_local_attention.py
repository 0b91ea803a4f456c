"""LocalAttention compared with a loop over positions, and the extent of its window."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import LocalAttention


def center(layer: LocalAttention, x: Tensor, i: int, j: int) -> tuple[float, float]:
    if layer.predict is None:
        return i, j
    height, width = x.shape[1:]
    down, right = layer.predict(x[:, i, j]).sigmoid().tolist()
    return min(height * down, height - 1), min(width * right, width - 1)


@pytest.mark.parametrize("predict", [False, True])
def test_equals_the_loop(predict: bool) -> None:
    torch.manual_seed(0)
    layer = LocalAttention(8, radius=2, predict=predict)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(8, 6, 7)
    expected = torch.zeros_like(x)
    for i in range(6):
        for j in range(7):
            row, column = center(layer, x, i, j)
            window = [(r, c) for r in range(6) for c in range(7) if abs(r - row) <= 2 and abs(c - column) <= 2]
            memory = torch.stack([x[:, r, c] for r, c in window])
            weights = (memory @ layer.bilinear(x[:, i, j])).softmax(0)
            if predict:  # sigma = 1
                near = [math.exp(-((r - row) ** 2 + (c - column) ** 2) / 2) for r, c in window]
                weights = weights * torch.tensor(near)
            expected[:, i, j] = layer.combine(torch.cat([weights @ memory, x[:, i, j]])).tanh()
    torch.testing.assert_close(layer(x[None])[0], expected)


def test_a_position_attends_only_to_its_window() -> None:
    torch.manual_seed(0)
    layer = LocalAttention(8, radius=2, predict=False)
    x = torch.randn(1, 8, 9, 10, requires_grad=True)
    layer(x)[0, :, 4, 1].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0) > 0
    assert reached[2:7, :4].all() and reached.sum() == 5 * 4


def test_a_predicted_center_is_on_the_map() -> None:
    layer = LocalAttention(8, radius=1)
    assert layer.predict is not None
    for weight in (100.0, -100.0):
        torch.nn.init.constant_(layer.predict[2].weight, weight)
        x = torch.ones(1, 8, 5, 6, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
