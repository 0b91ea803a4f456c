"""SGE against a loop, and maps without variance."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import SGE


def test_equals_a_loop_over_groups() -> None:
    torch.manual_seed(0)
    layer, x = SGE(12, groups=4), torch.randn(2, 12, 5, 6) + 0.5
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4))
    y = layer(x)
    for image in range(2):
        for group in range(4):
            part = x[image, 3 * group : 3 * group + 3]
            t = sum(channel * channel.mean() for channel in part)
            z = (t - t.mean()) / (t.std() + 1e-5)
            gate = (layer.weight[group] * z + layer.bias[group]).sigmoid()
            torch.testing.assert_close(y[image, 3 * group : 3 * group + 3], part * gate)


@pytest.mark.parametrize("x", [torch.ones(1, 4, 3, 5), torch.full((1, 4, 1, 1), 2.0)], ids=["constant", "1x1"])
def test_a_map_without_variance_has_a_constant_gate_and_a_finite_gradient(x: torch.Tensor) -> None:
    layer, x = SGE(4), x.clone().requires_grad_()
    torch.nn.init.ones_(layer.weight)
    y = layer(x)
    y.sum().backward()
    torch.testing.assert_close(y, x * torch.tensor(1.0).sigmoid())
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize(("channels", "groups"), [(16, 16), (256, 64), (100, 4)])
def test_groups_are_reduced_to_divide_the_channels(channels: int, groups: int) -> None:
    assert SGE(channels).groups == groups
