"""Transformations of STN."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import STN


def fixed(*transformation: float) -> STN:
    """Return a layer that applies this transformation, row by row, to every map."""
    layer = STN(3, offset_scale=1.0).eval()
    with torch.no_grad():
        layer.affine.bias.copy_(torch.tensor(transformation) - torch.eye(2, 3).flatten())
    return layer


def test_integer_shift_moves_the_map_and_pads_with_zeros() -> None:
    x = torch.randn(2, 3, 6, 8)
    y = fixed(1, 0, 2 * 2 / 8, 0, 1, 2 / 6)(x)  # by two columns and one row
    torch.testing.assert_close(y[:, :, :-1, :-2], x[:, :, 1:, 2:], atol=1e-5, rtol=0)
    assert y[:, :, -1].abs().max() < 1e-5 and y[:, :, :, -2:].abs().max() < 1e-5


def test_negative_scale_flips_the_map() -> None:
    x = torch.randn(1, 3, 5, 7)
    torch.testing.assert_close(fixed(-1, 0, 0, 0, 1, 0)(x), x.flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(fixed(1, 0, 0, 0, -1, 0)(x), x.flip(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (7, 11), (20, 20), (53, 81)])
def test_is_exactly_the_identity_at_initialization(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    layer = STN(3)
    assert torch.equal(layer(x), x)
    assert torch.equal(layer.transformation(x), torch.eye(2, 3).expand(2, 2, 3))


def test_one_training_step_keeps_the_map_in_view() -> None:
    torch.manual_seed(0)
    layer, x = STN(8), torch.randn(2, 8, 12, 12)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    (layer(x) - 2 * x.roll(1, 2)).square().mean().backward()
    optimizer.step()
    assert 0 < (layer.transformation(x) - torch.eye(2, 3)).abs().max() < 0.5
