"""CGAFusion and CAFMFusion against loops, also on maps smaller than their padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from yolo_attn.layers import CAFMFusion, CGAFusion
from yolo_attn.layers.fusion._pixel_fusion import PixelFusion


def gate_by_loops(layer: PixelFusion, total: Tensor, pattern: Tensor) -> Tensor:
    """Return the logits of the weights, channel by channel, with the padding of NumPy."""
    planes = []
    weight, bias = layer.gate.weight.detach(), layer.gate.bias.detach()
    for c in range(total.shape[1]):
        plane = torch.zeros(total.shape[2:]) + bias[c]
        for part, x in enumerate((total[0, c], pattern[0, c])):
            padded = torch.from_numpy(np.pad(x.numpy(), 3, mode="reflect"))
            for i in range(7):
                for j in range(7):
                    plane += weight[c, part, i, j] * padded[i : i + x.shape[0], j : j + x.shape[1]]
        planes.append(plane)
    return torch.stack(planes)[None]


@pytest.mark.parametrize("cls", [CGAFusion, CAFMFusion])
@pytest.mark.parametrize("size", [(5, 9), (2, 3)])
@pytest.mark.parametrize("double_sigmoid", [False, True])
def test_equals_the_formula(cls: type[PixelFusion], size: tuple[int, int], double_sigmoid: bool) -> None:
    torch.manual_seed(0)
    layer = cls([8, 8], double_sigmoid=double_sigmoid).eval()
    x0, x1 = torch.randn(1, 8, *size), torch.randn(1, 8, *size)
    with torch.no_grad():
        total = x0 + x1
        w = gate_by_loops(layer, total, layer.pattern(total)).sigmoid()
        w = w.sigmoid() if double_sigmoid else w
        torch.testing.assert_close(layer.weights([x0, x1]), w)
        torch.testing.assert_close(layer([x0, x1]), layer.proj(total + w * x0 + (1 - w) * x1))


def test_two_sigmoids_never_let_the_second_input_outweigh_the_first() -> None:
    xs = [torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    torch.manual_seed(0)
    weights = CGAFusion([8, 8], double_sigmoid=True).weights(xs)
    assert weights.min() > 0.5 and weights.max() < 0.732
    torch.manual_seed(0)
    assert CGAFusion([8, 8]).weights(xs).min() < 0.45
