"""What a layer's gates and weights say, against loops and derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from yolo_attn import LayerSpec, layers, list_layers
from yolo_attn.analysis.readings import is_readable, read, why_unreadable
from yolo_attn.layers.base import Gate, Mixer

H, W, C = 6, 9, 32


def image() -> torch.Tensor:
    return torch.randn(1, C, H, W, generator=torch.Generator().manual_seed(0))


def varied(layer: nn.Module) -> nn.Module:
    """Return a layer whose parameters are none of the special values that it starts with."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer.eval()


@pytest.mark.parametrize("spec", list_layers(), ids=lambda spec: spec.name)
def test_every_layer_is_read_or_has_a_reason(spec: LayerSpec) -> None:
    several = spec.inputs > 1 or spec.more_inputs
    layer = varied(spec.cls([C] * spec.inputs if several else C))
    inputs: Any = [image()] * spec.inputs if several else image()
    if not is_readable(layer):
        assert " " in why_unreadable(layer)
        return
    readings = read(layer, inputs)
    assert readings
    for reading in readings:
        assert reading.plane().shape in {(H, W), (C,), (spec.inputs,)}
        assert torch.isfinite(reading.values).all()
        assert reading.is_map == (reading.plane().shape == (H, W))
    assert len({reading.part for reading in readings}) == len(readings)


def test_a_channel_gate_is_a_vector_and_a_spatial_one_a_map() -> None:
    x = image()
    se, spatial, both = varied(layers.SE(C)), varied(layers.CBAMSpatial(C)), varied(layers.CA(C))
    torch.testing.assert_close(read(se, x)[0].plane(), se.gate(x)[0, :, 0, 0])
    torch.testing.assert_close(read(spatial, x)[0].plane(), spatial.gate(x)[0, 0])
    torch.testing.assert_close(read(both, x)[0].plane(), both.gate(x)[0].mean(0))


def test_a_gate_is_read_as_gamma_fades_it_in() -> None:
    layer = layers.SE(C, init="identity").eval()
    assert read(layer, image())[0].values.tolist() == [1.0] * C
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    torch.testing.assert_close(read(layer, image())[0].values, 0.5 + 0.5 * layer.gate(image())[0, :, 0, 0])


def test_criss_cross_is_what_each_position_gives() -> None:
    layer, x = varied(layers.CrissCross(C)), image()
    weights = layer.weights(x)[0]  # of reader (i, j), over its column and then its row
    given = torch.zeros(H, W)
    for i in range(H):
        for j in range(W):
            for other in range(H):
                given[other, j] += weights[i, j, other]
            for other in range(W):
                given[i, other] += weights[i, j, H + other]
    torch.testing.assert_close(read(layer, x)[0].plane(), given)


def test_outlook_is_what_each_position_gives() -> None:
    """The derivative of the output's sum by the values; at the border some of what is given falls outside."""
    layer, x = varied(layers.Outlook(C)), image()
    values = torch.zeros(1, C, H, W, requires_grad=True)

    class Values(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return values

    weights = layer.weights(x)
    layer.weights = lambda _: weights.detach()
    layer.value, layer.project = Values(), nn.Identity()
    layer.mix(x).sum().backward()
    inner = (slice(2, H - 2), slice(2, W - 2))
    even = 3 * 3  # a position is in that many windows, and even weights give 1 of it in each
    torch.testing.assert_close(read(layer, x)[0].plane()[inner], values.grad[0].mean(0)[inner] / even)


@pytest.mark.parametrize("name", ["GC", "A2", "SeparableSelfAttention", "CrissCross", "CAM"])
def test_weights_are_multiples_of_even_ones(name: str) -> None:
    layer = varied(getattr(layers, name)(C))
    reading = read(layer, image())[0]
    assert reading.unit == "weight"
    assert reading.plane().mean().item() == pytest.approx(1, abs=1e-4)
    assert reading.plane().std() > 0.01


@pytest.mark.parametrize("weighting", ["l2", "softmax"])
def test_even_additive_weights_are_1(weighting: str) -> None:
    layer = layers.EfficientAdditive(C, weighting=weighting).eval()
    x = torch.ones(1, C, H, W)
    reading = read(layer, x)[0].plane()
    torch.testing.assert_close(reading.abs(), torch.ones(H, W))


def test_choices_have_a_reading_each() -> None:
    layer, xs = varied(layers.ASFF([C, C, C])), [image()] * 3
    readings = read(layer, xs)
    assert [reading.part for reading in readings] == ["input 0", "input 1", "input 2"]
    torch.testing.assert_close(sum(reading.plane() for reading in readings), torch.ones(H, W))


def test_layers_of_a_user() -> None:
    class Mean(Gate):
        def gate(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1, keepdim=True).sigmoid()

    class Weighing(Mixer):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__(C)
            self.shape = shape

        def weights(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(1, *self.shape)

    assert read(Mean(C), image())[0].plane().shape == (H, W)
    assert read(Weighing((4, H, W)), image())[0].plane().shape == (H, W)
    assert read(Weighing((C,)), image())[0].plane().shape == (C,)
    assert read(Weighing((3, 5, 7, 2)), image()) == []  # it says nothing of positions, and nothing is made up
