"""Queries sorted into blocks: every window is in its block's region, and the results are those of the whole map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from yolo_attn.layers import LocalAttention
from yolo_attn.layers.self_attention import _blocks, local_attention

HEIGHT, WIDTH, RADIUS = 30, 41, 2


def centers(kind: str) -> tuple[Tensor, Tensor]:
    """Return rows and columns of the centers of two images: anywhere, or all in one tile."""
    generator = torch.Generator().manual_seed(0)
    row, column = torch.rand(2, 2, HEIGHT * WIDTH, generator=generator)
    share = 1.0 if kind == "anywhere" else 0.1
    row, column = (HEIGHT * share * row).clamp(max=HEIGHT - 1), (WIDTH * share * column).clamp(max=WIDTH - 1)
    row[:, :4], column[:, :4] = torch.tensor([0, 0, HEIGHT - 1, 7.5]), torch.tensor([0, WIDTH - 1, WIDTH - 1, 8.0])
    return row, column


@pytest.mark.parametrize("kind", ["anywhere", "together"])
def test_each_query_has_a_slot_in_a_block_whose_region_includes_its_window(kind: str) -> None:
    row, column = centers(kind)
    blocks = _blocks.sort_into_blocks(row, column, HEIGHT, WIDTH, RADIUS)
    assert len(set(blocks.slots.tolist())) == 2 * HEIGHT * WIDTH
    assert torch.equal(blocks.queries.flatten()[blocks.slots], torch.arange(2 * HEIGHT * WIDTH))
    block = blocks.slots // _blocks.SIZE
    assert torch.equal(blocks.origins[block, 0], torch.arange(2 * HEIGHT * WIDTH) // (HEIGHT * WIDTH) * HEIGHT * WIDTH)
    for predicted, positions, length in ((row, blocks.rows, HEIGHT), (column, blocks.columns, WIDTH)):
        assert positions.min() >= 0 and positions.max() < length
        first, last = positions[block].aminmax(dim=1)
        center = predicted.flatten()
        assert (first <= torch.ceil(center - RADIUS).clamp(min=0)).all()
        assert (last >= torch.floor(center + RADIUS).clamp(max=length - 1)).all()


@pytest.mark.parametrize("predict", [False, True])
def test_blocks_do_not_change_the_result(predict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = LocalAttention(8, radius=RADIUS, predict=predict).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x, memory = torch.randn(2, 2, 8, HEIGHT, WIDTH, dtype=torch.double, requires_grad=True).unbind()
    results = []
    for pay in (True, False):
        monkeypatch.setattr(local_attention, "blocks_pay", lambda *_, pay=pay: pay)
        y = layer(x) + layer.read(x, memory)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, memory, *layer.parameters()))))
    for in_blocks, in_map in zip(*results, strict=True):
        torch.testing.assert_close(in_blocks, in_map)


def test_blocks_are_for_maps_much_larger_than_a_window() -> None:
    assert _blocks.blocks_pay(80, 80, 10) and _blocks.blocks_pay(HEIGHT, WIDTH, RADIUS)
    assert not _blocks.blocks_pay(40, 40, 10) and not _blocks.blocks_pay(1, 1, 10)


@pytest.mark.slow
def test_blocks_compile_without_a_break() -> None:
    torch.manual_seed(0)
    layer = LocalAttention(8, radius=RADIUS).eval()
    x = torch.randn(1, 8, HEIGHT, WIDTH)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


def test_a_map_with_nan_has_an_output() -> None:
    layer = LocalAttention(8, radius=RADIUS)
    x = torch.randn(1, 8, HEIGHT, WIDTH)
    x[0, 0, 3, 4] = torch.nan
    assert layer(x)[0, :, 3, 4].isnan().all()
