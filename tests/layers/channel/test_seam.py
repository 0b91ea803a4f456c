"""Gates of SEAM and MultiSEAM: their range, few channels, and maps smaller than a patch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import SEAM, MultiSEAM


@pytest.mark.parametrize("cls", [SEAM, MultiSEAM])
def test_gate_is_between_1_and_e(cls: type[SEAM | MultiSEAM]) -> None:
    torch.manual_seed(0)
    layer = cls(16)
    with torch.no_grad():
        layer.amplifier.fc2.weight.mul_(100)
    gate = layer.gate(torch.randn(4, 16, 9, 10))
    assert gate.min() >= 1 and gate.max() <= math.e
    assert gate.min() < 1.2 and gate.max() > 2.5


def test_few_channels_keep_a_hidden_unit() -> None:
    torch.manual_seed(0)
    layer, x = SEAM(8), torch.randn(2, 8, 5, 6)
    assert layer.amplifier.fc1.out_features == 1
    with torch.no_grad():
        layer.amplifier.fc1.weight.copy_(torch.ones(1, 8))
        layer.description[-1].norm.bias.fill_(1)  # the hidden unit is a ReLU
    assert layer.gate(x).std() > 0.01


def test_small_maps_are_padded_at_the_bottom_and_right() -> None:
    torch.manual_seed(0)
    layer = MultiSEAM(4).eval()
    x = torch.randn(1, 4, 6, 2)
    means = [x.mean((2, 3))]
    for description, size in zip(layer.descriptions, [(6, 3), (6, 5), (7, 7)], strict=True):
        padded = F.pad(x, (0, size[1] - 2, 0, size[0] - 6))
        means.append(description(padded).mean((2, 3)))
    torch.testing.assert_close(layer.gate(x), layer.amplifier(sum(means) / 4))
