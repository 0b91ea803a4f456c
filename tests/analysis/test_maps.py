"""Attention maps of whole models, against gates called directly."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from ultralytics import YOLO

from yolo_attn import register_layer
from yolo_attn.analysis.letterbox import Image, letterbox, to_tensor
from yolo_attn.analysis.maps import ImageMaps, Statistics, attention_maps, image_maps, total_statistics
from yolo_attn.analysis.models import open_model
from yolo_attn.analysis.profile import profile
from yolo_attn.analysis.queries import Query
from yolo_attn.cli import main
from yolo_attn.layers import SE
from yolo_attn.layers.base import Gate
from yolo_attn.registry import unregister_layer


def image(height: int = 64, width: int = 128, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def cbam() -> nn.Module:
    model = open_model("yolo11n-cbam.yaml")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for i in (17, 21, 25):
            for parameter in model.model[i].parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs_of_row(model: nn.Module, image: torch.Tensor, row: int) -> torch.Tensor:
    """Run the rows in order, and return the input of a row."""
    outputs: list[Any] = []
    x: Any = image
    with torch.no_grad():
        for module in model.model:
            if module.f != -1:
                sources = [module.f] if isinstance(module.f, int) else module.f
                x = [outputs[-1] if s == -1 else outputs[s] for s in sources]
                x = x[0] if isinstance(module.f, int) else x
            if module.i == row:
                return x
            x = module(x)
            outputs.append(x)
    raise AssertionError


@pytest.mark.parametrize("row", [17, 25])
def test_maps_equal_the_gates(cbam: nn.Module, row: int) -> None:
    maps = {found.key: found for found in attention_maps(cbam, image(), imgsz=128)}
    padded, _ = letterbox(image(), 128, 32)
    x = inputs_of_row(cbam, to_tensor(padded), row)
    channel, spatial = cbam.model[row].channel, cbam.model[row].spatial
    with torch.no_grad():
        by_channel = channel.gate(x)
        by_position = spatial.gate(x * by_channel)
    vector, plane = maps[row, "CBAM.channel", ""], maps[row, "CBAM.spatial", ""]
    np.testing.assert_array_equal(vector.array, by_channel[0, :, 0, 0].numpy())
    np.testing.assert_array_equal(plane.array, by_position[0, 0].numpy())
    assert (vector.kind, plane.kind) == ("channels", "map")
    assert plane.stride == {17: 8, 25: 32}[row]
    assert plane.title == f"row {row} CBAM.spatial ({ {17: 'P3', 25: 'P5'}[row] })"
    assert plane.statistics.mean == pytest.approx(float(by_position.mean()))


def test_padding_is_excluded_from_statistics_and_images(cbam: nn.Module) -> None:
    found = attention_maps(cbam, image(24, 128), imgsz=128)[1]
    assert found.array.shape == (4, 16)  # 24 rows in 32
    assert found.statistics.count == 4 * 16
    tall = attention_maps(cbam, image(34, 128), imgsz=128)[1]  # rows 15 to 49 of 64
    assert tall.array.shape == (8, 16)
    assert tall.statistics.count == 6 * 16  # positions 1 to 6
    inside = tall.array[1:7]
    assert (tall.statistics.low, tall.statistics.high) == pytest.approx((inside.min(), inside.max()))
    assert tall.on_image(340, 1280).shape == (340, 1280)


def test_a_yolo_is_accepted() -> None:
    model = YOLO("yolo11n-se.yaml")
    assert [found.row for found in attention_maps(model, image(), imgsz=128)] == [17, 21, 25]
    assert profile(model, 64, device="cpu", rounds=1).rows[17].module == "SE"


def test_nothing_stays_on_the_model(cbam: nn.Module) -> None:
    cbam.train()
    cbam.model[0].eval()
    before = {name: set(vars(m)) for name, m in cbam.named_modules()}
    modes = {name: m.training for name, m in cbam.named_modules()}
    states = {key: value.clone() for key, value in cbam.state_dict().items()}
    attention_maps(cbam, image(), imgsz=128)
    assert {name: set(vars(m)) for name, m in cbam.named_modules()} == before
    assert {name: m.training for name, m in cbam.named_modules()} == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in cbam.modules())
    assert all(torch.equal(value, states[key]) for key, value in cbam.state_dict().items())
    cbam.eval()


def test_hooks_are_removed_when_a_model_fails(cbam: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbam.model[-1], "forward", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attention_maps(cbam, image(), imgsz=128)
    assert not any(m._forward_pre_hooks for m in cbam.modules())


def test_in_place_changes_after_a_layer_do_not_change_its_map() -> None:
    class Spoiling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = SE(3, reduction=1)
            for parameter in self.gate.parameters():
                nn.init.constant_(parameter, 0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.gate(x)
            x.zero_()
            return y

    model = Spoiling()
    (found,) = attention_maps(model, image(64, 64), imgsz=64)
    with torch.no_grad():
        expected = model.gate.gate(to_tensor(image(64, 64)))
    assert expected.min() > 0.6  # a black image has one half
    np.testing.assert_array_equal(found.array, expected[0, :, 0, 0].numpy())
    assert found.name == "Spoiling+SE.gate"


def test_layers_inside_blocks_are_found() -> None:
    model = open_model("yolo11n.yaml+SE@inside:C3k2")
    names = {(found.row, found.layer) for found in attention_maps(model, image(), imgsz=128)}
    rows = {i for i, module in enumerate(model.model) if type(module).__name__.startswith("C3k2")}
    assert names == {(row, "SE") for row in rows}
    found = attention_maps(model, image(), imgsz=128)[0]
    assert found.name.startswith("C3k2+SE.")
    inner: Any = model.model[found.row]
    for step in found.name.split(".")[1:]:
        inner = getattr(inner, step)
    assert type(inner).__name__ == "SE"


def test_layers_without_weights_are_named_with_the_reason() -> None:
    maps = image_maps(open_model("yolo11n-mhsa.yaml"), image(), imgsz=128)
    assert maps.maps == ()
    assert [(layer.row, layer.name) for layer in maps.without] == [(17, "MHSA"), (21, "MHSA"), (25, "MHSA")]
    assert "each position has weights of its own; add point=" in maps.without[0].reason


def test_nested_layers_show_the_inner_ones_with_maps() -> None:
    maps = image_maps(open_model("yolo11n-dualattention.yaml"), image(), imgsz=128)
    assert {found.name for found in maps.maps} == {"DualAttention.channel"}  # position attention does not store weights
    assert maps.without == ()


@pytest.fixture
def third_party_layers() -> Iterator[None]:
    @register_layer(family="channel", summary="a third-party gate")
    class OwnGate(Gate):
        def gate(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3), keepdim=True).sigmoid()

    @register_layer(family="hybrid", summary="a third-party module")
    class OwnModule(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    yield
    unregister_layer("OwnGate")
    unregister_layer("OwnModule")


def test_third_party_layers(third_party_layers: None) -> None:
    gate = image_maps(open_model("yolo11n.yaml+OwnGate@neck"), image(), imgsz=128)
    assert [(found.row, found.name) for found in gate.maps] == [(17, "OwnGate"), (21, "OwnGate"), (25, "OwnGate")]
    plain = image_maps(open_model("yolo11n.yaml+OwnModule@neck.P4"), image(), imgsz=128)
    assert [layer.name for layer in plain.without] == ["OwnModule"]


LAYER_FILE = """
from yolo_attn import register_layer
from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Mixer

@register_layer(family="hybrid", summary="adds the mean over the channels")
class {name}(Mixer):
    def mix(self, x):
        return x + x.mean(1, keepdim=True)

    def attention_maps(self, inputs):
        return [AttentionValues("mean", "weight", inputs[0][0].mean({axis}))]
"""


@pytest.mark.parametrize(
    ("axis", "line"),
    [
        (0, r"\n +17 +OwnMean0 mean +P3 +weight "),
        (1, r"no map: row 17 OwnMean1: its attention_maps has values of shape \(64, 8\); use "),
    ],
)
def test_the_command_shows_the_maps_of_a_layer_from_a_file(
    axis: int, line: str, fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    name = f"OwnMean{axis}"
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path(f"{name}.py").write_text(LAYER_FILE.format(name=name, axis=axis))
    cv2.imwrite("image.png", image(64, 64))
    try:
        words = [f"model=yolo11n.yaml+{name}@neck.P3", "source=image.png", f"layers={name}.py", "imgsz=64"]
        assert main(["maps", *words]) == 0
    finally:
        unregister_layer(name)
        del sys.modules[name]
    assert re.search(line, capsys.readouterr().out)


READING_FILE = """
import torch
from yolo_attn import register_layer
from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer

@register_layer(family="hybrid", summary="adds the mean over the positions")
class OwnReading(Mixer):
    def __init__(self, channels, *, wrong="", init="paper"):
        super().__init__(channels, init=init)
        self.wrong = wrong

    def mix(self, x):
        return x + x.mean((2, 3), keepdim=True)

    def readings(self, inputs):
        x = inputs[0]
        def contexts(values):
            return values.mean((2, 3), keepdim=True).expand(values.shape)
        return {
            "": [Reading("", x, contexts)],
            "list": None,
            "empty": [],
            "source": [Reading("", x, contexts, source=1)],
            "step": [Reading("", x, contexts, step=0)],
            "heads": [Reading("", x, contexts, heads=3)],
            "values": [Reading("", x[0], contexts)],
            "points": [Reading("", x, contexts, points=torch.zeros(1, 2, 2, 2))],
            "contexts": [Reading("", x, lambda values: contexts(values)[:, :, :1])],
            "constant": [Reading("", x, lambda values: x)],
        }[self.wrong]
"""


@pytest.fixture
def own_reading(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from yolo_attn.layer_files import load_layers

    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("own_reading.py").write_text(READING_FILE)
    load_layers(["own_reading.py"])
    yield
    unregister_layer("OwnReading")
    sys.modules.pop("own_reading", None)


def test_readings_of_a_layer_are_checked(own_reading: None) -> None:
    model: Any = open_model("yolo11n.yaml+OwnReading@neck.P4")
    layer = model.model[20]

    def answer() -> ImageMaps:
        return image_maps(model, image(64, 64), imgsz=64, queries=[Query(8, 8)])

    trainable = [parameter.requires_grad for parameter in model.parameters()]
    found = answer()
    assert found.without == () and found.queries[0].array == pytest.approx(np.full((4, 4), 1 / 16))
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    reasons = {
        "list": "its readings is not a list of Reading",
        "empty": "its readings is empty",
        "source": "its readings has source=1; the layer has 1 inputs, counted from 0",
        "step": "its readings has heads=1 and step=0; use positive integers",
        "heads": f"its readings has values of shape (1, {layer.channels}, 4, 4); use (1, C, h, w), where heads=3 "
        "divides C",
        "values": f"its readings has values of shape ({layer.channels}, 4, 4); use (1, C, h, w), where heads=1 "
        "divides C",
        "points": "its readings has points of shape (1, 2, 2, 2); use (groups, 4, 4, 2)",
        "contexts": f"its readings has contexts of shape (1, {layer.channels}, 1, 4); use (1, C, 4, 4), where heads=1 "
        "divides C",
        "constant": "its readings has contexts that do not depend on the values",
    }
    for wrong, reason in reasons.items():
        layer.wrong = wrong
        found = answer()
        assert found.queries == ()
        assert [(each.row, each.name, each.reason) for each in found.without] == [(20, "OwnReading", reason)]


class Bypass(nn.Module):
    """A row that does not call the layer in it."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.f, self.i, self.type, self.np = inner.f, inner.i, inner.type, inner.np

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("layer", "queries"), [("CrissCross", None), ("CrissCross", [Query(8, 8)]), ("PAM", [Query(8, 8)])]
)
def test_layers_that_an_image_does_not_reach_are_named(layer: str, queries: list[Query] | None) -> None:
    model: Any = open_model(f"yolo11n.yaml+{layer}@neck.P4")
    model.model[20] = Bypass(model.model[20])
    found = image_maps(model, image(64, 64), imgsz=64, queries=queries)
    assert [(each.row, each.reason) for each in found.without] == [(20, "the forward pass does not reach it")]


def test_an_identity_init_is_dead_and_a_varied_gate_is_not(cbam: nn.Module) -> None:
    fresh = open_model("yolo11n.yaml+CBAM[init=identity]@neck")
    assert all(
        found.statistics.dead and found.statistics.ones == found.statistics.count
        for found in attention_maps(fresh, image(), imgsz=128)
    )
    varied = attention_maps(cbam, image(), imgsz=128)
    assert not any(found.statistics.dead for found in varied if found.kind == "channels")


def test_statistics_over_images(cbam: nn.Module) -> None:
    images = [image_maps(cbam, image(seed=seed), imgsz=128) for seed in range(3)]
    totals = total_statistics(images)
    key = (17, "CBAM.spatial", "")
    every = np.concatenate([found.array for maps in images for found in maps.maps if found.key == key])
    assert totals[key].count == every.size
    assert totals[key].mean == pytest.approx(every.mean(), rel=1e-5)
    assert totals[key].sd == pytest.approx(every.std(), rel=1e-4)


floats = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-2, 2))


@settings(max_examples=50, deadline=None)
@given(floats, floats)
def test_statistics_add_up(a: np.ndarray, b: np.ndarray) -> None:
    together, both = Statistics.of(a[None]) + Statistics.of(b[None]), np.concatenate([a, b])
    assert together.mean == pytest.approx(both.mean(), abs=1e-12)
    assert together.sd == pytest.approx(both.std(), abs=1e-9)
    assert together.zeros == (np.abs(both) <= 0.01).sum()
    assert together.ones == (np.abs(both - 1) <= 0.01).sum()
    assert (together.low, together.high) == (both.min(), both.max())
    assert together.dead == (both.max() - both.min() <= 0.02)


def test_a_channel_is_dead_if_it_is_the_same_in_every_image() -> None:
    first, second = np.array([0.2, 0.5, 0.9]), np.array([0.21, 0.7, 0.9])
    one = Statistics.of(first)
    assert one.dead_channels is None  # one image has a single value for each channel
    both = one + Statistics.of(second)
    assert (both.dead_channels, both.as_dict()["channels"], both.dead) == (2, 3, False)
    by_position = np.zeros((3, 2, 2))
    by_position[0, 0, 0] = 1
    assert Statistics.of(by_position).dead_channels == 2


def test_the_image_size_is_that_of_the_training(cbam: nn.Module) -> None:
    cbam.args = {"imgsz": 96}
    found = attention_maps(cbam, image(96, 96))[1]
    del cbam.args
    assert found.array.shape == (12, 12)
    assert attention_maps(cbam, image(96, 96), imgsz=70)[1].array.shape == (12, 12)  # rounded up, as by Ultralytics
