"""Statistics and products of maps against PyTorch's operators, with their derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers.base import product
from yolo_attn.layers.hybrid.simam import SimAM
from yolo_attn.layers.statistics import mean, mean_and_max

AXES = [(1,), (2,), (2, 3), (1, 3)]


def features(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 3, 5, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("dims", AXES)
def test_the_mean(dims: tuple[int, ...], keepdim: bool) -> None:
    x = features()
    found, expected = mean(x, *dims, keepdim=keepdim), x.mean(dims, keepdim=keepdim)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, cotangent) for y in (found, expected)))
    assert torch.autograd.gradgradcheck(lambda x: mean(x.sin(), *dims, keepdim=keepdim), x)


@pytest.mark.parametrize("dims", AXES)
def test_mean_and_maximum(dims: tuple[int, ...]) -> None:
    x = features().detach()
    x[0, :2] = x[0, :1, :1, :1]  # equal values, which share the gradient of the maximum
    x.requires_grad_()
    found, expected = mean_and_max(x, *dims), (x.mean(dims, keepdim=True), x.amax(dims, keepdim=True))
    torch.testing.assert_close(found, expected)
    cotangents = [torch.randn_like(y) for y in expected]
    torch.testing.assert_close(*(torch.autograd.grad(y, x, cotangents) for y in (found, expected)))


def test_mean_and_maximum_have_second_derivatives() -> None:
    assert torch.autograd.gradgradcheck(lambda x: mean_and_max(x.sin(), 2, 3), features())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_do_not_overflow(dtype: torch.dtype) -> None:
    x = torch.full((1, 2, 80, 80), 1000.0, dtype=dtype, requires_grad=True)
    for y in (mean(x, 2, 3), *mean_and_max(x, 2, 3)):
        assert y.dtype == dtype
        assert torch.all(y == 1000)
        (gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        torch.testing.assert_close(gradient.double().sum((2, 3)), torch.ones(1, 2).double(), rtol=0.01, atol=0)
    assert mean(x, 2, 3, dtype=torch.float32).dtype == torch.float32


def test_a_product_changes_neither_x_nor_gates() -> None:
    x, rows, columns = features(), torch.rand(2, 4, 3, 1).double(), torch.rand(2, 4, 1, 5).double()
    before = [tensor.clone() for tensor in (x, rows, columns)]
    expected = x * rows * columns
    torch.testing.assert_close(product(x, rows, columns), expected)
    with torch.no_grad():
        torch.testing.assert_close(product(x, rows, columns), expected)
    torch.testing.assert_close([x, rows, columns], before)


def test_simam_equals_its_formula() -> None:
    layer, x = SimAM(4).double(), features()
    found, expected = layer(x), x * layer.gate(x)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, cotangent) for y in (found, expected)))


def test_compiled_code_has_no_functions_of_ours() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    layer, x = SimAM(4), features(torch.float32)
    compiled = torch.compile(lambda x: layer(x) + mean_and_max(x, 2, 3)[1], backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x) + x.amax((2, 3), keepdim=True))
    assert len(graphs) == 1
    assert not any("autograd_function" in str(node.target) for node in graphs[0].graph.nodes)
