"""Convolutions, windows and heads of SCSA."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import SCSA


def test_channels_must_be_a_multiple_of_four() -> None:
    with pytest.raises(ValueError, match=r"SCSA: channels=6; use a multiple of 4"):
        SCSA(6)


def test_each_quarter_of_the_channels_has_its_own_kernel_size() -> None:
    layer, means = SCSA(4), torch.zeros(1, 4, 21)
    means[..., 10] = 1
    for strip in layer.convs:
        torch.nn.init.ones_(strip.weight)
        torch.nn.init.zeros_(strip.bias)
    assert (layer._along(means)[0] != 0).sum(1).tolist() == [3, 5, 7, 9]


def test_windows_are_complete_and_small_maps_are_padded() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(1, 4, 1, 1)
    layer = SCSA(4, window=3)
    torch.testing.assert_close(layer._windows(x)[0, 0, 1, 1], x[0, 0, 3:6, 3:6].mean())
    assert layer._windows(x).shape == (1, 4, 2, 2)
    torch.testing.assert_close(SCSA(4)._windows(torch.full((1, 4, 2, 9), 3.0)), torch.full((1, 4, 1, 1), 3.0))


def test_one_channel_per_head_reduces_to_the_mean_values() -> None:
    # The softmax over one channel is 1, which leaves the sigmoid of the mean values.
    layer, x = SCSA(8, heads=8).eval(), torch.randn(2, 8, 14, 14)
    z = layer.norm(layer._windows(x))
    torch.testing.assert_close(layer._channel_gate(x), torch.sigmoid(layer.value(z).mean((2, 3), keepdim=True)))
