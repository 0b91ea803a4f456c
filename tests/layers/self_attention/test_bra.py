"""BRA: routing between regions."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers import BRA


def full_attention(layer: BRA, x: Tensor) -> Tensor:
    q, k, v = layer.qkv(x).chunk(3, 1)
    heads = [t.flatten(2).unflatten(1, (layer.heads, -1)) for t in (q, k, v)]  # (B, heads, d, N)
    weights = (heads[0].transpose(2, 3) @ heads[1] * layer.channels**-0.5).softmax(3)
    y = (weights @ heads[2].transpose(2, 3)).transpose(2, 3).reshape(x.shape)
    return layer.proj(y + layer.dwconv(v))


def test_equals_full_attention_when_routed_to_all_regions() -> None:
    torch.manual_seed(0)
    layer = BRA(8, heads=2, grid_size=3, topk=1000)
    for size in ((6, 9), (7, 11), (2, 4), (1, 1)):  # the grid does not divide the last three
        x = torch.randn(2, 8, *size)
        torch.testing.assert_close(layer(x), full_attention(layer, x))


def test_both_forms_are_equal_if_the_regions_divide_the_map() -> None:
    torch.manual_seed(0)
    layer, legacy = BRA(8, grid_size=3, topk=2), BRA(8, grid_size=3, topk=2, legacy=True)
    legacy.load_state_dict(layer.state_dict())
    fitting, other = torch.randn(2, 8, 6, 9), torch.randn(2, 8, 7, 9)
    torch.testing.assert_close(layer(fitting), legacy(fitting))
    assert not torch.allclose(layer(other), legacy(other))


def test_a_position_attends_to_topk_regions() -> None:
    torch.manual_seed(0)
    layer = BRA(8, grid_size=3, topk=2, kernel_size=1)
    x = torch.randn(1, 8, 6, 9, requires_grad=True)
    layer(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0).reshape(3, 2, 3, 3).transpose(1, 2).flatten(2).flatten(0, 1) > 0
    whole = reached[1:].all(1)
    assert reached[1:].any(1).equal(whole)  # all keys and values of a region are used
    assert whole.sum() + reached[0].all() == 2
