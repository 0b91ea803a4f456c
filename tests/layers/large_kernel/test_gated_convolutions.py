"""Moga and gnConv with numbers of channels that their code cannot take."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import Moga, gnConv


@pytest.mark.parametrize(("channels", "widths"), [(16, [2, 6, 8]), (20, [3, 7, 10]), (3, [1, 1, 1]), (1, [1, 0, 0])])
def test_parts_are_rounded_down_but_the_first(channels: int, widths: list[int]) -> None:
    layer = Moga(channels)
    assert layer.widths == widths
    assert layer(torch.randn(1, channels, 4, 5)).shape == (1, channels, 4, 5)


@pytest.mark.parametrize(("channels", "widths"), [(64, [4, 8, 16, 32, 64]), (24, [3, 6, 12, 24]), (7, [7])])
def test_the_order_is_lowered_to_divide_the_channels(channels: int, widths: list[int]) -> None:
    assert gnConv(channels, order=5).widths == widths
