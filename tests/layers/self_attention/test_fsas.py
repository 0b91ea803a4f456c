"""FSAS against the sums of its definition."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import FSAS
from yolo_attn.layers.norms import normalize_channels


@pytest.mark.parametrize(("patch", "size"), [(4, (4, 8)), (3, (5, 4)), (1, (2, 2)), (2, (1, 3))])
@pytest.mark.parametrize("correlation", [True, False])
def test_equals_the_sums(patch: int, size: tuple[int, int], correlation: bool) -> None:
    torch.manual_seed(0)
    layer = FSAS(2, patch=patch, correlation=correlation).eval().double()
    x = torch.randn(1, 2, *size).double()
    with torch.no_grad():
        query, key, value = layer.dwconv(layer.qkv(x)).chunk(3, 1)
        rows, columns = (-(-length // patch) * patch for length in size)
        q, k = torch.zeros(2, 1, 4, rows, columns).double()
        q[..., : size[0], : size[1]], k[..., : size[0], : size[1]] = query, key
        c = torch.zeros_like(q)
        for i in range(rows):
            for j in range(columns):
                top, left = i // patch * patch, j // patch * patch
                for a in range(patch):
                    for b in range(patch):
                        sign = 1 if correlation else -1
                        down, right = (i - top + sign * a) % patch, (j - left + sign * b) % patch
                        c[..., i, j] += q[..., top + down, left + right] * k[..., top + a, left + b]
        factor = normalize_channels(layer.norm, c[..., : size[0], : size[1]])
        torch.testing.assert_close(layer(x), layer.proj(value * factor))
