"""Kernel size of ECA."""

from __future__ import annotations

import pytest

from yolo_attn.layers import ECA


@pytest.mark.parametrize(("channels", "size"), [(8, 3), (64, 3), (128, 5), (256, 5), (1024, 5), (2048, 7)])
def test_paper_kernel_size_by_channels(channels: int, size: int) -> None:
    # t = (log2 C + 1) / 2 truncated to an integer, plus one if even: C = 2048 gives 6, hence 7
    assert ECA(channels, kernel_size=None).conv.kernel_size == (size,)
    assert ECA(channels).conv.kernel_size == (3,)
