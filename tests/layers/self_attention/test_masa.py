"""MaSA on maps and widths that the references do not cover."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import MaSA


@pytest.mark.parametrize("size", [(1, 6), (6, 1)])
def test_both_forms_are_equal_on_a_single_row_or_column(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    decomposed, whole = MaSA(8, heads=2).eval(), MaSA(8, heads=2, decomposed=False).eval()
    whole.load_state_dict(decomposed.state_dict())
    x = torch.randn(2, 8, *size)
    torch.testing.assert_close(whole(x), decomposed(x))


def test_the_last_of_an_odd_number_of_channels_is_not_rotated() -> None:
    layer = MaSA(6, heads=2)
    x = torch.randn(1, 6, 3, 4)
    turned = layer._rotate(x)
    unchanged = [bool(torch.equal(turned[:, n], x[:, n])) for n in range(6)]
    assert unchanged == [False, False, True, False, False, True]
    torch.testing.assert_close(turned[:, :2].norm(dim=1), x[:, :2].norm(dim=1))
