"""Adaptive pooling as matrix products, windows as convolutions, upsampling as copies."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers.pooling import adaptive_max, adaptive_mean, nearest, window_mean


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 9), (20, 13)])
@pytest.mark.parametrize("grid", [(1, 1), (5, 5), (7, 3), (20, 24)])
def test_equals_pytorch(size: tuple[int, int], grid: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(adaptive_mean(x, *grid), F.adaptive_avg_pool2d(x, grid))
    assert torch.equal(adaptive_max(x, *grid), F.adaptive_max_pool2d(x, grid))


def test_keeps_the_dtype_and_sums_in_float32() -> None:
    x = torch.full((1, 1, 300, 300), 1000, dtype=torch.float16)
    assert torch.equal(adaptive_mean(x, 1, 1), x[:, :, :1, :1])


@pytest.mark.parametrize("extent", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (12, 7)])
def test_windows_equal_pytorch(size: tuple[int, int], extent: int) -> None:
    x = torch.randn(2, 3, *size)
    expected = F.avg_pool2d(x, 2 * extent - 1, extent, extent - 1, count_include_pad=False)
    torch.testing.assert_close(window_mean(x, extent), expected)


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (7, 8)])
def test_nearest_neighbors_equal_pytorch(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, -(-size[0] // 4), -(-size[1] // 4))
    assert torch.equal(nearest(x, *size, 4), F.interpolate(x, size=size))
