"""Size and gate range of ESE."""

from __future__ import annotations

import torch

from yolo_attn.layers import ESE


def test_the_gate_reaches_zero_and_one() -> None:
    layer = ESE(4)
    with torch.no_grad():
        layer.fc.weight.zero_()
        layer.fc.bias.copy_(torch.tensor([-4.0, -1.5, 0.0, 4.0]))
        gate = layer.gate(torch.randn(1, 4, 3, 5))
    torch.testing.assert_close(gate.flatten(), torch.tensor([0, 0.25, 0.5, 1]))


def test_parameter_count_is_one_linear_layer() -> None:
    assert sum(p.numel() for p in ESE(256).parameters()) == 256 * 256 + 256
