"""ContextGuided with another number of channels."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import ContextGuided


def test_has_no_shortcut_where_the_channels_change() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 6, 7)
    for out, shortcut in ((8, x), (12, 0)):
        layer = ContextGuided(8, out_channels=out).eval()
        features = layer.features(x)
        assert features.shape == (2, out, 6, 7)
        torch.testing.assert_close(layer(x), features * layer.weights(features) + shortcut)


def test_the_surroundings_are_as_far_as_the_dilation() -> None:
    layer = ContextGuided(8, dilation=3).eval()
    x = torch.zeros(1, 8, 9, 9, requires_grad=True)
    layer.features(x)[0, 4:, 4, 4].sum().backward()  # the second half comes from the dilated convolution
    seen = (x.grad[0].abs().sum(0) > 0).nonzero().tolist()
    assert seen == [[row, column] for row in (1, 4, 7) for column in (1, 4, 7)]


@pytest.mark.parametrize(("channels", "out", "argument"), [(7, None, "channels=7"), (8, 5, "out_channels=5")])
def test_rejects_an_odd_width(channels: int, out: int | None, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^ContextGuided: {argument}; use an even number$"):
        ContextGuided(channels, out_channels=out)
