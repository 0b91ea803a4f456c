"""CrissCross compared with a loop over positions."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers import CrissCross


def one_pass(layer: CrissCross, x: Tensor) -> Tensor:
    q, k, v = layer.query(x)[0], layer.key(x)[0], layer.value(x)[0]
    y = torch.zeros_like(x[0])
    height, width = x.shape[2:]
    for i in range(height):
        for j in range(width):
            path = [(r, j) for r in range(height) if r != i] + [(i, c) for c in range(width)]
            keys = torch.stack([k[:, r, c] for r, c in path])
            values = torch.stack([v[:, r, c] for r, c in path])
            y[:, i, j] = (keys @ q[:, i, j]).softmax(0) @ values
    return x + layer.residual_scale * y


def test_equals_the_loop_once_and_twice() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 4, 5)
    for recurrence in (1, 2):
        layer = CrissCross(8, reduction=2, recurrence=recurrence)
        torch.nn.init.constant_(layer.residual_scale, 0.8)
        expected = x
        for _ in range(recurrence):
            expected = one_pass(layer, expected)
        torch.testing.assert_close(layer(x), expected)


def test_two_passes_reach_all_positions_and_one_does_not() -> None:
    torch.manual_seed(0)
    for recurrence, reached in ((1, 4 + 5 - 1), (2, 4 * 5)):
        layer = CrissCross(8, recurrence=recurrence)
        torch.nn.init.ones_(layer.residual_scale)
        x = torch.randn(1, 8, 4, 5, requires_grad=True)
        layer(x)[0, :, 1, 2].sum().backward()
        assert x.grad is not None
        assert x.grad[0].abs().sum(0).count_nonzero() == reached


def test_weights_are_a_distribution_that_counts_each_position_once() -> None:
    weights = CrissCross(8).weights(torch.randn(2, 8, 4, 5))
    assert weights.shape == (2, 4, 5, 9)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 4, 5))
    for i in range(4):
        assert (weights[:, i, :, i] == 0).all()  # the position itself is counted in the row
