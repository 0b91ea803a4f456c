"""Neighborhoods compared with PyTorch's unfold and padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers.self_attention._neighborhood import neighbors, reflect


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbors_equal_unfold(k: int) -> None:
    x = torch.randn(2, 3, 4, 5)
    expected = F.unfold(x, k, padding=k // 2).reshape(2, 3, k * k, 4, 5)
    assert torch.equal(torch.stack(neighbors(x, k), 2), expected)


def test_reflect_equals_pytorch() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(reflect(x, 3), F.pad(x, (3, 3, 3, 3), mode="reflect"))


def test_reflect_repeats_on_small_maps() -> None:
    assert reflect(torch.tensor([[[[1.0, 2.0]]]]), 3)[0, 0, 0].tolist() == [2, 1, 2, 1, 2, 1, 2, 1]
    assert torch.equal(reflect(torch.ones(1, 1, 1, 1), 2), torch.ones(1, 1, 5, 5))
