"""PyTorch's attention as a reference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.self_attention._attention import Attention


def copy_attention(source: Attention, target: nn.MultiheadAttention) -> None:
    """Copy the weights of an attention to PyTorch's."""
    parts = [source.query, source.key, source.value]
    target.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
    target.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
    target.out_proj.load_state_dict(source.out_proj.state_dict())


def tokens(x: Tensor) -> Tensor:
    """Return a map as tokens, (B, HW, C)."""
    return x.flatten(2).transpose(1, 2)
