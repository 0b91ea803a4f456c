"""OmniKernel: its frequency modulation against Fourier transforms, and its joint kernel against four convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import OmniKernel
from yolo_attn.layers.large_kernel import omni_kernel
from yolo_attn.layers.large_kernel.omni_kernel import FrequencyModulation


def modulation() -> FrequencyModulation:
    torch.manual_seed(0)
    layer = FrequencyModulation(4).double()
    with torch.no_grad():
        layer.alpha.normal_()
        layer.beta.normal_()
    return layer


@pytest.fixture(params=[True, False], ids=["transforms", "tables"])
def transforms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omni_kernel, "transforms", lambda x: request.param)


@pytest.mark.parametrize("size", [(6, 7), (1, 1), (1, 5), (9, 4)])
@pytest.mark.usefixtures("transforms")
def test_modulates_the_spectrum_of_the_whole_map(size: tuple[int, int]) -> None:
    layer, c = modulation(), torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    modulated = torch.fft.ifft2(layer.factor(c) * torch.fft.fft2(layer.spectrum(c))).abs()
    expected = layer.alpha[:, None, None] * modulated + layer.beta[:, None, None] * c
    torch.testing.assert_close(layer(c), expected)
    weights = torch.randn_like(c)
    gradients = [torch.autograd.grad((y * weights).sum(), c)[0] for y in (layer(c), expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.usefixtures("transforms")
def test_large_spectra_do_not_overflow() -> None:
    layer, c = modulation().float(), torch.full((1, 4, 20, 20), 1e10)
    assert layer(c).isfinite().all()


@pytest.mark.parametrize("size", [(3, 5), (20, 8), (1, 1)])
def test_the_joint_kernel_equals_four_convolutions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = OmniKernel(4, kernel_size=15).double(), torch.randn(1, 4, *size, dtype=torch.float64)
    expected: Tensor = sum(conv(x) for conv in layer.dwconvs)
    torch.testing.assert_close(layer._convolve(x), expected)
    weight, _ = layer.kernel(*size)
    assert tuple(weight.shape[2:]) == tuple(min(15, 2 * n - 1) for n in size)  # all that a map of this size can meet


def test_the_modulation_is_the_identity_before_training() -> None:
    c = torch.randn(1, 4, 5, 6)
    assert torch.equal(FrequencyModulation(4)(c), c)
