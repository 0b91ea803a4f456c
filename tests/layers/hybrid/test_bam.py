"""Branches of BAM and their combination."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers import BAM


def activated(x: Tensor, norm: nn.Module) -> Tensor:
    """Return relu(BN(x)) with the running statistics."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, var, weight, bias = (t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return ((x - mean) / (var + 1e-5).sqrt() * weight + bias).relu()


def test_equals_the_formula() -> None:
    # The reference vector has only two hidden channels, which ReLU sets to zero almost everywhere.
    torch.manual_seed(0)
    layer, x = BAM(32, reduction=2).eval(), 5 * torch.randn(2, 32, 9, 10)
    for name, value in layer.state_dict().items():
        if value.ndim == 1:
            value.uniform_(0.5, 1.5) if "var" in name or "weight" in name else value.normal_(0, 0.3)
    fc1, norm, _, fc2 = layer.channel
    channel = fc2(activated(x.mean((2, 3)) @ fc1.weight.T, norm))
    z = x
    for step, dilation in zip(layer.spatial[:3], (1, 4, 4), strict=True):
        weight = step[0].weight
        z = F.conv2d(z, weight, padding=dilation if weight.shape[2] == 3 else 0, dilation=dilation)
        z = activated(z, step[1])
    spatial = F.conv2d(z, layer.spatial[3].weight, layer.spatial[3].bias)
    assert channel.std(0).mean() > 0.05 and spatial.std() > 0.1
    torch.testing.assert_close(layer(x), x * (1 + (channel[..., None, None] + spatial).sigmoid()))


def test_branches_are_added_or_multiplied() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 5, 6)
    added, multiplied = BAM(32).eval(), BAM(32, combine="multiply").eval()
    multiplied.load_state_dict(added.state_dict())
    channel, spatial = added.channel(x.mean((2, 3)))[..., None, None], added.spatial(x)
    torch.testing.assert_close(added(x), x * (1 + (channel + spatial).sigmoid()))
    torch.testing.assert_close(multiplied(x), x * (1 + (channel * spatial).sigmoid()))


def test_spatial_branch_has_the_reach_of_its_dilations() -> None:
    torch.manual_seed(0)
    layer, x = BAM(16, reduction=2, dilation=3).eval(), torch.randn(1, 16, 21, 21, requires_grad=True)
    (layer.spatial(x)[0, 0, 10, 10]).backward()
    assert x.grad is not None
    reached = x.grad.abs().sum((0, 1)).nonzero()
    assert reached.min().item() == 10 - 6 and reached.max().item() == 10 + 6


def test_has_the_published_size_without_biases_before_norms() -> None:
    assert sum(p.numel() for p in BAM(256).parameters()) == 17_361 - 4 * 16
