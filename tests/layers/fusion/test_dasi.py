"""DASI with two and three inputs of different sizes and widths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.errors import UserError
from yolo_attn.layers import DASI
from yolo_attn.registry import build


def levels(*, finer: tuple[int, int] = (12, 14)) -> tuple[Tensor, Tensor, Tensor]:
    """Return a map, a coarser one with twice as many channels, and a finer one with half as many."""
    torch.manual_seed(1)
    return torch.randn(2, 8, 6, 7), torch.randn(2, 16, 3, 4), torch.randn(2, 4, *finer)


def trained(channels: list[int], **options: str) -> DASI:
    torch.manual_seed(0)
    layer = DASI(channels, **options)
    nn.init.uniform_(layer.norm.weight, 0.5, 1.5)
    nn.init.normal_(layer.norm.bias)
    return layer.eval()


def test_the_order_of_the_further_inputs_is_an_option() -> None:
    x, coarser, finer = levels()
    first, second = trained([8, 16, 4]), trained([8, 4, 16], second="finer")
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second([x, finer, coarser]), first([x, coarser, finer]), rtol=0, atol=0)


@pytest.mark.parametrize("second", ["coarser", "finer"])
@pytest.mark.parametrize("width", [8, 6])
def test_each_part_of_two_maps_is_joined_to_its_own(second: str, width: int) -> None:
    _, coarser, finer = levels()
    x, other = torch.randn(2, width, 6, 7), coarser if second == "coarser" else finer
    layer = trained([width, other.shape[1]], second=second)
    parts = {8: 4, 6: 2}[width]
    with torch.no_grad():
        query = layer.query(x)
        aligned = layer.align[second](other)
        if second == "coarser":
            aligned = F.interpolate(aligned, (6, 7), mode="bilinear", align_corners=True)
        step = width // parts
        merged = [
            layer.merge(torch.cat([query[:, n : n + step], aligned[:, n : n + step]], 1)) for n in range(0, width, step)
        ]
        expected = layer.norm(layer.proj(torch.cat(merged, 1)) + query).relu()
        torch.testing.assert_close(layer([x, other]), expected)
    assert layer.attention_maps([x[:1], other[:1]]) == []


def test_a_finer_map_of_any_size_is_resized() -> None:
    layer, (x, coarser, finer) = trained([8, 16, 4]), levels(finer=(13, 9))
    with torch.no_grad():
        fitting = F.interpolate(layer.align["finer"](finer), (6, 7), mode="bilinear", align_corners=True)
        weights = layer.weights([x])
        coarse = F.interpolate(layer.align["coarser"](coarser), (6, 7), mode="bilinear", align_corners=True)
        mixed = weights * coarse + (1 - weights) * fitting
        expected = layer.norm(layer.proj(mixed) + layer.query(x)).relu()
        torch.testing.assert_close(layer([x, coarser, finer]), expected)


@pytest.mark.parametrize("count", [1, 4])
def test_takes_two_or_three_inputs(count: int) -> None:
    with pytest.raises(UserError, match=f"^DASI reads 2 to 3 inputs, not {count}$"):
        build("DASI", [8] * count)
    with pytest.raises(ValueError, match=r"^DASI: channels=\[8.*\]; use 2 to 3 inputs$"):
        DASI([8] * count)
