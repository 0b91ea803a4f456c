"""PyTorch's own attention as a reference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.self_attention._attention import Attention


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    """Give PyTorch's attention the weights of ours."""
    parts = [ours.query, ours.key, ours.value]
    theirs.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


def tokens(x: Tensor) -> Tensor:
    """Return a map as its cells, (B, HW, C)."""
    return x.flatten(2).transpose(1, 2)
