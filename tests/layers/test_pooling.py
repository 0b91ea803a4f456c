"""Adaptive pooling as matrix products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers.pooling import adaptive_mean


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 9), (20, 13)])
@pytest.mark.parametrize("grid", [(1, 1), (5, 5), (7, 3), (20, 24)])
def test_equals_pytorch(size: tuple[int, int], grid: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(adaptive_mean(x, *grid), F.adaptive_avg_pool2d(x, grid))


def test_keeps_the_dtype_and_sums_in_float32() -> None:
    x = torch.full((1, 1, 300, 300), 1000, dtype=torch.float16)
    assert torch.equal(adaptive_mean(x, 1, 1), x[:, :, :1, :1])
