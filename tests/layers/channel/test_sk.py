"""Branch selection of SK."""

from __future__ import annotations

import torch

from yolo_attn.layers import SK


def test_branch_weights_sum_to_one() -> None:
    torch.manual_seed(0)
    layer, x = SK(16, kernel_sizes=(1, 3, 5)).eval(), torch.randn(2, 16, 6, 7)
    weights = layer.weights(x)
    assert weights.shape == (2, 3, 16)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 16))
    mixed = sum(weights[:, m, :, None, None] * branch(x) for m, branch in enumerate(layer.branches))
    torch.testing.assert_close(layer(x), mixed)


def test_dilated_kernel_has_the_reach_of_the_dense_one() -> None:
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 7] = 1
    for dilated in (True, False):
        layer = SK(1, kernel_sizes=(3, 7), dilated=dilated)
        reach = [branch[0](x)[0, 0].nonzero().sub(7).abs().max().item() for branch in layer.branches]
        assert reach == [1, 3]


def test_has_the_published_size() -> None:
    assert sum(p.numel() for p in SK(256).parameters()) == 62_528
