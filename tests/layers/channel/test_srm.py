"""SRM: the style of each channel."""

from __future__ import annotations

import torch

from yolo_attn.layers import SRM


def test_begins_as_one_half() -> None:
    assert torch.equal(SRM(8).gate(torch.randn(2, 8, 5, 6)), torch.full((2, 8, 1, 1), 0.5))


def test_reads_mean_and_standard_deviation() -> None:
    layer, x = SRM(4).eval(), torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([1.0, 0, 1, 2]))
        layer.std_weight.copy_(torch.tensor([0.0, 1, 1, -1]))
    style = layer.mean_weight * x.mean((2, 3)) + layer.std_weight * x.std((2, 3))
    torch.testing.assert_close(layer.gate(x)[..., 0, 0], style.sigmoid(), rtol=1e-4, atol=1e-4)


def test_channels_know_nothing_of_each_other() -> None:
    layer, x = SRM(4).eval(), torch.randn(1, 4, 5, 6)
    torch.nn.init.normal_(layer.std_weight)
    changed = x.clone()
    changed[:, 2] *= 3
    same = (layer.gate(changed) == layer.gate(x)).flatten()
    assert same.tolist() == [True, True, False, True]
