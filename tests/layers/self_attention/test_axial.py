"""Axial compared with a loop over the positions of a line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import Axial
from yolo_attn.layers.self_attention.axial import AxialLines, LogitNorm


def scaled(norm: LogitNorm, group: int, logit: Tensor) -> Tensor:
    return logit * norm.weight[group] / (norm.running_var[group] + norm.eps).sqrt()


def loop(layer: AxialLines, x: Tensor) -> Tensor:
    """Attend along one line x (C, length)."""
    depth, length = layer.depth, x.shape[1]
    expanded = layer.expand_norm(layer.expand(x[None]))[0]
    content, position = torch.zeros_like(x), torch.zeros_like(x)
    for group in range(layer.groups):
        group_values = expanded[group * 2 * depth : (group + 1) * 2 * depth]
        q, k, v = group_values[: depth // 2], group_values[depth // 2 : depth], group_values[depth:]

        def at(distance: int) -> Tensor:
            clamped = min(max(distance, 1 - layer.span), layer.span - 1)
            return layer.positions[0, :, clamped + layer.span - 1]

        for i in range(length):
            logits = []
            for j in range(length):
                logit = scaled(layer.content_norm, group, q[:, i] @ k[:, j])
                logit = logit + scaled(layer.query_norm, group, q[:, i] @ at(i - j)[: depth // 2])
                logits.append(logit + scaled(layer.key_norm, group, k[:, j] @ at(j - i)[depth // 2 : depth]))
            weights = torch.stack(logits).softmax(0)
            rows = slice(group * depth, (group + 1) * depth)
            content[rows, i] = v @ weights
            position[rows, i] = sum(weights[j] * at(i - j)[depth:] for j in range(length))
    return (layer.value_norm(content[None]) + layer.position_norm(position[None]))[0]


@pytest.mark.parametrize("span", [7, 3])
def test_equals_the_loop_within_and_beyond_the_span(span: int) -> None:
    torch.manual_seed(0)
    layer = AxialLines(8, 2, span).eval()
    for norm in (layer.content_norm, layer.query_norm, layer.key_norm):
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 8, 7)
    with torch.no_grad():
        y = layer(x)
        for image in range(2):
            for line in range(3):
                torch.testing.assert_close(y[image, line], loop(layer, x[image, line]))


def test_attends_along_columns_then_along_rows() -> None:
    torch.manual_seed(0)
    layer = Axial(8, groups=2).eval()
    x = torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        columns = torch.stack([loop(layer.columns, x[0, :, :, j]) for j in range(6)], 2)
        expected = torch.stack([loop(layer.rows, columns[:, i]) for i in range(5)], 1)
        torch.testing.assert_close(layer(x)[0], expected)


def test_logits_have_unit_variance_in_training_for_any_mean() -> None:
    torch.manual_seed(0)
    norm = LogitNorm(4).train()
    x = 5 + 3 * torch.randn(2, 4, 6, 6)
    assert norm(x).var((0, 2, 3), correction=0).allclose(torch.ones(4), atol=1e-3)
    weights = norm(x).softmax(3)
    norm.running_var.copy_(x.var((0, 2, 3), correction=0))
    torch.testing.assert_close(norm.eval()(x).softmax(3), weights)  # although evaluation does not subtract the mean


def test_rejects_an_odd_number_of_channels() -> None:
    with pytest.raises(ValueError, match=r"^Axial: channels=7; use an even number"):
        Axial(7)
