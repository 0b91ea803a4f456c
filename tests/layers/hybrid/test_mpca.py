"""Rows and columns of MPCA."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import MPCA


@pytest.mark.parametrize("joined", [False, True])
def test_rows_and_columns_are_treated_alike_unless_joined(joined: bool) -> None:
    torch.manual_seed(0)
    layer, x = MPCA(8, joined=joined).eval(), torch.randn(2, 8, 5, 6)
    alike = torch.allclose(layer(x.transpose(2, 3)), layer(x).transpose(2, 3), atol=1e-6)
    assert alike is not joined


def test_joined_changes_the_convolution_at_the_seam_only() -> None:
    torch.manual_seed(0)
    apart, joined = MPCA(4), MPCA(4, joined=True)
    joined.load_state_dict(apart.state_dict())
    rows, columns = torch.randn(1, 4, 5, 1), torch.randn(1, 4, 6, 1)
    same = (apart._strips(rows, columns) - joined._strips(rows, columns)).abs().amax((0, 1, 3)) < 1e-6
    assert [n for n, equal in enumerate(same) if not equal] == [4, 5]


def test_gate_is_the_product_of_those_of_rows_columns_and_channels() -> None:
    torch.manual_seed(0)
    layer, x = MPCA(8).eval(), torch.randn(2, 8, 5, 6)
    hidden = F.silu(layer.norm(torch.cat([layer.strips(x.mean(3)[..., None]), layer.strips(x.mean(2)[..., None])], 2)))
    weights = layer.select(hidden).sigmoid()
    rows, columns = (hidden * weights).sigmoid().split([5, 6], 2)
    channels = (layer.pool(x.mean((2, 3), keepdim=True)) * weights.mean(2, keepdim=True)).sigmoid()
    torch.testing.assert_close(layer(x), x * rows * columns.transpose(2, 3) * channels)
