"""Bands of RCA and RCM."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import RCA, RCM


def test_gate_depends_on_the_means_of_rows_and_columns_only() -> None:
    torch.manual_seed(0)
    layer, x = RCA(8).eval(), torch.randn(1, 8, 5, 6)
    rows, columns, mean = x.mean(3, keepdim=True), x.mean(2, keepdim=True), x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(layer.weights(rows + columns - mean), layer.weights(x))
    torch.testing.assert_close(layer(x), layer.weights(x) * layer.dwconv(x))


@pytest.mark.parametrize(("reduction", "hidden"), [(1, 12), (4, 3), (8, 3), (5, 12)])
def test_reduction_is_reduced_to_divide_the_channels(reduction: int, hidden: int) -> None:
    layer = RCA(12, reduction=reduction)
    assert layer.bands[0].out_channels == layer.bands[0].groups == layer.bands[3].groups == hidden


def test_rcm_adds_a_branch_that_is_small_as_published_and_zero_with_the_identity() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 5, 6)
    change = (RCM(8).double()(x.double()) - x).abs().max()
    assert 0 < change < 1e-5
    assert torch.equal(RCM(8, init="identity")(x), x)
    layer = RCM(8).eval()
    with torch.no_grad():
        layer.scale.copy_(torch.randn(8))
    branch = layer.mlp(layer.norm(layer.rca(x)))
    torch.testing.assert_close(layer(x), x + layer.scale.view(-1, 1, 1) * branch)
