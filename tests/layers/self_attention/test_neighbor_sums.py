"""Sums over neighbors compared with PyTorch's unfold, and their derivatives with finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.self_attention._neighbor_sums import dot_products, weighted_sum


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_unfold(k: int) -> None:
    queries, weights = torch.randn(2, 3, 2, 4, 5), torch.randn(2, 3, k * k, 4, 5)
    padded = torch.randn(2, 3, 2, k + 3, k + 4)
    neighbors = F.unfold(padded.flatten(1, 2), k).reshape(2, 3, 2, k * k, 4, 5)
    products = torch.einsum("bhdyx,bhdnyx->bhnyx", queries, neighbors)
    torch.testing.assert_close(dot_products(queries, padded, k), products)
    total = torch.einsum("bhnyx,bhdnyx->bhdyx", weights, neighbors)
    torch.testing.assert_close(weighted_sum(weights, padded, k), total)


both = pytest.mark.parametrize(("function", "depth"), [(dot_products, 2), (weighted_sum, 9)])


@both
def test_derivatives_equal_differences(function: Callable[..., Tensor], depth: int) -> None:
    first, padded = torch.randn(2, 2, depth, 3, 4).double(), torch.randn(2, 2, 2, 5, 6).double()
    assert torch.autograd.gradcheck(function, (first.requires_grad_(), padded.requires_grad_(), 3))


@pytest.mark.slow
@both
def test_the_compiler_has_the_same_derivatives(function: Callable[..., Tensor], depth: int) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    inputs = [x.requires_grad_() for x in (torch.randn(1, 2, depth, 3, 4), torch.randn(1, 2, 2, 5, 6))]
    expected, found = (torch.autograd.grad(f(*inputs, 3).square().sum(), inputs) for f in (function, compiled))
    torch.testing.assert_close(found, expected)
