"""Weights of self-attention at query positions: they reproduce the layers' outputs, and are zero elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_attn import layers
from yolo_attn.analysis.queries import reading_problem
from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Layer
from yolo_attn.layers.self_attention._linear import shared_convolution
from yolo_attn.layers.self_attention._tokens import to_map, to_tokens

from .cases import CHANNELS, Case, call, cases

H, W = 5, 6
EVERY = [(row, column) for row in range(H) for column in range(W)]

with_readings = [case for case in cases() if getattr(case.spec.cls, "readings", Layer.readings) is not Layer.readings]
each = pytest.mark.parametrize("case", with_readings, ids=lambda case: case.id)


def readings_of(case: Case, height: int = H, width: int = W) -> tuple[Any, list[Tensor], list[Reading]]:
    """Return a layer, inputs and its readings, as the command computes them: without gradients."""
    layer, xs = case.trained(), case.inputs(height, width, batch=1)
    with torch.no_grad():
        return layer, xs, layer.readings(xs)


def taken(reading: Reading, weights: Tensor) -> Tensor:
    """Return the weighted sums of a reading's values, (1, C, H, W) for the weights of every position."""
    values = reading.values[0].unflatten(0, (reading.heads, -1))
    return torch.einsum("nhij,hdij->hdn", weights, values).reshape(1, -1, H, W)


def attention_output(attention: Any, query: Tensor, context: Tensor) -> Tensor:
    """Return the output of an `Attention` for its contexts."""
    tokens = to_tokens(context)
    if attention.combine != "none":
        tokens = torch.cat([tokens, query], 2)
    if attention.out_proj is not None:
        tokens = attention.out_proj(tokens)
    return torch.tanh(tokens) if attention.combine == "tanh" else tokens


def of_attention(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    query = to_tokens(xs[0]) if getattr(layer, "norms", None) is None else layer.norms[0](to_tokens(xs[0]))
    y = to_map(attention_output(layer.attention, query, contexts[0]), xs[0])
    return xs[0] + y if layer.residual else y


def of_encoder(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    t = to_tokens(xs[0])
    for part, context in zip(layer.layers, contexts, strict=True):
        t = t + attention_output(part.attention, t, context)
        if part.normalize_before:
            t = t + part.feed_forward(part.norm2(t))
        else:
            t = part.norm1(t)
            t = part.norm2(t + part.feed_forward(t))
    return to_map(t if layer.norm is None else layer.norm(t), xs[0])


def of_decoder(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    t, rest = to_tokens(xs[0]), list(contexts)
    for part in layer.layers:
        before = part.normalize_before
        t = t + attention_output(part.self_attention, t, rest.pop(0))
        t = t if before else part.norm1(t)
        t = t + attention_output(part.cross_attention, t, rest.pop(0))
        t = t if before else part.norm2(t)
        t = t + part.feed_forward(part.norm3(t) if before else t)
        t = t if before else part.norm3(t)
    return to_map(layer.norm(t), xs[0])


def of_axial(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    """The sum of normalized contexts and positions; the latter are zero in this test."""
    rows, (lines, channels) = layer.rows, (H, CHANNELS)
    content = rows.value_norm(contexts[1].permute(0, 2, 1, 3).reshape(lines, channels, W))
    y = content + rows.position_norm(torch.zeros_like(content))
    return y.reshape(1, lines, channels, W).permute(0, 2, 1, 3)


def of_bra(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    value = layer.qkv(layer._divide(xs[0])[0]).chunk(3, 1)[2]
    return layer.proj(contexts[0] + layer.dwconv(value)[:, :, :H, :W])


def of_agents(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    local = layer.dwconv(to_map(layer.value(to_tokens(xs[0])), xs[0]))
    return to_map(layer.proj(to_tokens(contexts[0] + local)), xs[0])


def of_acmix(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    convolved = layer._convolve(layer.query(xs[0]), layer.key(xs[0]), layer.value(xs[0]))
    return layer.rate_attention * contexts[0] + convolved


def of_irmb(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    mixed = layer.value(contexts[0]) if layer.attention_first else contexts[0]
    return xs[0] + layer.proj(mixed + layer.local(mixed))


def of_local(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    joined = torch.cat([to_tokens(contexts[0]), to_tokens(xs[0])], 2)
    return to_map(torch.tanh(layer.combine(joined)), xs[0])


def of_halves(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    _, _, value, factor = layer.qkvg(xs[0]).chunk(4, 1)
    context = torch.cat([c.unflatten(1, (layer.heads, -1)) for c in contexts], 2).flatten(1, 2)
    return layer.proj((context + shared_convolution(layer.dwconv, value, layer.heads)) * factor)


def of_cascade(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    cascade = layer.cascade
    return xs[0] + cascade.proj_norm(cascade.proj(torch.cat(contexts, 1).relu()))


def of_clo(layer: Any, xs: list[Tensor], contexts: list[Tensor]) -> Tensor:
    return layer.proj(torch.cat([*(branch(xs[0]) for branch in layer.local_branches), contexts[0]], 1))


OUTPUTS: dict[str, Callable[[Any, list[Tensor], list[Tensor]], Tensor]] = {
    "A2": lambda layer, xs, c: (xs[0] if layer.residual else 0) + layer.proj(layer.features(c[0])),
    "ACmix": of_acmix,
    "ASSA": lambda layer, xs, c: layer.proj(c[0]),
    "AgentAttention": of_agents,
    "AggregatedAttention": lambda layer, xs, c: layer.proj(c[0] + c[1]),
    "AreaAttention": lambda layer, xs, c: layer.proj(c[0] + layer.local(layer.qkv(xs[0]).chunk(3, 1)[2])),
    "Axial": of_axial,
    "BRA": of_bra,
    "CascadedGroupAttention": of_cascade,
    "CloAttention": of_clo,
    "CrissCross": lambda layer, xs, c: xs[0] + layer.residual_scale * sum(c),
    "CrossAttention": of_attention,
    "DAttention": lambda layer, xs, c: layer.proj(c[0]),
    "FocusedLinear": lambda layer, xs, c: layer.proj(
        c[0] + shared_convolution(layer.dwconv, layer.qkv(xs[0]).chunk(3, 1)[2], layer.heads)
    ),
    "HiLo": lambda layer, xs, c: torch.cat([layer.high.proj(c[0]), layer.low.proj(c[1])], 1),
    "LiteMLA": lambda layer, xs, c: layer.norm(layer.proj(torch.cat(c, 1))),
    "LocalAttention": of_local,
    "LocalWindowAttention": of_cascade,
    "MHSA": of_attention,
    "MLLA": lambda layer, xs, c: c[0] + layer.dwconv(xs[0]),
    "MSDA": lambda layer, xs, c: layer.proj(torch.cat(c, 1)),
    "MaSA": lambda layer, xs, c: layer.proj(c[0] + layer.dwconv(layer.value(xs[0]))),
    "NonLocal": lambda layer, xs, c: xs[0] + layer.norm(layer.expand(c[0])),
    "Outlook": lambda layer, xs, c: layer.proj(c[0]),
    "PAM": lambda layer, xs, c: xs[0] + layer.residual_scale * c[0],
    "PolaLinear": of_halves,
    "SHSA": lambda layer, xs, c: (
        xs[0] + layer.proj_norm(layer.proj(torch.cat([c[0], xs[0][:, layer.part :]], 1).relu()))
    ),
    "SelfAttention": of_attention,
    "SwinWindow": lambda layer, xs, c: layer.proj(c[0]),
    "TransformerDecoder": of_decoder,
    "TransformerEncoder": of_encoder,
    "iRMB": of_irmb,
}
"""A layer's output by the contexts of its readings, written from its formula."""

UNNORMALIZED = {
    "ASSA",
    "AggregatedAttention",
    "FocusedLinear",
    "LiteMLA",
    "MLLA",
    "MSDA",
    "NonLocal-1",
    "NonLocal-2",
    "Outlook",
    "PolaLinear",
}
"""Layers whose weights are no softmax, or a sum of several."""


@each
def test_weighted_sums_of_the_values_give_the_output(case: Case) -> None:
    layer, xs, readings = readings_of(case)
    if case.spec.name == "Axial":
        with torch.no_grad():
            layer.rows.positions[:, layer.rows.depth :] = 0  # V of the formula
        readings = layer.readings(xs)
    contexts = [taken(reading, reading.weights(EVERY)) for reading in readings]
    with torch.no_grad():
        expected = call(layer, xs)
        y = OUTPUTS[case.spec.name](layer, xs, contexts)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@each
def test_weights_of_a_query_sum_to_one(case: Case) -> None:
    if case.id.startswith(tuple(UNNORMALIZED)):
        pytest.skip("its weights are no softmax")
    for height, width in ((H, W), (1, 1), (9, 4)):
        queries = [(0, 0), (height - 1, width - 1), (height // 2, width // 3)]
        _, _, readings = readings_of(case, height, width)
        for reading in readings:
            weights = reading.weights(queries)
            assert weights.shape == (3, reading.heads, *reading.values.shape[2:])
            assert weights.min() >= -1e-6
            sums = weights.sum((2, 3))
            if case.id == "LocalAttention":  # a Gaussian around the predicted center reduces them
                assert ((sums > 0) & (sums < 1 + 1e-5)).all()
            else:
                torch.testing.assert_close(sums, torch.ones_like(sums))


@each
def test_parts_have_names_and_points_belong_to_values(case: Case) -> None:
    _, xs, readings = readings_of(case)
    assert reading_problem(readings, xs) == ""
    assert len({reading.part for reading in readings}) == len(readings)
    for reading in readings:
        assert reading.values.shape[1] % reading.heads == 0
        assert reading.points is None or reading.points.shape[1:] == (*reading.values.shape[2:], 2)


def weights_of(layer: nn.Module, query: tuple[int, int], *, height: int = 12, width: int = 13) -> list[Tensor]:
    """Return the weights (heads, h, w) of one query in each reading of a layer."""
    torch.manual_seed(0)
    x = torch.randn(1, CHANNELS, height, width)
    with torch.no_grad():
        readings = layer.eval().readings([x])
    return [reading.weights([query])[0] for reading in readings]


def support(weights: Tensor) -> set[tuple[int, int]]:
    """Return the positions with a weight other than zero in any head."""
    return {(int(row), int(column)) for row, column in (weights.abs().amax(0) > 0).nonzero()}


def test_mhsa_equals_multi_head_attention_of_pytorch() -> None:
    torch.manual_seed(0)
    layer, x = layers.MHSA(CHANNELS, heads=4, position="none").eval(), torch.randn(1, CHANNELS, 4, 5)
    reference = nn.MultiheadAttention(CHANNELS, 4, batch_first=True)
    parts = (layer.attention.query, layer.attention.key, layer.attention.value)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        tokens = to_tokens(x)
        expected = reference(tokens, tokens, tokens, average_attn_weights=False)[1]  # (1, heads, N, N)
        (reading,) = layer.readings([x])
    torch.testing.assert_close(reading.weights([(2, 3)])[0].flatten(1), expected[0, :, 2 * 5 + 3])


def test_criss_cross_and_axial_attend_to_a_column_and_a_row() -> None:
    column = {(row, 4) for row in range(12)}
    line = {(7, column) for column in range(13)}
    assert [support(weights) for weights in weights_of(layers.CrissCross(CHANNELS), (7, 4))] == [column | line] * 2
    assert [support(weights) for weights in weights_of(layers.Axial(CHANNELS), (7, 4))] == [column, line]


def test_windows_contain_the_query() -> None:
    high, low = weights_of(layers.HiLo(CHANNELS, window=4), (7, 4))
    assert support(high) == {(row, column) for row in range(4, 8) for column in range(4, 8)}
    assert low.shape[1:] == (3, 4) and len(support(low)) == 12
    (near,) = weights_of(layers.ACmix(CHANNELS, window=5), (7, 4))
    assert support(near) == {(row, column) for row in range(5, 10) for column in range(2, 7)}
    (near,) = weights_of(layers.LocalAttention(CHANNELS, radius=2, predict=False), (7, 4))
    assert support(near) == {(row, column) for row in range(5, 10) for column in range(2, 7)}
    (grid,) = weights_of(layers.iRMB(CHANNELS, window=3), (7, 4), height=12, width=12)
    assert support(grid) == {(row, column) for row in (3, 7, 11) for column in (0, 4, 8)}


def test_routed_regions_are_whole() -> None:
    (weights,) = weights_of(layers.BRA(CHANNELS, grid_size=3, topk=2), (7, 4), height=12, width=12)
    regions = {(row // 4, column // 4) for row, column in support(weights)}
    assert len(regions) == 2 and len(support(weights)) == 2 * 16


def test_weights_of_several_positions_are_divided_among_them() -> None:
    reading = Reading("", torch.zeros(1, 1, 2, 2), lambda values: values, step=2)
    weights = torch.tensor([[[[4.0, 8.0], [12.0, 2.0]]]])
    assert reading.on_map(weights, 4, 3)[0, 0].tolist() == [[1, 1, 4], [1, 1, 4], [3, 3, 1], [3, 3, 1]]
    assert reading.on_map(weights, 5, 4)[0, 0, 4].tolist() == [0, 0, 0, 0]  # the last of an odd number of rows
    cells = Reading("", torch.zeros(1, 1, 2, 2), lambda values: values, step=None)
    assert cells.on_map(weights, 4, 3)[0, 0, 0].tolist() == [1, 3, 2]  # the second column is in both cells
    unit = Reading("", torch.zeros(1, 1, 3, 3), lambda values: values)
    assert unit.on_map(torch.ones(1, 1, 3, 3), 2, 3)[0, 0].tolist() == [[1, 1, 1]] * 2  # without padding


def test_weights_of_points_are_divided_as_sampled() -> None:
    case = next(case for case in with_readings if case.id == "DAttention-0")  # two groups of heads, stride 2
    _, _, (reading,) = readings_of(case, 6, 8)
    weights = reading.weights([(1, 2), (4, 7)])
    on_map = reading.on_map(weights, 6, 8)
    assert reading.points is not None and on_map.shape == (2, reading.heads, 6, 8)
    for head in range(reading.heads):
        group = head * len(reading.points) // reading.heads
        expected = torch.zeros(6, 8)
        for point, weight in zip(reading.points[group].flatten(0, 1), weights[1, head].flatten(), strict=True):
            y, x = ((float(point[n]) + 1) / 2 * (length - 1) for n, length in enumerate((6, 8)))
            for row in range(6):
                for column in range(8):
                    expected[row, column] += weight * max(0, 1 - abs(row - y)) * max(0, 1 - abs(column - x))
        torch.testing.assert_close(on_map[1, head], expected, rtol=1e-4, atol=1e-6)


def test_every_dense_self_attention_has_readings() -> None:
    names = {case.spec.name for case in with_readings}
    assert names == set(OUTPUTS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a GPU")
def test_weights_of_sampling_points_on_a_gpu() -> None:
    """The weights are moved to the CPU first, the points are still on the GPU."""
    layer = layers.DAttention(32, groups=2, head_width=8).cuda().eval()
    with torch.no_grad():
        (reading,) = layer.readings([torch.randn(1, 32, H, W, device="cuda")])
    weights = reading.weights([(1, 2)]).cpu()
    assert torch.allclose(reading.on_map(weights, H, W).sum((2, 3)), weights.sum((2, 3)), atol=1e-4)
