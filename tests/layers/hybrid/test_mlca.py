"""Local and global gates of MLCA."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import MLCA


def test_gate_is_constant_within_a_cell() -> None:
    torch.manual_seed(0)
    gate = MLCA(8).gate(torch.randn(2, 8, 10, 15))
    cells = gate[:, :, ::2, ::3].repeat_interleave(2, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(gate, cells)
    assert gate[0, 0].unique().numel() > 5


def test_zero_local_weight_leaves_the_global_gate() -> None:
    torch.manual_seed(0)
    layer, x = MLCA(8, local_weight=0), torch.randn(2, 8, 10, 15)
    expected = layer.conv_global(x.mean((2, 3))[:, None])[:, 0].sigmoid()
    torch.testing.assert_close(layer.gate(x), expected[..., None, None].expand_as(x))


def test_one_cell_gives_the_local_gate_of_the_whole_map() -> None:
    torch.manual_seed(0)
    layer, x = MLCA(8, grid_size=1, local_weight=1), torch.randn(2, 8, 4, 6)
    expected = layer.conv_local(x.mean((2, 3))[:, None])[:, 0].sigmoid()
    torch.testing.assert_close(layer.gate(x), expected[..., None, None].expand_as(x))


@pytest.mark.parametrize(("channels", "kernel"), [(7, 1), (8, 3), (127, 3), (128, 5), (256, 5), (2047, 5), (2048, 7)])
def test_default_kernel_size_by_channels(channels: int, kernel: int) -> None:
    assert MLCA(channels).conv_local.kernel_size == (kernel,)


@pytest.mark.parametrize("weight", [-0.1, 1.5, True, "half"])
def test_local_weight_out_of_range_is_an_error(weight: object) -> None:
    with pytest.raises(ValueError, match=r"MLCA: local_weight=.*; use a number from 0 to 1"):
        MLCA(8, local_weight=weight)  # type: ignore[arg-type]
