"""Patches of PPA against a loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers import PPA
from yolo_attn.layers.block.ppa import PatchAttention


def by_patches(layer: PatchAttention, x: Tensor) -> Tensor:
    """Return the attention of one image, patch by patch."""
    p, (height, width) = layer.patch, x.shape[2:]
    x = F.pad(x, (0, max(p - width, 0), 0, max(p - height, 0)))
    rows, columns = x.shape[2] // p, x.shape[3] // p
    result = torch.zeros(1, x.shape[1], rows, columns)
    for i in range(rows):
        for j in range(columns):
            r = x[0, :, i * p : (i + 1) * p, j * p : (j + 1) * p].mean(0).flatten()
            hidden = layer.norm(layer.fc1.weight.flatten(1) @ r + layer.fc1.bias)
            t = layer.fc2.weight[:, :, 0, 0] @ hidden + layer.fc2.bias
            o = t * t.softmax(0)
            o = o * F.cosine_similarity(o, layer.prompt, 0).clamp(0, 1)
            result[0, :, i, j] = layer.transform.weight[:, :, 0, 0] @ o
    return layer.proj(F.interpolate(result, (height, width), mode="bilinear"))


@pytest.mark.parametrize("size", [(8, 12), (9, 11), (4, 4), (3, 9), (1, 1)])
@pytest.mark.parametrize("patch", [2, 4])
def test_patches_equal_a_loop(patch: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = PatchAttention(6, patch), torch.randn(1, 6, *size)
    torch.nn.init.normal_(layer.transform.weight)
    torch.testing.assert_close(layer(x), by_patches(layer, x))


def test_gates_channels_then_positions() -> None:
    torch.manual_seed(0)
    layer, x = PPA(8).eval(), torch.randn(1, 8, 6, 7)
    channels, positions = (attention.values for attention in layer.attention_maps([x]))
    gated = layer._sum(x) * channels[:, None, None] * positions
    torch.testing.assert_close(layer(x), layer.norm(gated).relu())
