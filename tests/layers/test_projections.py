"""Linear maps of the channels, beside the modules whose weights they use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from yolo_attn.layers.projections import TokenLinear, convolves, single_channel
from yolo_attn.layers.self_attention._tokens import attend


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_single_channel_equals_the_convolution(bias: bool, memory_format: torch.memory_format) -> None:
    conv = nn.Conv2d(6, 1, 1, bias=bias)
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=memory_format)
    torch.testing.assert_close(single_channel(conv, x), conv(x))


@pytest.fixture(params=["AVX2", "AVX512"])
def two_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads of a processor that is faster with matrix products, and of one that is faster with convolutions."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert convolves(torch.randn(1)) == (request.param == "AVX512")
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("transposed", [True, False])
def test_tokens_of_several_threads_equal_the_linear_layer(transposed: bool) -> None:
    layer = TokenLinear(6, 5)
    x = torch.randn(2, 6, 7).transpose(1, 2) if transposed else torch.randn(2, 7, 6)
    y = layer(x)
    assert y.is_contiguous()  # as the fused attention requires
    torch.testing.assert_close(y, F.linear(x, layer.weight, layer.bias))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("scale", [None, 0.3])
def test_a_single_head_of_several_threads_equals_the_fused_attention(scale: float | None) -> None:
    q, k, v = (torch.randn(2, 1, n, 6, requires_grad=True) for n in (7, 9, 9))
    y, expected = attend(q, k, v, scale=scale), F.scaled_dot_product_attention(q, k, v, scale=scale)
    torch.testing.assert_close(y, expected)
    cotangent = torch.randn_like(y)
    found = torch.autograd.grad(y, (q, k, v), cotangent)
    torch.testing.assert_close(found, torch.autograd.grad(expected, (q, k, v), cotangent))
