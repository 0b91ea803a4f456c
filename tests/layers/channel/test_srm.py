"""Style features of SRM."""

from __future__ import annotations

import torch

from yolo_attn.layers import SRM


def test_initial_gate_is_one_half() -> None:
    assert torch.equal(SRM(8).gate(torch.randn(2, 8, 5, 6)), torch.full((2, 8, 1, 1), 0.5))


def test_gate_depends_on_mean_and_standard_deviation() -> None:
    layer, x = SRM(4).eval(), torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([1.0, 0, 1, 2]))
        layer.std_weight.copy_(torch.tensor([0.0, 1, 1, -1]))
    style = layer.mean_weight * x.mean((2, 3)) + layer.std_weight * x.std((2, 3))
    torch.testing.assert_close(layer.gate(x)[..., 0, 0], style.sigmoid(), rtol=1e-4, atol=1e-4)


def test_channels_are_independent() -> None:
    layer, x = SRM(4).eval(), torch.randn(1, 4, 5, 6)
    torch.nn.init.normal_(layer.std_weight)
    changed = x.clone()
    changed[:, 2] *= 3
    same = (layer.gate(changed) == layer.gate(x)).flatten()
    assert same.tolist() == [True, True, False, True]
