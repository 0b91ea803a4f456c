"""TransformerEncoder compared with PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.layers.pytorch_attention import copy_attention, tokens
from yolo_attn.layers import TransformerEncoder


@pytest.mark.parametrize("normalize_before", [False, True])
def test_equals_pytorch(normalize_before: bool) -> None:
    torch.manual_seed(0)
    layer = TransformerEncoder(8, layers=2, heads=2, position="none", normalize_before=normalize_before)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 8, 3, 4)
    expected = tokens(x)
    for encoder_layer in layer.layers:
        reference = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True, norm_first=normalize_before)
        copy_attention(encoder_layer.attention, reference.self_attn)
        reference.linear1.load_state_dict(encoder_layer.feed_forward[0].state_dict())
        reference.linear2.load_state_dict(encoder_layer.feed_forward[2].state_dict())
        reference.norm1.load_state_dict(encoder_layer.norm1.state_dict())
        reference.norm2.load_state_dict(encoder_layer.norm2.state_dict())
        expected = reference(expected)
    if layer.norm is not None:
        expected = layer.norm(expected)
    torch.testing.assert_close(tokens(layer(x)), expected, atol=1e-4, rtol=1e-4)


def test_initialization_equals_detr() -> None:
    layer = TransformerEncoder(64).layers[0]
    wide, square = (6 / (64 + 3 * 64)) ** 0.5, (6 / (64 + 64)) ** 0.5
    for linear, bound in ((layer.attention.query, wide), (layer.attention.out_proj, square)):
        assert 0.95 * bound < linear.weight.abs().max() <= bound
        assert (linear.bias == 0).all()
