"""Weighted fusions: AFF, iAFF, GMU, WeightedFusion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo_attn.layers import AFF, GMU, WeightedFusion, iAFF


def maps(count: int = 2, channels: int = 8) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, channels, 4, 5) for _ in range(count)]


def zero_contexts(layer: nn.Module) -> None:
    """Set all contexts to zero, which makes all weights one half."""
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)


@pytest.mark.parametrize(("layer", "factor"), [(AFF([8, 8]), 1), (AFF([8, 8], factor=1), 0.5), (iAFF([8, 8]), 0.5)])
def test_equals_the_sum_or_the_mean_without_context(layer: nn.Module, factor: float) -> None:
    zero_contexts(layer.eval())
    xs = maps()
    torch.testing.assert_close(layer(xs), factor * (xs[0] + xs[1]))


def test_equals_the_formula() -> None:
    torch.manual_seed(0)
    x0, x1 = maps()
    aff, iaff = AFF([8, 8]).eval(), iAFF([8, 8]).eval()
    w = torch.sigmoid(aff.context(x0 + x1))
    torch.testing.assert_close(aff([x0, x1]), 2 * (x0 * w + x1 * (1 - w)))
    w = torch.sigmoid(iaff.context1(x0 + x1))
    v = torch.sigmoid(iaff.context2(x0 * w + x1 * (1 - w)))
    torch.testing.assert_close(iaff([x0, x1]), x0 * v + x1 * (1 - v))


def test_gmu_reads_inputs_of_different_widths_and_gates_each_value() -> None:
    torch.manual_seed(0)
    layer = GMU([8, 12])
    xs = [torch.randn(2, 8, 4, 5, requires_grad=True), torch.randn(2, 12, 4, 5, requires_grad=True)]
    y = layer(xs)
    assert y.shape == (2, 8, 4, 5) and y.abs().max() < 1
    assert layer.weights(xs).shape == (2, 8, 4, 5)
    y.sum().backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in xs)


def test_weighted_fusion_accepts_any_number_of_inputs_and_ignores_negative_weights() -> None:
    xs = maps(3)
    layer = WeightedFusion([8, 8, 8], eps=1e-6)
    torch.testing.assert_close(layer(xs), sum(xs) / 3, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        layer.importance.copy_(torch.tensor([3.0, 1.0, -2.0]))
    torch.testing.assert_close(layer(xs), 0.75 * xs[0] + 0.25 * xs[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", [AFF, iAFF, WeightedFusion])
def test_rejects_different_channels(cls: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: channels=\[8, 16\]; use .*equal numbers"):
        cls([8, 16])
