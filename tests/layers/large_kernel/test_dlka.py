"""DLKA: the deformable convolution composed of basic operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import DLKA
from yolo_attn.layers.large_kernel.dlka import deformable_depthwise


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (5, 1), (7, 3)])
@pytest.mark.parametrize("size", [(1, 1), (6, 9)])
def test_equals_the_compiled_operator(kernel_size: int, dilation: int, size: tuple[int, int]) -> None:
    ops = pytest.importorskip("torchvision.ops")
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


def test_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in DLKA(256).parameters()) == 1_634_196
