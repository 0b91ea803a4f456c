"""Linear maps of the channels, beside the modules whose weights they use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo_attn.layers.projections import single_channel


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_single_channel_equals_the_convolution(bias: bool, memory_format: torch.memory_format) -> None:
    conv = nn.Conv2d(6, 1, 1, bias=bias)
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=memory_format)
    torch.testing.assert_close(single_channel(conv, x), conv(x))
