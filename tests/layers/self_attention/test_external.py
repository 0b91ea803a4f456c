"""The memory of External."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import External


@pytest.mark.parametrize("heads", [None, 2])
def test_the_weights_of_a_position_sum_to_one(heads: int | None) -> None:
    torch.manual_seed(0)
    weights = External(8, heads=heads, memory=5).weights(torch.randn(2, 8, 3, 4))
    assert weights.shape == (2, 8 if heads else 1, 12, 5)
    torch.testing.assert_close(weights.sum(3), torch.ones(weights.shape[:3]))


def test_values_are_initialized_to_the_transposed_keys_without_sharing_memory() -> None:
    layer = External(8)
    assert torch.equal(layer.value.weight, layer.key.weight.t())
    assert layer.value.weight.data_ptr() != layer.key.weight.data_ptr()


def test_double_normalization_equals_the_loop() -> None:
    torch.manual_seed(0)
    layer, x = External(4, memory=3), torch.randn(1, 4, 2, 3)
    with torch.no_grad():
        tokens = layer.query(x)[0].flatten(1).T  # (6, 4)
        scores = torch.stack([(tokens @ layer.key.weight[unit]).softmax(0) for unit in range(3)], 1)
        expected = torch.stack([row / row.sum() for row in scores])
        torch.testing.assert_close(layer.weights(x)[0, 0], expected)
