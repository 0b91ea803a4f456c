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


def test_directions_with_equal_weights_commute_with_turns_of_the_map() -> None:
    torch.manual_seed(0)
    layer = SS2D(4, states=2, expansion=1).eval().double()
    u = torch.randn(1, 4, 3, 5).double()
    with torch.no_grad():
        for weight in (layer.features, layer.step_weight, layer.decay):
            weight.copy_(torch.randn_like(weight[:1]))
        for weight in (layer.step_bias, layer.skip_scale):
            weight.copy_(torch.randn_like(weight[:4]).repeat(4))
        expected = layer._scan_map(u)
        torch.testing.assert_close(layer._scan_map(u.flip(2, 3)), expected.flip(2, 3))
        torch.testing.assert_close(layer._scan_map(u.transpose(2, 3)), expected.transpose(2, 3))
        layer.decay[3] += 1  # columns backwards
        assert not torch.allclose(layer._scan_map(u.flip(2, 3)), layer._scan_map(u).flip(2, 3))
        assert not torch.allclose(layer._scan_map(u.transpose(2, 3)), layer._scan_map(u).transpose(2, 3))


def test_initial_steps_are_in_their_range() -> None:
    steps = torch.nn.functional.softplus(SS2D(64).step_bias)
    assert steps.min() + 1e-6 >= 1e-3 and steps.max() <= 0.1 + 1e-6
    assert steps.log().std() > 1
