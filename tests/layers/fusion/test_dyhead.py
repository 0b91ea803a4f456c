"""DyHead in a trace, where sizes may vary, and its two blocks in half precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import DyHead


def varied(blocks: int = 1) -> DyHead:
    """Return a layer with larger weights than its initial ones, which move the taps by a few positions."""
    torch.manual_seed(0)
    layer = DyHead([8, 8, 8], blocks=blocks).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return layer


def levels(*heights: int) -> list[Tensor]:
    return [torch.randn(1, 8, height, height) for height in heights]


@pytest.mark.parametrize("finer", [14, 13, 11])
def test_a_trace_computes_the_same(finer: int) -> None:
    layer, xs = varied(), levels(7, finer, 4)
    with torch.no_grad():
        traced = torch.jit.trace(layer, (xs,))
        torch.testing.assert_close(traced(xs), layer(xs))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.08)])
def test_rounding_between_blocks_moves_no_tap_far(dtype: torch.dtype, tolerance: float) -> None:
    half = varied(blocks=2).to(dtype)
    wide, xs = copy.deepcopy(half).float(), [x.to(dtype) for x in levels(10, 20, 5)]
    with torch.no_grad():
        y, expected = half(xs), wide([x.float() for x in xs])
    assert (y.float() - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("blocks", [1, 2])
def test_only_the_levels_that_matter_are_computed(blocks: int) -> None:
    layer, (level, finer, coarser) = varied(blocks), levels(7, 14, 4)
    counts = [0] * blocks
    for number, block in enumerate(layer.blocks):
        block.register_forward_hook(lambda *_, number=number: counts.__setitem__(number, counts[number] + 1))
    with torch.no_grad():
        y = layer([level, finer, coarser])
        assert counts == [3] * (blocks - 1) + [1]
        torch.testing.assert_close(y, layer._levels([finer, level, coarser])[1])
