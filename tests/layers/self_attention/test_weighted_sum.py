"""Weighted sums of neighbors compared with PyTorch's unfold, and their derivatives with finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers.self_attention._weighted_sum import weighted_sum


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_unfold(k: int) -> None:
    weights, values = torch.randn(2, 3, k * k, 4, 5), torch.randn(2, 3, 2, 4, 5)
    neighbors = F.unfold(values.flatten(1, 2), k, padding=k // 2).reshape(2, 3, 2, k * k, 4, 5)
    expected = torch.einsum("bhnyx,bhdnyx->bhdyx", weights, neighbors)
    torch.testing.assert_close(weighted_sum(weights, values, k), expected)


def test_the_derivatives_are_those_of_the_sum() -> None:
    weights, values = (torch.randn(2, 2, n, 3, 4).double().requires_grad_() for n in (9, 3))
    assert torch.autograd.gradcheck(weighted_sum, (weights, values, 3))
