"""Folding of batch norms into convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.parity.record import randomize_statistics
from yolo_attn.layers.folding import fold_norms


def trained(layer: nn.Module) -> nn.Module:
    """Return a layer in evaluation, whose norms have statistics of a training."""
    torch.manual_seed(0)
    randomize_statistics(layer)
    return layer.eval()


def norms(layer: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in layer.modules())


def outputs(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of a layer before and after its norms are folded."""
    with torch.no_grad():
        before = layer(x)
        fold_norms(layer)
        return before, layer(x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_norm_after_a_convolution_becomes_part_of_it(bias: bool, affine: bool, groups: int) -> None:
    conv = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=groups, bias=bias)
    layer = trained(nn.Sequential(conv, nn.BatchNorm2d(12, affine=affine), nn.ReLU(), nn.Conv2d(12, 8, 1)))
    before, after = outputs(layer, torch.randn(2, 8, 6, 7))
    assert norms(layer) == 0 and isinstance(conv.weight, nn.Parameter) and conv.bias is not None
    assert torch.allclose(before, after, atol=1e-5)


def test_a_second_call_changes_nothing() -> None:
    layer = trained(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)))
    fold_norms(layer)
    state = copy.deepcopy(layer.state_dict())
    fold_norms(layer)
    assert norms(layer) == 1
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


class Shared(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(4, 4, 1)
        self.first = nn.Sequential(conv, nn.BatchNorm2d(4))
        self.second = nn.Sequential(conv, nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Quantized(nn.Conv2d):
    """A convolution with other weights than its own."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight.mul(8).round() / 8, self.bias)


class Twice(nn.Module):
    """One sequence with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU(), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), 1),
        (nn.Sequential(nn.ConvTranspose2d(4, 4, 2), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), 1),
        (nn.Sequential(Quantized(4, 4, 1), nn.BatchNorm2d(4)), 1),
        (Shared(), 2),
        (Twice(), 0),
    ],
    ids=["not adjacent", "before", "transposed", "no statistics", "subclass", "shared convolution", "shared sequence"],
)
def test_other_norms_stay(layer: nn.Module, left: int) -> None:
    before, after = outputs(trained(layer), torch.randn(2, 4, 5, 5))
    assert norms(layer) == left
    assert torch.allclose(before, after, atol=1e-5)
