"""MLCA: cells and the whole map."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import MLCA


def test_a_cell_has_one_gate() -> None:
    torch.manual_seed(0)
    gate = MLCA(8).gate(torch.randn(2, 8, 10, 15))
    cells = gate[:, :, ::2, ::3].repeat_interleave(2, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(gate, cells)
    assert gate[0, 0].unique().numel() > 5


def test_without_its_local_share_the_map_has_one_gate_of_its_mean() -> None:
    torch.manual_seed(0)
    layer, x = MLCA(8, local_weight=0), torch.randn(2, 8, 10, 15)
    expected = layer.whole(x.mean((2, 3))[:, None])[:, 0].sigmoid()
    torch.testing.assert_close(layer.gate(x), expected[..., None, None].expand_as(x))


def test_with_one_cell_the_local_gate_is_that_of_the_map() -> None:
    torch.manual_seed(0)
    layer, x = MLCA(8, local_size=1, local_weight=1), torch.randn(2, 8, 4, 6)
    expected = layer.local(x.mean((2, 3))[:, None])[:, 0].sigmoid()
    torch.testing.assert_close(layer.gate(x), expected[..., None, None].expand_as(x))


@pytest.mark.parametrize(("channels", "kernel"), [(7, 1), (8, 3), (127, 3), (128, 5), (256, 5), (2047, 5), (2048, 7)])
def test_the_kernel_grows_with_the_channels(channels: int, kernel: int) -> None:
    assert MLCA(channels).local.kernel_size == (kernel,)


@pytest.mark.parametrize("weight", [-0.1, 1.5, True, "half"])
def test_refuses_a_share_outside_of_zero_to_one(weight: object) -> None:
    with pytest.raises(ValueError, match=r"MLCA: local_weight=.*; use a number from 0 to 1"):
        MLCA(8, local_weight=weight)  # type: ignore[arg-type]
