"""The registry: names, entries and error messages."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from torch import Tensor

from tests.host.helpers import python
from yolo_attn import layers
from yolo_attn.errors import UserError
from yolo_attn.layers.base import Gate
from yolo_attn.registry import (
    LayerSpec,
    build,
    get_layer,
    is_layer,
    layer_names,
    list_layers,
    register_layer,
    release_names,
    reserve_names,
    unregister_layer,
)


class Half(Gate):
    """A third-party layer."""

    def __init__(self, channels: int, *, share: float = 0.5, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.share = share

    def gate(self, x: Tensor) -> Tensor:
        return x.new_full((1, 1, 1, 1), self.share)


@pytest.fixture
def half() -> Iterator[type[Half]]:
    yield register_layer(family="channel", summary="halves", aliases=("Halve",))(Half)
    unregister_layer("Half")


def test_a_registered_class_is_found_and_built(half: type[Half]) -> None:
    assert get_layer("Half").cls is half
    assert get_layer("Halve").name == "Half"
    assert get_layer("Half").options == {"share": 0.5, "init": "paper"}
    layer = build("Halve", 8, share=0.25)
    assert isinstance(layer, half) and layer.share == 0.25


def test_register_layer_takes_every_field_of_an_entry() -> None:
    assert {*inspect.signature(register_layer).parameters, "cls"} == {field.name for field in fields(LayerSpec)}


def test_unregistering_removes_name_and_aliases() -> None:
    register_layer(family="channel", summary="halves", aliases=("Halve",))(Half)
    unregister_layer("Halve")
    assert not is_layer("Half") and not is_layer("Halve")


@pytest.mark.parametrize("names", [("SE", ()), ("New", ("SELayer",)), ("CoordAtt", ())])
def test_a_taken_name_is_rejected(names: tuple[str, tuple[str, ...]]) -> None:
    name, aliases = names
    with pytest.raises(ValueError, match=r"Half: the layer name .* is taken by yolo_attn\.layers\."):
        register_layer(family="channel", summary="", name=name, aliases=aliases)(Half)
    assert not is_layer("New")


def test_a_name_of_the_host_is_rejected_before_and_after(half: type[Half]) -> None:
    def taken(word: str) -> bool:
        return word in ("Conv", "Halve")

    with pytest.raises(ValueError, match="'Halve' is reserved by the Ultralytics parser"):
        reserve_names(taken)
    try:
        with pytest.raises(ValueError, match="'Conv' is reserved by the Ultralytics parser"):
            register_layer(family="channel", summary="", name="Conv")(Half)
    finally:
        release_names(taken)


def test_a_name_must_fit_a_row() -> None:
    with pytest.raises(ValueError, match=r"'C2f\+SE' cannot name a layer"):
        register_layer(family="channel", summary="", name="C2f+SE")(Half)


def test_an_unknown_family_is_rejected() -> None:
    with pytest.raises(ValueError, match="unknown family 'chanel'; use one of channel"):
        register_layer(family="chanel", summary="")(Half)


@pytest.mark.parametrize(("wrong", "right"), [("Cbam", "CBAM"), ("SEAtention", "SE"), ("simam", "SimAM")])
def test_an_unknown_layer_is_reported_with_the_closest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"unknown layer '{wrong}'; did you mean {right}"):
        get_layer(wrong)


def test_an_unknown_option_is_reported_with_the_closest() -> None:
    with pytest.raises(UserError, match="SE has no option 'reducton'; did you mean reduction"):
        build("SE", 8, reducton=4)
    with pytest.raises(UserError, match="SE has no option 'xyz'; it takes reduction, bias, init"):
        build("SE", 8, xyz=4)


@pytest.mark.parametrize("spec", list_layers(), ids=lambda spec: spec.name)
def test_a_former_option_name_is_an_error_with_the_new_name(spec: LayerSpec) -> None:
    for old, new in {"start": "init", **spec.renamed}.items():
        assert old not in spec.options and new in spec.options
        with pytest.raises(UserError, match=f"^{spec.name} has no option '{old}'; it is now called '{new}'$"):
            spec.check_options([old])


def test_an_option_of_a_custom_layer_is_keyword_only() -> None:
    class Positional(Half):
        def __init__(self, channels: int, reduction: int = 16) -> None:
            super().__init__(channels)

    register_layer(family="channel", summary="as tutorials write it")(Positional)
    try:
        with pytest.raises(UserError, match=r"'reduction': .* write \* before reduction in Positional.__init__$"):
            build("Positional", 8, reduction=4)
    finally:
        unregister_layer("Positional")


def test_an_invalid_value_is_a_user_error() -> None:
    with pytest.raises(UserError, match="SE: reduction=-1; use a number above 0"):
        build("SE", 8, reduction=-1)


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(UserError, match="SE reads 1 input, not 2"):
        build("SE", [8, 8])


def test_listing_filters_and_sorts() -> None:
    names = [spec.name for spec in list_layers("CBAM*")]
    assert names == ["CBAMChannel", "CBAMSpatial", "CBAM"]  # channel, spatial, hybrid
    assert {spec.family for spec in list_layers(family="hybrid")} == {"hybrid"}
    assert repr(list_layers("SE")) == f"[<SE: {get_layer('SE').summary}>]"  # what a notebook shows
    assert {"CA", "CoordAtt", "CoordAttention"} <= set(layer_names())


def test_the_names_of_the_classes_are_the_names_in_rows() -> None:
    for name in layers.__all__:
        assert get_layer(name).cls is getattr(layers, name)


CELL = """
from yolo_attn.layers.base import Gate
from yolo_attn.registry import register_layer

@register_layer(family="channel", summary="halves", aliases={aliases})
class Half(Gate):
    share = {share}
    def gate(self, x):
        return x.new_full((1, 1, 1, 1), self.share)
"""


def test_running_a_cell_again_replaces_the_class_and_its_aliases() -> None:
    scope = {"__name__": "__main__"}
    try:
        exec(CELL.format(share=0.5, aliases=("Halve", "Hlf")), scope)
        exec(CELL.format(share=0.25, aliases=("Halve",)), scope)
        assert get_layer("Half").cls is get_layer("Halve").cls is scope["Half"]
        assert build("Half", 8).share == 0.25
        assert not is_layer("Hlf")
        with pytest.raises(ValueError, match=r"elsewhere\.Half: the layer name 'Half' is taken by __main__\.Half;"):
            exec(CELL.format(share=1.0, aliases=()), {"__name__": "elsewhere"})
        assert get_layer("Half").cls is scope["Half"]
    finally:
        unregister_layer("Half")


def test_a_layer_never_replaces_two_others(half: type[Half]) -> None:
    with pytest.raises(ValueError, match="the layer name 'SE' is taken by"):
        register_layer(family="channel", summary="", aliases=("SE",))(Half)
    assert get_layer("Halve").cls is half


@pytest.mark.slow
def test_layers_whose_names_a_fork_has_taken_are_left_out() -> None:
    code = """
from torch import nn
from ultralytics.nn import tasks
class CBAM(nn.Module):
    pass
tasks.CBAM = CBAM
import yolo_attn
assert not yolo_attn.registry.is_layer("CBAM") and yolo_attn.registry.is_layer("SE")
"""
    done = python(code)
    assert "has modules named CBAM, which are used instead" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_package_of_layers_that_fails_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken_layers.py").write_text("1 / 0")
    info = tmp_path / "broken_layers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-layers\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[yolo_attn.layers]\nbroken = broken_layers\n")
    done = python(
        "import yolo_attn; print(yolo_attn.registry.is_layer('SE'))",
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path[1:]]),
    )
    output = done.stdout + done.stderr
    assert "True" in output and "broken_layers, an installed package of layers, fails: ZeroDivisionError" in output
