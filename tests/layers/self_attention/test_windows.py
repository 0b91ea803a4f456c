"""Attention within windows, areas, neighborhoods and cells of any map, against loops over positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.parity.record import randomize
from yolo_attn.layers import (
    ASSA,
    MSDA,
    AreaAttention,
    CascadedGroupAttention,
    CloAttention,
    LocalWindowAttention,
    SwinWindow,
)

HEADS = 2
NEVER = float("-inf")
Position = tuple[int, int]


def trained(layer: nn.Module) -> Any:
    """Return a layer in evaluation mode and float64, without the zeros and ones of its initial parameters."""
    torch.manual_seed(0)
    randomize(layer.eval())
    return layer.double()


def random_map(channels: int, size: Position) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, channels, *size, generator=generator).double()


def of_pairs(size: Position, bias: Callable[[Position, Position], Any]) -> Tensor:
    """Return the biases of all pairs of positions, (N, N): of a query and a key."""
    places = [(i, j) for i in range(size[0]) for j in range(size[1])]
    return torch.tensor([[float(bias(at, other)) for other in places] for at in places]).double()


def mixed(query: Tensor, key: Tensor, value: Tensor, logits: Tensor) -> Tensor:
    """Return the contexts of a map for biases (heads, N, N)."""
    heads = len(logits)
    q, k, v = (t.reshape(heads, -1, t.shape[2] * t.shape[3]) for t in (query, key, value))
    weights = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5 + logits).softmax(2)
    return (v @ weights.transpose(1, 2)).reshape(value.shape)


def same_window(side: int, shift: int, size: Position) -> Callable[[Position, Position], bool]:
    """Return whether two positions are in one window; along a side of the map that a window covers, all are."""

    def same(a: int, b: int, length: int) -> bool:
        return length <= side or (a - shift) // side == (b - shift) // side

    return lambda at, other: all(same(*pair) for pair in zip(at, other, size, strict=True))


@pytest.mark.parametrize("layer_class", [SwinWindow, ASSA])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(5, 7), (2, 7), (3, 3)])
def test_windows_contain_the_positions_of_the_map_only(layer_class: type, shift: int, size: Position) -> None:
    layer = trained(layer_class(4, heads=HEADS, window=3, shift=shift))
    same, x = same_window(3, shift, size), random_map(4, size)
    with torch.no_grad():
        bias = torch.stack(
            [
                of_pairs(size, lambda a, b, t=table: t[a[0] - b[0] + 2, a[1] - b[1] + 2] if same(a, b) else NEVER)
                for table in layer.distances.table
            ]
        )
        query, key, value = layer.qkv(x).chunk(3, 1)
        contexts = mixed(query, key, value, bias)
        if layer_class is ASSA:
            q, k, v = (t.reshape(HEADS, 2, -1) for t in (query, key, value))
            sparse = (q.transpose(1, 2) @ k * 2**-0.5 + bias).relu().square()
            share = layer.branch_weight.softmax(0)
            contexts = share[0] * contexts + share[1] * (v @ sparse.transpose(1, 2)).reshape(x.shape)
        torch.testing.assert_close(layer(x), layer.proj(contexts))


@pytest.mark.parametrize("size", [(5, 7), (2, 7), (7, 1)])
def test_areas_are_runs_of_positions_and_the_last_ones_are_shorter(size: Position) -> None:
    layer, x = trained(AreaAttention(4, head_width=2, areas=4)), random_map(4, size)
    length = -(-size[0] * size[1] // 4)
    area = torch.arange(size[0] * size[1]) // length
    bias = torch.zeros(HEADS, len(area), len(area)).double().masked_fill(area[:, None] != area, NEVER)
    with torch.no_grad():
        query, key, value = layer.qkv(x).chunk(3, 1)
        torch.testing.assert_close(layer(x), layer.proj(mixed(query, key, value, bias) + layer.local(value)))


@pytest.mark.parametrize("masked", [False, True])
def test_neighbors_are_at_the_dilation_of_their_heads(masked: bool) -> None:
    layer = trained(MSDA(4, heads=2, dilations=[1, 2, 3], mask_border=masked))  # two heads use two dilations
    assert (layer.dilations, layer.heads) == ((1, 2), 1)
    border, size = 4, (4, 5)
    x = random_map(4, size)
    with torch.no_grad():
        padded = nn.functional.pad(layer.qkv(x), (border,) * 4)  # zero keys and values beyond the map
        query, key, value = padded.chunk(3, 1)
        wide = (padded.shape[2], padded.shape[3])

        def bias(at: Position, other: Position, dilation: int) -> float:
            near = all(abs(a - b) in {0, dilation} for a, b in zip(at, other, strict=True))
            inside = all(border <= a < border + length for a, length in zip(other, size, strict=True))
            return 0.0 if near and (inside or not masked) else NEVER

        biases = [of_pairs(wide, lambda a, b, d=dilation: bias(a, b, d)) for dilation in (1, 2)]
        contexts = mixed(query, key, value, torch.stack(biases))[:, :, border:-border, border:-border]
        torch.testing.assert_close(layer(x), layer.proj(contexts))


def of_cascade(layer: Any, x: Tensor, seen: Callable[[Position, Position], bool], most: int, window: int) -> Tensor:
    """Return x plus the heads of a cascade, whose depthwise convolutions see one window at a time."""
    cascade, size = layer.cascade, (x.shape[2], x.shape[3])
    outputs: list[Tensor] = []
    for n, part in enumerate(x.chunk(HEADS, 1)):
        query, key, value = cascade.qkvs[n](part + outputs[-1] if outputs else part).split([3, 3, 4], 1)
        rows = [[cascade.dwconvs[n](block) for block in row.split(window, 3)] for row in query.split(window, 2)]
        query = cascade.norms[n](torch.cat([torch.cat(row, 3) for row in rows], 2))
        table = cascade.table[n]

        def bias(at: Position, other: Position, table: Tensor = table) -> Any:
            down, right = (min(abs(a - b), most) for a, b in zip(at, other, strict=True))
            return table[down, right] if seen(at, other) else NEVER

        outputs.append(mixed(query, key, value, of_pairs(size, bias)[None]))
    return x + cascade.proj_norm(cascade.proj(torch.cat(outputs, 1).relu()))


@pytest.mark.parametrize("size", [(5, 7), (2, 3)])
def test_cascaded_heads(size: Position) -> None:
    x, options = random_map(8, size), {"heads": HEADS, "key_width": 3, "kernel_sizes": [3]}
    with torch.no_grad():
        layer = trained(LocalWindowAttention(8, window=3, **options))
        torch.testing.assert_close(layer(x), of_cascade(layer, x, same_window(3, 0, size), 2, 3))
        layer = trained(CascadedGroupAttention(8, max_distance=2, **options))
        torch.testing.assert_close(layer(x), of_cascade(layer, x, lambda at, other: True, 2, 10))


def test_padding_has_no_part_in_the_statistics_of_windows() -> None:
    layer = trained(LocalWindowAttention(8, heads=1, window=7)).train()
    x = random_map(8, (3, 4))
    query = layer.cascade.qkvs[0](x)[:, :16]
    layer.cascade.norms[0].momentum = 1.0
    layer(x)
    convolved = layer.cascade.dwconvs[0](query)  # a single window, as large as the map
    torch.testing.assert_close(layer.cascade.norms[0].running_mean, convolved.mean((0, 2, 3)))


@pytest.mark.parametrize("size", [(5, 7), (2, 3), (4, 4)])
def test_pooled_cells_are_means_of_the_positions_on_the_map(size: Position) -> None:
    layer, x = trained(CloAttention(4, heads=HEADS, alpha=1, pool=3)), random_map(4, size)
    with torch.no_grad():
        rows = [[cell.mean((2, 3)) for cell in row.split(3, 3)] for row in x.split(3, 2)]
        means = torch.stack([torch.stack(row, 2) for row in rows], 2)
        key, value = (t.reshape(HEADS, 2, -1) for t in layer.global_branch.key_value(means).chunk(2, 1))
        query = layer.global_branch.query(x).reshape(HEADS, 2, -1)
        weights = (query.transpose(1, 2) @ key * 2**-0.5).softmax(2)
        torch.testing.assert_close(layer(x), layer.proj((value @ weights.transpose(1, 2)).reshape(x.shape)))


def test_local_heads_are_divided_among_the_kernels() -> None:
    layer = CloAttention(32, heads=8, alpha=0.25, kernel_sizes=[3, 5, 7, 9])
    assert [branch.dwconv.in_channels // 3 // 4 for branch in layer.local_branches] == [1, 2, 1, 2]
    assert layer.global_branch is not None and layer.global_branch.heads == HEADS
    assert CloAttention(32, alpha=0).global_branch is None


def test_layers_reject_what_they_cannot_have() -> None:
    with pytest.raises(ValueError, match=r"^SwinWindow: shift=7; use an integer from 0 to 6"):
        SwinWindow(8, shift=7)
    with pytest.raises(ValueError, match=r"^CloAttention: alpha=2; use a number from 0 to 1"):
        CloAttention(8, alpha=2)
    with pytest.raises(ValueError, match=r"^MSDA: dilations=\[\]; use a list of positive integers"):
        MSDA(8, dilations=[])


def test_further_heads_have_the_last_kernel() -> None:
    cascade = CascadedGroupAttention(16, kernel_sizes=[7, 5]).cascade
    assert [conv.kernel_size[0] for conv in cascade.dwconvs] == [7, 5, 5, 5]
