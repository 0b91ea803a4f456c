"""HyperACE against loops over positions and hyperedges."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from yolo_attn.layers import HyperACE


def test_equals_the_formula_head_by_head() -> None:
    """The mean of the products of heads, each divided by the square root of its channels, is the layer's product."""
    torch.manual_seed(0)
    channels, edges, heads = 12, 3, 4
    layer, x = HyperACE(channels, edges=edges, heads=heads).double(), torch.randn(1, 12, 4, 5).double()
    tokens = x[0].flatten(1).t()  # (HW, C)
    context = layer.context(torch.cat([tokens.mean(0), tokens.amax(0)])).reshape(edges, channels)
    prototypes = layer.prototypes[0] + context
    positions = layer.vertex(tokens)
    logits = torch.zeros(20, edges).double()
    for head in range(heads):
        part = slice(head * channels // heads, (head + 1) * channels // heads)
        logits += positions[:, part] @ prototypes[:, part].t() / math.sqrt(channels / heads) / heads
    weights = logits.softmax(0)
    torch.testing.assert_close(layer.weights(x)[0].flatten(1).t(), weights)
    features = F.gelu(layer.edge(weights.t() @ tokens))
    expected = tokens + F.gelu(layer.node(weights @ features))
    torch.testing.assert_close(layer(x)[0].flatten(1).t(), expected)


def test_maps_are_multiples_of_uniform_weights() -> None:
    torch.manual_seed(0)
    layer, x = HyperACE(8, edges=2), torch.randn(1, 8, 4, 5)
    maps = layer.attention_maps([x])
    assert [attention.part for attention in maps] == ["hyperedge 0", "hyperedge 1"]
    for attention in maps:
        torch.testing.assert_close(attention.values.mean(), torch.tensor(1.0))
