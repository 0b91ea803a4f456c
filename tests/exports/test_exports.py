"""Exported models compute what the model in PyTorch computes: the numbers behind the table of docs/export.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.exports.measure import FORMATS, SIZE, attention_of, images, make_model, measure
from tests.exports.table import DOCUMENT, LAYERS, with_table
from tests.host.helpers import exports_onnx
from yolo_attn.exports import EXACT, REASONS, TITLES, Cell, number_of, read_cells
from yolo_attn.registry import LayerSpec, list_layers

SPECS = [spec for spec in list_layers() if spec.built_in]
ALWAYS = ("torchscript", "onnx-dynamic")
"""Formats in which every layer must be exact, or give a reason; the ONNX model is compared at two sizes."""
COMMON = ("torchscript", "onnx", "onnx-dynamic", "onnx-half", "openvino")
"""Formats in which every layer is measured; cells of the others may wait for an environment with their packages."""
CELLS = read_cells()
OTHERS = [form for form in FORMATS if form not in ALWAYS]


def _name(spec: LayerSpec) -> str:
    return spec.name


def _measure(layer: str, form: str) -> Cell:
    if form.startswith("onnx") and not exports_onnx():
        pytest.skip("this Ultralytics predates the ONNX exporter of this PyTorch")
    return measure(layer, form)


@pytest.mark.parametrize("form", ALWAYS)
@pytest.mark.parametrize(
    "layer", ["CBAM", "ASFF", *(pytest.param(name, marks=pytest.mark.slow) for name in ("MHSA", "DAttention"))]
)
def test_a_gate_self_attention_sampling_and_a_fusion(layer: str, form: str, fresh_folder: Path) -> None:
    assert _measure(layer, form).verdict == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("form", ALWAYS)
@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_every_layer(spec: LayerSpec, form: str, fresh_folder: Path) -> None:
    cell = _measure(spec.name, form)
    assert cell.verdict == "exact" or (not cell.problem and number_of(form, spec.name, cell)), cell


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_a_wrong_layer_would_not_be_exact(spec: LayerSpec) -> None:
    """The output depends on the layer by a hundred times the largest difference that counts as exact."""
    model = make_model(spec)
    with torch.no_grad():
        y = model(images(SIZE))[0]
        model.model[5] = _like(attention_of(model))
        without = model(images(SIZE))[0]
    scores = slice(4, None)
    assert (y[:, scores] - without[:, scores]).abs().max() > 100 * EXACT * y[:, scores].max()


def _like(layer: nn.Module) -> nn.Module:
    """Return a module that passes on its first input, with the row numbers that the parser gave to a layer."""
    identity = _First()
    identity.i, identity.f, identity.type = layer.i, layer.f, "First"
    return identity


class _First(nn.Module):
    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        return x if isinstance(x, torch.Tensor) else x[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "layer"),
    [
        key
        for key, cell in CELLS.items()
        if cell.verdict == "exact" and key[0] in OTHERS and not FORMATS[key[0]].missing
    ],
)
def test_the_exact_cells_of_the_table(form: str, layer: str, fresh_folder: Path) -> None:
    """In the other formats, as far as their packages are installed."""
    cell = _measure(layer, form)
    assert cell.verdict == "exact", cell


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in OTHERS if FORMATS[form].missing])
def test_the_packages_of_a_format_are_installed(form: str) -> None:
    pytest.skip(f"cells of {form} are not checked: pip install {' '.join(FORMATS[form].missing)}")


def test_the_table_is_that_of_the_measurements() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python benchmarks/exports.py --docs"


def test_every_cell_that_is_not_exact_has_a_reason() -> None:
    assert {key for key, cell in CELLS.items() if cell.verdict != "exact" and not number_of(*key, cell)} == set()


def test_every_layer_is_measured_in_the_common_formats() -> None:
    assert {(form, layer) for form in COMMON for layer in LAYERS} - set(CELLS) == set()


def test_every_reason_has_cells() -> None:
    numbers = {number_of(*key, cell) for key, cell in CELLS.items() if cell.verdict != "exact"}
    named = [(form, layer) for reason in REASONS for form in reason.forms for layer in reason.layers]
    stale = [key for key in named if CELLS[key].verdict == "exact"]
    assert stale == []
    assert [n for n in range(1, len(REASONS) + 1) if n not in numbers] == []


def test_every_format_has_a_title() -> None:
    assert list(TITLES) == list(FORMATS)


def test_a_difference_is_not_exact() -> None:
    assert Cell(0.5 * EXACT, 0.5 * EXACT, True).verdict == "exact"
    assert Cell(0.5 * EXACT, 2 * EXACT, True).verdict == "tolerance"
    assert Cell(0.5 * EXACT, 0.5 * EXACT, False).verdict == "tolerance"
    assert Cell(0.5, 0.0, True).verdict == "no"
