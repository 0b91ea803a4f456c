"""Paper form of Polarized, which the authors' code does not have."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers import Polarized


def paper_gates(layer: Polarized, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the channel gate of x and the spatial gate of y, position by position, for a batch of one."""
    (_, _, h, w), positions = x.shape, [(i, j) for i in range(x.shape[2]) for j in range(x.shape[3])]
    query = layer.channel_query(x)[0, 0]
    shares = query.flatten().softmax(0)
    value = layer.channel_value(x)[0]
    context = sum(shares[n] * value[:, i, j] for n, (i, j) in enumerate(positions))
    assert isinstance(context, Tensor)
    channel = torch.sigmoid(layer.up(context.view(1, -1, 1, 1)))
    weights = layer.spatial_query(y)[0].mean((1, 2)).softmax(0)
    value = layer.spatial_value(y)[0]
    spatial = torch.sigmoid(torch.stack([weights @ value[:, i, j] for i, j in positions]).view(1, 1, h, w))
    return channel, spatial


def test_paper_form_parallel() -> None:
    layer, x = Polarized(8, paper_form=True).eval(), torch.randn(1, 8, 3, 4)
    channel, spatial = paper_gates(layer, x, x)
    torch.testing.assert_close(layer(x), x * channel + x * spatial)


def test_paper_form_sequential() -> None:
    layer, x = Polarized(8, mode="s", paper_form=True).eval(), torch.randn(1, 8, 3, 4)
    channel, _ = paper_gates(layer, x, x)
    _, spatial = paper_gates(layer, x, x * channel)
    torch.testing.assert_close(layer(x), x * channel * spatial)


def test_spatial_gate_of_the_code_form_is_nearly_constant() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 20, 20)
    assert Polarized(32)._spatial_gate(x).std() < 0.01
    assert Polarized(32, paper_form=True)._spatial_gate(x).std() > 0.02
