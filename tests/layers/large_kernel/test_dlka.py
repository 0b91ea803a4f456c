"""DLKA: the deformable convolution composed of basic operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import DLKA
from yolo_attn.layers.large_kernel import dlka
from yolo_attn.layers.large_kernel.dlka import deformable_depthwise


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (5, 1), (7, 3)])
@pytest.mark.parametrize("size", [(1, 1), (6, 9)])
@pytest.mark.parametrize("way", ["_from_tokens", "_from_map"])
def test_equals_the_compiled_operator(
    monkeypatch: pytest.MonkeyPatch, way: str, kernel_size: int, dilation: int, size: tuple[int, int]
) -> None:
    ops = pytest.importorskip("torchvision.ops")
    monkeypatch.setattr(dlka, "_from_tokens", getattr(dlka, way))  # the other way is that of GPUs and traces
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.double, requires_grad=True)
    offsets = (3 * torch.randn(2, 2 * kernel_size**2, *size, dtype=torch.double)).requires_grad_()
    kernel = torch.randn(4, 1, kernel_size, kernel_size, dtype=torch.double, requires_grad=True)
    y = deformable_depthwise(x, offsets, kernel, dilation)
    expected = ops.deform_conv2d(x, offsets, kernel, padding=kernel_size // 2 * dilation, dilation=dilation)
    torch.testing.assert_close(y, expected)
    cotangent = torch.randn_like(y)
    leaves = (x, offsets, kernel)
    for gradient, reference in zip(
        torch.autograd.grad(y, leaves, cotangent), torch.autograd.grad(expected, leaves, cotangent), strict=True
    ):
        torch.testing.assert_close(gradient, reference)


def test_equals_a_plain_convolution_without_offsets() -> None:
    x, kernel = torch.randn(2, 3, 8, 5), torch.randn(3, 1, 5, 5)
    offsets = torch.zeros(2, 50, 8, 5)
    plain = F.conv2d(x, kernel, padding=4, dilation=2, groups=3)
    torch.testing.assert_close(deformable_depthwise(x, offsets, kernel, 2), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_points_far_beyond_the_map_or_without_a_number_read_nothing_there(value: float) -> None:
    x, kernel, offsets = torch.randn(1, 3, 4, 5), torch.randn(3, 1, 3, 3), torch.zeros(1, 18, 4, 5)
    offsets[0, 8, 2, 2] = value  # the row of the tap in the middle, for one position
    without = kernel.clone()
    without[:, 0, 1, 1] = 0
    y = deformable_depthwise(x, offsets, kernel, 1)
    expected = F.conv2d(x, kernel, padding=1, groups=3)
    expected[0, :, 2, 2] = F.conv2d(x, without, padding=1, groups=3)[0, :, 2, 2]
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in DLKA(256).parameters()) == 1_634_196
