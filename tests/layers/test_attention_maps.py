"""Attention maps of layers, against loops and derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from yolo_attn import LayerSpec, layers, list_layers
from yolo_attn.analysis.found_layers import offers_maps
from yolo_attn.layers.attention_values import AttentionValues

H, W, C = 6, 9, 32


def image() -> Tensor:
    return torch.randn(1, C, H, W, generator=torch.Generator().manual_seed(0))


def varied(layer: nn.Module) -> nn.Module:
    """Return a layer with none of the special values of its initial parameters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer.eval()


def first(layer: nn.Module) -> AttentionValues:
    """Return a layer's first map."""
    with torch.no_grad():
        return layer.attention_maps([image()])[0]


@pytest.mark.parametrize("spec", list_layers(), ids=lambda spec: spec.name)
def test_every_layer_has_maps_or_a_reason(spec: LayerSpec) -> None:
    several = spec.inputs > 1 or spec.more_inputs
    layer = varied(spec.cls([C] * spec.inputs if several else C))
    if not offers_maps(layer):
        assert isinstance(layer, nn.Sequential) or " " in layer.no_attention_maps
        return
    maps = layer.attention_maps([image()] * spec.inputs)
    assert maps
    for attention in maps:
        assert attention.plane().shape in {(H, W), (C,), (spec.inputs,)}
        assert torch.isfinite(attention.values).all()
        assert attention.is_map == (attention.plane().shape == (H, W))
    assert len({attention.part for attention in maps}) == len(maps)


def test_a_channel_gate_is_a_vector_and_a_spatial_one_a_map() -> None:
    x = image()
    se, spatial, both = varied(layers.SE(C)), varied(layers.CBAMSpatial(C)), varied(layers.CA(C))
    torch.testing.assert_close(first(se).plane(), se.gate(x)[0, :, 0, 0])
    torch.testing.assert_close(first(spatial).plane(), spatial.gate(x)[0, 0])
    torch.testing.assert_close(first(both).plane(), both.gate(x)[0].mean(0))


def test_a_gate_is_faded_in_by_gamma() -> None:
    layer = layers.SE(C, init="identity").eval()
    assert first(layer).values.tolist() == [1.0] * C
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    torch.testing.assert_close(first(layer).values, 0.5 + 0.5 * layer.gate(image())[0, :, 0, 0])


def test_criss_cross_has_the_total_weight_of_each_position() -> None:
    layer, x = varied(layers.CrissCross(C)), image()
    weights = layer.weights(x)[0]  # of query (i, j), over its column and then its row
    total = torch.zeros(H, W)
    for i in range(H):
        for j in range(W):
            for other in range(H):
                total[other, j] += weights[i, j, other]
            for other in range(W):
                total[i, other] += weights[i, j, H + other]
    torch.testing.assert_close(first(layer).plane(), total)


def test_outlook_has_the_total_weight_of_each_position() -> None:
    """The derivative of the output's sum by the values; at the border some weights belong to positions outside."""
    layer, x = varied(layers.Outlook(C)), image()
    values = torch.zeros(1, C, H, W, requires_grad=True)

    class Values(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return values

    weights = layer.weights(x)
    layer.weights = lambda _: weights.detach()
    layer.value, layer.proj = Values(), nn.Identity()
    layer.mix(x).sum().backward()
    inner = (slice(2, H - 2), slice(2, W - 2))
    windows = 3 * 3  # that contain a position, each with a total of 1 for it if its weights are uniform
    torch.testing.assert_close(first(layer).plane()[inner], values.grad[0].mean(0)[inner] / windows)


@pytest.mark.parametrize("name", ["GC", "A2", "SeparableSelfAttention", "CrissCross", "CAM"])
def test_weights_are_multiples_of_uniform_ones(name: str) -> None:
    attention = first(varied(getattr(layers, name)(C)))
    assert attention.unit == "weight"
    assert attention.plane().mean().item() == pytest.approx(1, abs=1e-4)
    assert attention.plane().std() > 0.01


@pytest.mark.parametrize("weighting", ["l2", "softmax"])
def test_uniform_additive_weights_are_1(weighting: str) -> None:
    layer = layers.EfficientAdditive(C, weighting=weighting).eval()
    plane = layer.attention_maps([torch.ones(1, C, H, W)])[0].plane()
    torch.testing.assert_close(plane.abs(), torch.ones(H, W))


def test_choices_have_a_map_each() -> None:
    maps = varied(layers.ASFF([C, C, C])).attention_maps([image()] * 3)
    assert [attention.part for attention in maps] == ["input 0", "input 1", "input 2"]
    torch.testing.assert_close(sum(attention.plane() for attention in maps), torch.ones(H, W))
