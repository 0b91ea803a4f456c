"""The windows of iRMB and the order of attention and expansion."""

from __future__ import annotations

import torch

from yolo_attn.layers import iRMB


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
