"""Variants and axes of ELA."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import ELA


@pytest.mark.parametrize(("variant", "size"), [("T", 1_792), ("B", 2_304), ("S", 10_752), ("L", 14_848)])
def test_has_the_published_sizes(variant: str, size: int) -> None:
    assert sum(p.numel() for p in ELA(256, variant=variant).parameters()) == size


def test_treats_rows_and_columns_alike() -> None:
    torch.manual_seed(0)
    layer, x = ELA(16), torch.randn(2, 16, 5, 6)
    torch.testing.assert_close(layer(x.transpose(2, 3)), layer(x).transpose(2, 3))


def test_groups_are_reduced_to_divide_the_channels() -> None:
    layer = ELA(100, variant="L")
    assert (layer.conv.groups, layer.norm.num_groups) == (4, 4)
