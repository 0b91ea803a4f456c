"""Layers with a single context for the whole map: EfficientAdditive, SeparableSelfAttention, FocalModulation."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import EfficientAdditive, FocalModulation, SeparableSelfAttention


def test_additive_weights_have_norm_1_or_sum_1() -> None:
    x = torch.randn(2, 8, 4, 5)
    lengths = EfficientAdditive(8).weights(x).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2))
    weights = EfficientAdditive(8, weighting="softmax").weights(x)
    assert weights.shape == (2, 4, 5)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 1)])
def test_each_offset_of_a_patch_has_its_own_context(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = SeparableSelfAttention(8, patch_size=2).eval()
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        logits, key, value = layer.expand(x).split([1, 8, 8], 1)
        scaled = torch.zeros_like(value)
        weights = torch.zeros(2, *size)
        for row in range(min(2, size[0])):
            for column in range(min(2, size[1])):
                offset = (..., slice(row, None, 2), slice(column, None, 2))
                own = logits[offset].flatten(2).softmax(2)
                context = (own * key[offset].flatten(2)).sum(2)
                scaled[offset] = value[offset].relu() * context[:, :, None, None]
                weights[offset] = own.reshape(logits[offset].shape)[:, 0]
        torch.testing.assert_close(layer(x), layer.proj(scaled))
        torch.testing.assert_close(layer.weights(x), weights)


def test_levels_have_growing_kernels_and_a_global_context() -> None:
    torch.manual_seed(0)
    layer = FocalModulation(8, levels=3)
    assert [level[0].kernel_size[0] for level in layer.levels] == [3, 5, 7]
    x = torch.randn(1, 8, 20, 20, requires_grad=True)
    assert layer.weights(x).shape == (1, 4, 20, 20)
    layer(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None and (x.grad.abs().sum(1) > 0).all()


def test_rejects_an_odd_kernel_step() -> None:
    with pytest.raises(ValueError, match=r"^FocalModulation: kernel_step=1; use an even number"):
        FocalModulation(8, kernel_step=1)
