"""Attention map and context of GC."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yolo_attn.layers import GC


def test_equals_the_formula() -> None:
    # The reference vector has only two hidden units, whose layer norm keeps little more than their order.
    torch.manual_seed(0)
    layer, x = GC(32, reduction=2), torch.randn(2, 32, 5, 6)
    torch.nn.init.normal_(layer.fc2.weight)
    energy = torch.einsum("c,bchw->bhw", layer.attn.weight.flatten(), x)
    weights = energy.exp() / energy.exp().sum((1, 2), keepdim=True)
    context = torch.einsum("bhw,bchw->bc", weights, x)
    added = layer.fc2(F.layer_norm(layer.fc1(context), (16,)).relu())
    torch.testing.assert_close(layer(x), x + added[..., None, None])


def test_adds_the_same_vector_at_every_position() -> None:
    torch.manual_seed(0)
    layer, x = GC(32), torch.randn(2, 32, 5, 6)
    torch.nn.init.normal_(layer.fc2.weight)
    added = layer(x) - x
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(x))
    assert added.abs().max() > 0.1


def test_weights_sum_to_one_and_follow_the_logits() -> None:
    torch.manual_seed(0)
    layer, x = GC(8), torch.randn(2, 8, 5, 6)
    weights = layer.weights(x)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert torch.equal(weights.argmax(1), layer.attn(x).flatten(1).argmax(1))


def test_is_the_identity_with_either_init() -> None:
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(GC(16)(x), x)
    assert GC(16, init="identity").gamma is None


def test_has_the_published_size_without_the_logit_bias() -> None:
    assert sum(p.numel() for p in GC(256).parameters()) == 8_753 - 1
