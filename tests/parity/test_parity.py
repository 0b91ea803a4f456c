"""Parity of every layer with its reference, in output and input gradient.

A vector contains the reference's weights (`w:`), inputs (`x0`, ...), output (`y`), a random cotangent (`ct`) and the
gradient of sum(y * ct) with respect to each input (`gx0`, ...). `vectors/index.json` states the source of each vector.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yolo_attn.layers import NAM
from yolo_attn.layers.norms import BatchNorm

from .mappings import MAPPINGS

VECTORS = Path(__file__).parent / "vectors"
TOLERANCE = 1e-5  # of the largest value; float32 in another order of operations
UNSEEN_EPS = {
    "fsas": "its correlations have a variance far above eps",
    "sru_cru": "its eps matters less than the rounding of its stored numbers; sru_cru__sru is the same norm",
}
"""Vectors that do not depend on the eps of their norms, with the reason."""
STORED = 2e-6  # of the largest value; rounding errors of the references alone


def read(name: str) -> dict[str, Tensor]:
    with np.load(VECTORS / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def weights(vector: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[2:]: value for key, value in vector.items() if key.startswith("w:")}


def inputs(vector: dict[str, Tensor], key: str = "x") -> list[Tensor]:
    names = sorted(
        (k for k in vector if k.startswith(key) and k[len(key) :].isdigit()), key=lambda k: int(k[len(key) :])
    )
    return [vector[k] for k in names]


def error(output: Tensor, reference: Tensor) -> float:
    assert output.shape == reference.shape
    return ((output - reference).abs().max() / reference.abs().max()).item()


def fresh_layer(name: str) -> nn.Module:
    """Return the layer of a vector, with its own initial weights."""
    channels = [x.shape[1] for x in inputs(read(name))]
    return MAPPINGS[name].build(channels if len(channels) > 1 else channels[0])


def norms(layer: nn.Module) -> list[BatchNorm | nn.GroupNorm | nn.LayerNorm]:
    """Return the normalization layers of a layer."""
    return [module for module in layer.modules() if isinstance(module, (BatchNorm, nn.GroupNorm, nn.LayerNorm))]


def relative_errors(name: str, dtype: torch.dtype = torch.float32, eps_factor: float = 1.0) -> list[float]:
    """Return the error of the output and of each input gradient, except those that need not be matched.

    Args:
        name: Name of the vector.
        dtype: Type of the computation.
        eps_factor: Factor of the eps of each norm.
    """
    vector, mapping, layer = read(name), MAPPINGS[name], fresh_layer(name)
    xs = [x.to(dtype).requires_grad_() for x in inputs(vector)]
    layer.load_state_dict(mapping.convert(weights(vector)))
    layer = layer.to(dtype)
    for norm in norms(layer):
        norm.eps *= eps_factor
    y = layer(xs if len(xs) > 1 else xs[0])
    gradients = torch.autograd.grad((y * vector["ct"]).sum(), xs)
    errors = [] if mapping.wrong_output else [error(y, vector["y"])]
    if not mapping.wrong_gradient:
        errors += [
            error(gradient, reference) for gradient, reference in zip(gradients, inputs(vector, "gx"), strict=True)
        ]
    return errors


@pytest.mark.parametrize("name", MAPPINGS)
def test_equals_the_reference(name: str) -> None:
    assert all(e < TOLERANCE for e in relative_errors(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPPINGS)
def test_equals_the_reference_in_float64_with_its_eps(name: str) -> None:
    # In float64 the stored float32 numbers distinguish an eps from one ten times smaller or larger.
    errors = max(relative_errors(name, torch.float64))
    assert errors < STORED
    if norms(fresh_layer(name)) and name not in UNSEEN_EPS:
        assert errors < 0.7 * min(max(relative_errors(name, torch.float64, factor)) for factor in (0.1, 10))


def test_every_vector_is_used_and_has_a_source() -> None:
    files = {path.stem for path in VECTORS.glob("*.npz")}
    assert files == set(MAPPINGS) == set(json.loads((VECTORS / "index.json").read_text()))


def test_nam_has_a_gradient_through_its_weights() -> None:
    # The authors' code reads the weights from `.data`, so their gradient is that of the batch norm alone.
    vector, layer = read("nam_channel"), MAPPINGS["nam_channel"].build(32)
    assert isinstance(layer, NAM)
    layer.load_state_dict(MAPPINGS["nam_channel"].convert(weights(vector)))
    layer = layer.double()
    x, ct = vector["x0"].double(), vector["ct"].double()
    (layer(x) * ct).sum().backward()
    step = torch.zeros_like(layer.norm.weight)
    step[3] = 1e-6
    with torch.no_grad():
        layer.norm.weight += step
        above = (layer(x) * ct).sum()
        layer.norm.weight -= 2 * step
        below = (layer(x) * ct).sum()
    assert layer.norm.weight.grad is not None
    assert layer.norm.weight.grad[3].item() == pytest.approx((above - below).item() / 2e-6, rel=1e-5)
