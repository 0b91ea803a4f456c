"""Waves, grid and channel parts of FCA."""

from __future__ import annotations

import copy
from math import cos, pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers import FCA


def wave(frequency: int, position: int, grid: int) -> float:
    return cos(pi * frequency * (position + 0.5) / grid) * sqrt((2 if frequency else 1) / grid)


def spectrum_by_loops(layer: FCA, x: Tensor) -> Tensor:
    grid = layer.grid_size
    cells = F.adaptive_avg_pool2d(x, grid)
    result = torch.zeros(x.shape[:2], dtype=x.dtype)
    for c, (u, v) in enumerate(zip(layer.rows.tolist(), layer.columns.tolist(), strict=True)):
        for p in range(grid):
            for q in range(grid):
                result[:, c] += cells[:, c, p, q] * wave(u, p, grid) * wave(v, q, grid)
    return result


@pytest.mark.parametrize("size", [(14, 14), (28, 42), (20, 9), (3, 5), (1, 1)])
def test_equals_the_sum_over_the_grid(size: tuple[int, int]) -> None:
    layer, x = FCA(16, grid_size=14), torch.randn(2, 16, *size, dtype=torch.float64)
    torch.testing.assert_close(layer._spectrum(x), spectrum_by_loops(layer, x))


def test_the_first_frequency_is_the_mean() -> None:
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(FCA(8, grid_size=9, frequencies="top1")._spectrum(x), 9 * x.mean((2, 3)))


def test_low_selects_the_lowest_frequencies() -> None:
    layer = FCA(32, grid_size=7, frequencies="low8")
    pairs = set(zip(layer.rows.tolist(), layer.columns.tolist(), strict=True))
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1)}


@pytest.mark.parametrize("order", ["top", "low"])
def test_frequencies_are_unique(order: str) -> None:
    layer = FCA(32, grid_size=7, frequencies=f"{order}32")
    assert len(set(zip(layer.rows.tolist(), layer.columns.tolist(), strict=True))) == 32
    assert min(layer.rows.min(), layer.columns.min()) >= 0 and max(layer.rows.max(), layer.columns.max()) <= 6


def test_waves_scale_with_the_grid() -> None:
    coarse, fine = FCA(16, grid_size=7), FCA(16, grid_size=28)
    assert fine.rows.tolist() == [4 * u for u in coarse.rows.tolist()]
    assert FCA(16, grid_size=20).rows.tolist() == [2 * u for u in coarse.rows.tolist()]


def test_channels_are_split_evenly_over_frequencies() -> None:
    for channels, least, most in [(256, 16, 16), (24, 1, 2), (8, 1, 1)]:
        layer = FCA(channels)
        pairs = list(zip(layer.rows.tolist(), layer.columns.tolist(), strict=True))
        counts = [pairs.count(pair) for pair in set(pairs)]
        assert (min(counts), max(counts)) == (least, most)


@pytest.mark.parametrize(("channels", "grid"), [(16, 56), (64, 56), (128, 28), (256, 14), (512, 7), (1024, 7)])
def test_default_grid_is_the_authors(channels: int, grid: int) -> None:
    assert FCA(channels).grid_size == grid


def test_half_precision_keeps_the_waves_exact() -> None:
    layer, x = FCA(16), torch.randn(1, 16, 9, 9)
    before = layer._spectrum(x)
    assert torch.equal(copy.deepcopy(layer).half().float()._spectrum(x), before)


def test_grid_below_the_base_is_an_error() -> None:
    with pytest.raises(ValueError, match="FCA: grid_size=6; use an integer of at least 7"):
        FCA(16, grid_size=6)
