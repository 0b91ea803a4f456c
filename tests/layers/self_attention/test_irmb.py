"""The windows of iRMB and the order of attention and expansion."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import iRMB
from yolo_attn.layers.self_attention import irmb


def test_a_window_is_a_grid_over_the_map() -> None:
    torch.manual_seed(0)
    layer = iRMB(8, window=2).eval()
    x = torch.randn(1, 8, 6, 8, requires_grad=True)  # 3 x 4 windows, so a window consists of every third row
    layer._attend(x)[0, :, 1, 2].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0).nonzero().tolist()
    assert reached == [[1, 2], [1, 6], [4, 2], [4, 6]]


def test_attention_first_gives_the_same_result_for_linear_values_without_bias() -> None:
    torch.manual_seed(0)
    after, before = iRMB(8, head_width=8).eval(), iRMB(8, head_width=8, attention_first=True).eval()
    torch.nn.init.zeros_(after.value[0].bias)
    after.value[1] = before.value[1] = torch.nn.Identity()
    before.load_state_dict(after.state_dict())
    x = torch.randn(1, 8, 7, 7)
    torch.testing.assert_close(before(x), after(x))


def test_values_have_the_expanded_number_of_channels() -> None:
    assert iRMB(24, expansion=2.5, head_width=8).value[0].out_channels == 60
    assert iRMB(8, expansion=0.01).value[0].out_channels == 1


@pytest.mark.parametrize("size", [(14, 14), (9, 5), (3, 12)])
def test_parts_do_not_change_the_result(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = iRMB(8, window=3, head_width=4).eval(), torch.randn(2, 8, *size)
    expected = layer(x)  # with gradients, in one part
    for cached in (1, 2 * 32 * 3 * 12, 2**20):  # a row of windows each, some rows, all
        monkeypatch.setattr(irmb, "CACHED", cached)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), expected)
