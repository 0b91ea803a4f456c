"""Formula and groups of EMA."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import EMA


def test_equals_the_formula() -> None:
    # The reference vector has one channel per group, whose softmax is always 1.
    torch.manual_seed(0)
    layer, x = EMA(16, groups=2), 2 * torch.randn(2, 16, 5, 6)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    for group in (slice(0, 8), slice(8, 16)):
        for image in x[:, group].split(1):
            rows = (image.mean(3)[0].T @ layer.conv1x1.weight[:, :, 0, 0].T + layer.conv1x1.bias).sigmoid().T
            columns = (image.mean(2)[0].T @ layer.conv1x1.weight[:, :, 0, 0].T + layer.conv1x1.bias).sigmoid().T
            u = F.instance_norm(
                image * rows[..., None] * columns[:, None], None, None, layer.norm.weight, layer.norm.bias
            )
            v = F.conv2d(image, layer.conv3x3.weight, layer.conv3x3.bias, padding=1)
            m = torch.einsum("c,chw->hw", u[0].mean((1, 2)).softmax(0), v[0])
            m = m + torch.einsum("c,chw->hw", v[0].mean((1, 2)).softmax(0), u[0])
            whole = torch.zeros(1, 16, 5, 6)
            whole[:, group] = image
            torch.testing.assert_close(layer(whole)[:, group], image * m.sigmoid())


def test_groups_are_independent() -> None:
    torch.manual_seed(0)
    layer, x = EMA(16, groups=4), torch.randn(2, 16, 5, 6)
    changed = x.clone()
    changed[:, 4:8] = torch.randn(2, 4, 5, 6)
    same = (layer.gate(changed) == layer.gate(x)).all(3).all(2).all(0)
    assert same.tolist() == [True] * 4 + [False] * 4 + [True] * 8


def test_channels_of_a_group_share_their_gate() -> None:
    torch.manual_seed(0)
    gate = EMA(16, groups=4).gate(torch.randn(2, 16, 5, 6)).reshape(2, 4, 4, 5, 6)
    assert torch.equal(gate, gate[:, :, :1].expand_as(gate))


@pytest.mark.parametrize(("options", "size"), [({}, 672), ({"groups": 8}, 10_368)])
def test_has_the_published_sizes(options: dict[str, int], size: int) -> None:
    assert sum(p.numel() for p in EMA(256, **options).parameters()) == size
