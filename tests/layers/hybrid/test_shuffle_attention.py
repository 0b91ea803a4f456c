"""Groups, halves and shuffle of ShuffleAttention."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import ShuffleAttention


def test_initial_gate_is_constant() -> None:
    x = torch.randn(2, 8, 3, 4)
    gate = torch.sigmoid(torch.tensor(1.0))
    torch.testing.assert_close(ShuffleAttention(8, shuffle=False)(x), gate * x)
    torch.testing.assert_close(ShuffleAttention(8)(x), gate * x[:, [0, 4, 1, 5, 2, 6, 3, 7]])


def test_groups_share_their_parameters() -> None:
    torch.manual_seed(0)
    layer = ShuffleAttention(16, groups=2, shuffle=False)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    half = torch.randn(2, 8, 3, 4)
    first, second = layer(torch.cat([half, half], 1)).chunk(2, 1)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("channels", "groups"), [(256, 64), (24, 4), (100, 2), (8, 4)])
def test_groups_are_reduced_to_divide_half_the_channels(channels: int, groups: int) -> None:
    assert ShuffleAttention(channels).groups == groups


def test_odd_number_of_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match="ShuffleAttention: channels=3; use an even number"):
        ShuffleAttention(3)
