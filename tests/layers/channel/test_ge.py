"""Gathered context of each variant of GE."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import GE


@pytest.mark.parametrize("extent", [2, 4, 8])
def test_windows_of_theta_minus(extent: int) -> None:
    x = torch.randn(1, 2, 9, 6)
    reach, gate = extent - 1, GE(2, variant="theta-", extent=extent).gate(x)
    cells = [-(-size // extent) for size in x.shape[2:]]
    for h in range(9):
        for w in range(6):
            i, j = h * cells[0] // 9 * extent, w * cells[1] // 6 * extent
            window = x[:, :, max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
            torch.testing.assert_close(gate[:, :, h, w], window.mean((2, 3)).sigmoid())


@pytest.mark.parametrize(("extent", "convolutions"), [(0, 1), (2, 1), (4, 2), (8, 3)])
def test_convolutions_halve_the_map_down_to_the_extent(extent: int, convolutions: int) -> None:
    layer = GE(4, variant="theta", extent=extent).eval()
    assert sum(isinstance(module, torch.nn.Conv2d) for module in layer.modules()) == convolutions
    assert isinstance(layer.gather, torch.nn.Sequential)
    if extent:
        assert layer.gather(torch.randn(1, 4, 16, 24)).shape == (1, 4, 16 // extent, 24 // extent)


def test_whole_map_kernel_reads_cell_means() -> None:
    torch.manual_seed(0)
    layer, x = GE(4, variant="theta", grid_size=3).eval(), torch.randn(2, 4, 3, 3)
    assert isinstance(layer.gather, torch.nn.Sequential)
    expected = (x * layer.gather[0].weight[:, 0]).sum((2, 3), keepdim=True) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(layer.gate(x), expected.sigmoid())
    finer = x.repeat_interleave(4, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(layer.gate(finer), layer.gate(x))


def test_has_the_published_sizes() -> None:
    sizes = {
        (("variant", "theta-"),): 0,
        (("variant", "theta"), ("extent", 4)): 5_632,
        (("extent", 4),): 14_096,
        (("grid_size", 20),): 111_376,
    }
    for options, size in sizes.items():
        assert sum(p.numel() for p in GE(256, **dict(options)).parameters()) == size


@pytest.mark.parametrize("extent", [4.0, True, "4", 3])
def test_an_extent_of_another_type_is_an_error(extent: object) -> None:
    with pytest.raises(ValueError, match=r"GE: extent=.*; use 0 or 2 or 4 or 8"):
        GE(16, extent=extent)  # type: ignore[arg-type]
