"""CrossAttention with maps of different sizes and channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.layers.pytorch_attention import tokens
from yolo_attn.layers import CrossAttention


def test_equals_pytorch_for_maps_of_different_sizes_and_channels() -> None:
    torch.manual_seed(0)
    layer = CrossAttention([8, 12], heads=2)
    x, memory = torch.randn(2, 8, 4, 5), torch.randn(2, 12, 3, 7)
    reference = nn.MultiheadAttention(8, 2, kdim=12, vdim=12, batch_first=True)
    for name in ("query", "key", "value"):
        setattr(reference, f"{name[0]}_proj_weight", getattr(layer.attention, name).weight)
    reference.out_proj.load_state_dict(layer.attention.out_proj.state_dict())
    read = reference(tokens(x), tokens(memory), tokens(memory))[0]  # the biases of both are initialized to zero
    torch.testing.assert_close(layer([x, memory]), x + read.transpose(1, 2).reshape(x.shape))


def test_output_is_invariant_to_the_scale_of_the_memory_only_with_norm() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(2, 8, 4, 5), torch.randn(2, 8, 4, 5)
    for norm in (False, True):
        layer = CrossAttention([8, 8], norm=norm)
        assert torch.allclose(layer([x, 10 * memory]), layer([x, memory]), atol=1e-4) == norm


def test_without_linear_layers_the_channels_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"^CrossAttention: project=false; use true for inputs of different channel"):
        CrossAttention([8, 16], project=False)


def test_depends_on_the_order_of_the_memory_only_with_sine_positions() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    for position, same in (("none", True), ("sine", False)):
        layer = CrossAttention([8, 8], position=position)
        assert torch.allclose(layer([x, memory.flip(3)]), layer([x, memory]), atol=1e-6) == same
    with pytest.raises(ValueError, match=r"^CrossAttention: channels=6; use a multiple of 4"):
        CrossAttention([8, 6], position="sine")
