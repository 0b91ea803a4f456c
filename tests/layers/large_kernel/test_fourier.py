"""Depthwise convolutions with large kernels by Fourier transforms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from yolo_attn.layers.large_kernel import _fourier
from yolo_attn.layers.large_kernel._fourier import depthwise


@pytest.mark.parametrize("size", [(1, 1), (7, 20), (33, 5)])
@pytest.mark.parametrize("kernel_size", [(15, 15), (17, 31)])
def test_equals_the_convolution(size: tuple[int, int], kernel_size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(3, 1, *kernel_size, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (x, weight, torch.randn(3, dtype=torch.float64))]
    expected = F.conv2d(*leaves, padding=[k // 2 for k in kernel_size], groups=3)
    y = depthwise(*leaves)
    torch.testing.assert_close(y, expected)
    cotangent = torch.randn_like(y)
    pairs = zip(*(torch.autograd.grad(result, leaves, cotangent) for result in (y, expected)), strict=True)
    for gradient, reference in pairs:
        torch.testing.assert_close(gradient, reference)


@pytest.mark.parametrize(("size", "transformed"), [(13, False), (15, True)])
def test_small_kernels_are_convolutions(size: int, transformed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(_fourier, "_from_spectra", lambda x, kernel: called.append(kernel) or x)
    depthwise(torch.zeros(1, 2, 20, 20), torch.zeros(2, 1, size, size), torch.zeros(2))
    assert bool(called) is transformed


def test_half_precision_gives_a_result_in_float32() -> None:
    x, weight, bias = torch.randn(1, 2, 20, 20), torch.randn(2, 1, 15, 15), torch.randn(2)
    narrow = [t.bfloat16() for t in (x, weight, bias)]
    y = depthwise(*narrow)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, depthwise(*(t.float() for t in narrow)))


class Convolution(nn.Module):
    """A depthwise convolution with a large kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 15, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.conv.bias is not None
        return depthwise(x, self.conv.weight, self.conv.bias)


def test_compiled_layers_transform_and_exported_graphs_convolve() -> None:
    layer, x = Convolution().eval(), torch.randn(1, 2, 20, 20)
    graphs: list[str] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    compiled = torch.compile(layer, fullgraph=True, backend=keep)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x))
        traced = torch.jit.trace(layer, x)
        torch.testing.assert_close(traced(x), layer(x), atol=1e-5, rtol=1e-5)
    knows_exports = hasattr(torch.compiler, "is_exporting")
    assert ("rfft2" in graphs[0]) is knows_exports
    assert "fft" not in str(traced.inlined_graph)
    if knows_exports:
        assert "fft" not in torch.export.export(layer, (x,)).graph_module.code


@pytest.mark.parametrize(("least", "length"), [(1, 1), (7, 8), (111, 120), (1025, 1080)])
def test_lengths_have_small_prime_factors(least: int, length: int) -> None:
    assert _fourier._fast_length(least) == length
