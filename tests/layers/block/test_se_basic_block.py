"""Branch and shortcut of SEBasicBlock."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import SEBasicBlock


def test_equals_the_formula_with_a_projected_shortcut() -> None:
    torch.manual_seed(0)
    layer = SEBasicBlock(8, out_channels=12, reduction=4).eval()
    x = torch.randn(2, 8, 5, 6)
    branch = layer.norm2(layer.conv2(layer.norm1(layer.conv1(x)).relu()))
    branch = branch * layer.se.gate(branch)
    project, norm = layer.shortcut
    y = layer(x)
    assert y.shape == (2, 12, 5, 6)
    torch.testing.assert_close(y, (branch + norm(project(x))).relu())


def test_no_reduction_gives_the_plain_block() -> None:
    torch.manual_seed(0)
    layer = SEBasicBlock(8, reduction=None).eval()
    x = torch.randn(2, 8, 5, 6)
    branch = layer.norm2(layer.conv2(layer.norm1(layer.conv1(x)).relu()))
    torch.testing.assert_close(layer(x), (branch + x).relu())


def test_identity_init_requires_equal_channels() -> None:
    with pytest.raises(ValueError, match=r"^SEBasicBlock: init=identity; use init=paper, because .* 8 channels to 12"):
        SEBasicBlock(8, out_channels=12, init="identity")
    x = torch.randn(2, 8, 5, 6)
    assert torch.equal(SEBasicBlock(8, out_channels=8, init="identity")(x), x)
