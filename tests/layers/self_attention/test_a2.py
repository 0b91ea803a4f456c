"""A2: gathering and distributing descriptors."""

from __future__ import annotations

import torch

from yolo_attn.layers import A2


def test_equals_the_loop() -> None:
    torch.manual_seed(0)
    layer, x = A2(8, residual=False), torch.randn(1, 8, 3, 4)
    features, gather, distribute = (c(x)[0].flatten(1) for c in (layer.features, layer.gather, layer.distribute))
    descriptors = [features @ logits.softmax(0) for logits in gather]
    outputs = []
    for n in range(12):
        shares = distribute[:, n].softmax(0)
        outputs.append(sum(share * descriptor for share, descriptor in zip(shares, descriptors, strict=True)))
    expected = layer.proj(torch.stack(outputs, 1).reshape(1, -1, 3, 4))
    torch.testing.assert_close(layer(x), expected)


def test_adds_the_input() -> None:
    torch.manual_seed(0)
    layer, x = A2(8), torch.randn(1, 8, 3, 4)
    torch.nn.init.zeros_(layer.proj.weight)
    torch.nn.init.zeros_(layer.proj.bias)
    assert torch.equal(layer(x), x)


def test_each_descriptor_is_a_weighted_mean_of_positions() -> None:
    weights = A2(16).weights(torch.randn(2, 16, 3, 4))
    assert weights.shape == (2, 4, 3, 4)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(2, 4))


def test_keeps_channels_last() -> None:
    torch.manual_seed(0)
    layer, x = A2(8, residual=False), torch.randn(2, 8, 3, 4)
    last = layer(x.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, layer(x))
