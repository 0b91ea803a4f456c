"""TransformerDecoder compared with PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.layers.pytorch_attention import copy_attention, tokens
from yolo_attn.layers import TransformerDecoder


@pytest.mark.parametrize("normalize_before", [False, True])
def test_equals_pytorch(normalize_before: bool) -> None:
    torch.manual_seed(0)
    layer = TransformerDecoder([8, 8], layers=2, heads=2, position="none", normalize_before=normalize_before)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x, memory = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 5, 2)
    expected = tokens(x)
    for decoder_layer in layer.layers:
        reference = nn.TransformerDecoderLayer(8, 2, 32, dropout=0.0, batch_first=True, norm_first=normalize_before)
        copy_attention(decoder_layer.self_attention, reference.self_attn)
        copy_attention(decoder_layer.cross_attention, reference.multihead_attn)
        reference.linear1.load_state_dict(decoder_layer.feed_forward[0].state_dict())
        reference.linear2.load_state_dict(decoder_layer.feed_forward[2].state_dict())
        for name in ("norm1", "norm2", "norm3"):
            getattr(reference, name).load_state_dict(getattr(decoder_layer, name).state_dict())
        expected = reference(expected, tokens(memory))
    torch.testing.assert_close(tokens(layer([x, memory])), layer.norm(expected), atol=1e-4, rtol=1e-4)


def test_accepts_maps_of_different_sizes_and_channels() -> None:
    layer = TransformerDecoder([8, 12])
    x = torch.randn(2, 8, 6, 6)
    assert layer([x, torch.randn(2, 12, 3, 4)]).shape == x.shape
