"""CrossAttention: two maps of any sizes and channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.layers.pytorch_attention import tokens
from yolo_attn.layers import CrossAttention


def test_equals_pytorch_s_attention_for_maps_of_different_sizes_and_channels() -> None:
    torch.manual_seed(0)
    layer = CrossAttention([8, 12], heads=2)
    x, memory = torch.randn(2, 8, 4, 5), torch.randn(2, 12, 3, 7)
    theirs = nn.MultiheadAttention(8, 2, kdim=12, vdim=12, batch_first=True)
    for name in ("query", "key", "value"):
        setattr(theirs, f"{name[0]}_proj_weight", getattr(layer.attention, name).weight)
    theirs.out_proj.load_state_dict(layer.attention.out_proj.state_dict())
    read = theirs(tokens(x), tokens(memory), tokens(memory))[0]  # its biases start at zero, as ours do
    torch.testing.assert_close(layer([x, memory]), x + read.transpose(1, 2).reshape(x.shape))


def test_norm_makes_the_scale_of_the_memory_irrelevant() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(2, 8, 4, 5), torch.randn(2, 8, 4, 5)
    for norm in (False, True):
        layer = CrossAttention([8, 8], norm=norm)
        assert torch.allclose(layer([x, 10 * memory]), layer([x, memory]), atol=1e-4) == norm


def test_without_linear_maps_the_channels_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"^CrossAttention: project=false; use true for inputs of different channel"):
        CrossAttention([8, 16], project=False)


def test_sine_positions_tell_where_the_memory_is() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    for position, same in (("none", True), ("sine", False)):
        layer = CrossAttention([8, 8], position=position)
        assert torch.allclose(layer([x, memory.flip(3)]), layer([x, memory]), atol=1e-6) == same
    with pytest.raises(ValueError, match=r"^CrossAttention: channels=6; use a multiple of 4"):
        CrossAttention([8, 6], position="sine")
