"""The scan of SS2D against a loop over positions, and in chunks."""

from __future__ import annotations

import pytest
import torch

from tests.parity.record import randomize
from yolo_attn.layers import SS2D
from yolo_attn.layers.self_attention import ss2d
from yolo_attn.layers.self_attention.ss2d import linear_scan


@pytest.mark.parametrize("length", [1, 15, 16, 17, 300])
def test_scan_equals_a_loop(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    decay, enter = (torch.rand(2, length, 3, generator=generator).double() for _ in range(2))
    decay[:, length // 2 :: 7] = 0  # forgets everything, where a quotient of products would be infinite
    state = first = torch.rand(2, 3, generator=generator).double()
    expected = []
    for n in range(length):
        state = decay[:, n] * state + enter[:, n]
        expected.append(state)
    torch.testing.assert_close(linear_scan(decay, enter, first), torch.stack(expected, 1))


def test_chunks_equal_the_whole_with_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = SS2D(4, states=2).double()
    randomize(layer)
    found = []
    for most in (2**23, 300):  # the states of one position are 4 * 2 * 8 * 2 = 128 numbers, so chunks of two
        monkeypatch.setattr(ss2d, "MAX_STATES", most)
        x = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        y = layer(x)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), y)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for whole, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, whole)


def test_four_directions() -> None:
    torch.manual_seed(0)
    layer = SS2D(4, states=2, expansion=1).eval()
    with torch.no_grad():
        layer.features[1:] = layer.features[:1]
        layer.step_weight[1:] = layer.step_weight[:1]
        layer.step_bias.copy_(layer.step_bias[:4].repeat(4))
        layer.skip_scale.zero_()
        u = torch.zeros(1, 4, 4, 5)
        u[:, :, 1, 2] = 1
        reached = layer._scan_map(u).abs().sum(1)[0]
    order = torch.arange(20).reshape(4, 5)
    by_row, by_column = order, torch.arange(20).reshape(5, 4).T
    assert (reached > 0).all()  # forward or backward, every position is after this one
    at_row, at_column = int(by_row[1, 2]), int(by_column[1, 2])
    steps = torch.minimum((by_row - at_row).abs(), (by_column - at_column).abs())
    assert reached[1, 2] == reached.max() and reached[steps == 1].min() > reached[steps > 4].max()


def test_initial_steps_are_in_their_range() -> None:
    steps = torch.nn.functional.softplus(SS2D(64).step_bias)
    assert steps.min() + 1e-6 >= 1e-3 and steps.max() <= 0.1 + 1e-6
    assert steps.log().std() > 1
