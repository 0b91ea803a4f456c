"""Halves and gates of GLSA."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import GLSA


def test_equals_its_formula_with_an_odd_number_of_channels() -> None:
    torch.manual_seed(0)
    layer, x = GLSA(7, out_channels=6).eval(), torch.randn(2, 7, 5, 4)
    with torch.no_grad():
        torch.nn.init.normal_(layer.context.fc2.weight)
    u, v = layer.local(x[:, :3]), layer.whole(x[:, 3:])
    weights = layer.context.weights(v).reshape(2, 1, 5, 4)
    context = layer.context
    hidden = context.norm(context.fc1((v * weights).sum((2, 3)))).relu()
    g = context.fc2(hidden).sigmoid()[..., None, None]
    both = torch.cat([u * (1 + layer.details(u).sigmoid()), v * (1 + g)], 1)
    torch.testing.assert_close(layer(x), layer.norm(layer.proj(both)).relu())


def test_gates_are_at_least_one_half_and_initially_one_half() -> None:
    torch.manual_seed(0)
    layer, x = GLSA(8), torch.randn(1, 8, 5, 4)
    local, whole, context = layer.attention_maps([x])
    assert local.values.min() >= 1.5
    assert torch.equal(whole.values, torch.full((8,), 1.5))
    assert context.values.mean().item() == pytest.approx(1, abs=1e-5)


def test_one_channel_is_rejected() -> None:
    with pytest.raises(ValueError, match="GLSA: channels=1; use 2 or more"):
        GLSA(1)
