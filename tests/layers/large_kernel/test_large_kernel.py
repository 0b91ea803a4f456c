"""The large-kernel layers: receptive fields and products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import LKA, LSK, LSKA, MSCA, StripAttention
from yolo_attn.layers.large_kernel._large_kernel import LargeKernel


def receptive_field(layer: LargeKernel) -> list[int]:
    """Return the number of rows and columns of the input that the center of the map depends on."""
    x = torch.randn(1, 2, 61, 61, requires_grad=True)
    layer.attention(x)[0, 0, 30, 30].backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0) > 0
    return [int(reached.any(axis).sum()) for axis in (1, 0)]


@pytest.mark.parametrize("kernel_size", [7, 11, 23, 35, 41, 53])
def test_lska_has_its_nominal_receptive_field(kernel_size: int) -> None:
    layer = LSKA(2, kernel_size=kernel_size)
    for parameter in layer.parameters():
        torch.nn.init.ones_(parameter)
    assert receptive_field(layer) == [kernel_size, kernel_size]


def test_layers_have_the_documented_receptive_fields() -> None:
    assert receptive_field(LKA(2)) == [23, 23]
    assert receptive_field(MSCA(2, kernel_sizes=(7, 11, 21))) == [25, 25]
    assert receptive_field(StripAttention(2)) == [23, 23]  # 5 + 19 - 1


@pytest.mark.parametrize("cls", [LKA, LSKA, LSK, MSCA, StripAttention])
def test_weights_multiply_the_input_or_its_projection(cls: type[LargeKernel]) -> None:
    x = torch.randn(2, 8, 9, 7)
    layer = cls(8)  # type: ignore[call-arg]
    torch.testing.assert_close(layer(x), x * layer.weights(x))
    layer = cls(8, project=True)  # type: ignore[call-arg]
    assert layer.proj_in is not None and layer.proj_out is not None
    torch.testing.assert_close(layer(x), x + layer.proj_out(F.gelu(layer.proj_in(x)) * layer.weights(x)))


def test_lsk_selects_the_small_or_the_large_receptive_field() -> None:
    layer, x = LSK(8), torch.randn(1, 8, 9, 9)
    torch.nn.init.zeros_(layer.select.weight)
    assert layer.select.bias is not None
    with torch.no_grad():
        layer.select.bias.copy_(torch.tensor([100.0, -100.0]))  # near alone
    torch.testing.assert_close(layer.attention(x), layer.expand(layer.reduce_near(layer.near(x))))
    with torch.no_grad():
        layer.select.bias.copy_(torch.tensor([-100.0, 100.0]))  # far alone
    torch.testing.assert_close(layer.attention(x), layer.expand(layer.reduce_far(layer.far(layer.near(x)))))
