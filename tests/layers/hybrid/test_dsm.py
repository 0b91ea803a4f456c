"""DSM against its formula, and its identity."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yolo_attn.layers import DSM


def test_equals_its_formula() -> None:
    torch.manual_seed(0)
    layer, x = DSM(6), torch.randn(2, 6, 9, 10)
    with torch.no_grad():
        for scale in (layer.deviation_scale, layer.detail_scale, layer.scale, layer.skip_scale):
            scale.copy_(torch.randn(6))
    conv, (five, seven), three = layer.spatial.conv, layer.spatial.wide, layer.spatial.near
    m = F.conv2d(torch.stack([x.amax(1), x.mean(1)], 1), conv.weight, conv.bias, padding=1)
    wide = F.conv2d(x, five.weight, five.bias, padding=4, dilation=2, groups=6)
    wide = F.conv2d(wide, seven.weight, seven.bias, padding=9, dilation=3, groups=6)
    z = wide * m + F.conv2d(x, three.weight, three.bias, padding=1, groups=6)
    a1, b1, a2, b2 = (
        scale.view(-1, 1, 1) for scale in (layer.deviation_scale, layer.detail_scale, layer.scale, layer.skip_scale)
    )
    selected = a1 * (z - z.mean((2, 3), keepdim=True)) * z + b1 * z
    torch.testing.assert_close(layer(x), a2 * selected + b2 * x)


def test_is_the_identity_as_published() -> None:
    x = torch.randn(2, 8, 5, 6)
    assert torch.equal(DSM(8)(x), x)
    assert "gamma" not in dict(DSM(8, init="identity").named_parameters())
