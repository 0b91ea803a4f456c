"""Axial compared with a loop over the positions of a line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import Axial
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.self_attention import axial
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
    x = torch.randn(7, 2, 3, 8)
    with torch.no_grad():
        y = layer(x)
        for image in range(2):
            for line in range(3):
                torch.testing.assert_close(y[:, image, line], loop(layer, x[:, image, line].t()).t())


def test_attends_along_columns_then_along_rows() -> None:
    torch.manual_seed(0)
    layer = Axial(8, groups=2).eval()
    x = torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        columns = torch.stack([loop(layer.columns, x[0, :, :, j]) for j in range(6)], 2)
        expected = torch.stack([loop(layer.rows, columns[:, i]) for i in range(5)], 1)
        torch.testing.assert_close(layer(x)[0], expected)


def vectors_of(kind: str) -> tuple[list[Tensor], Tensor]:
    """Return vectors and their logits (N, groups, length, length), whose mean is larger than their deviation."""
    torch.manual_seed(0)
    shapes = {"content": [(6, 3, 4, 2)] * 2, "positions": [(6, 3, 4, 2), (6, 6, 2)]}[kind]
    vectors = [(5 + torch.randn(shape)).requires_grad_() for shape in shapes]
    products = {"content": "ingc,jngc->ngij", "positions": "ingc,ijc->ngij"}[kind]
    return vectors, torch.einsum(products, *vectors)


@pytest.mark.parametrize("kind", ["content", "positions"])
def test_the_factor_of_logits_is_that_of_batch_norm(kind: str) -> None:
    vectors, logits = vectors_of(kind)
    norm, expected = LogitNorm(4).train(), BatchNorm(4).train()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        expected.load_state_dict(norm.state_dict() | {"bias": torch.zeros(4)})
    factor = norm.scale if kind == "content" else norm.scale_at
    weights = (logits * factor(*vectors)[..., None]).softmax(3)
    reference = expected(logits).softmax(3)
    torch.testing.assert_close(weights, reference, atol=1e-5, rtol=1e-5)
    cotangent = torch.randn_like(weights)
    gradients = [torch.autograd.grad((w * cotangent).sum(), vectors, retain_graph=True) for w in (weights, reference)]
    for gradient, other in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, expected.get_buffer(name))
    norm.eval()
    scaled = logits * factor(*vectors)[..., None]
    torch.testing.assert_close(scaled, expected.eval()(logits) - expected(torch.zeros_like(logits)))


def test_rejects_an_odd_number_of_channels() -> None:
    with pytest.raises(ValueError, match=r"^Axial: channels=7; use an even number"):
        Axial(7)


def test_training_does_not_depend_on_how_statistics_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for wide in (0, 100):
        monkeypatch.setattr(axial, "WIDE", wide)
        torch.manual_seed(0)
        layer, x = AxialLines(8, 2, 5).train(), torch.randn(7, 2, 3, 8, requires_grad=True)
        y = layer(x)
        gradients = torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))
        results.append((y, *gradients, *layer.buffers()))
    for moments, logits in zip(*results, strict=True):
        torch.testing.assert_close(moments, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("train", [True, False])
def test_parts_do_not_change_the_result(train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axial, "WIDE", 0)
    results = []
    for cached in (2**19, 2 * 7 * 7):  # all logits at once, two lines of a group at once
        monkeypatch.setattr(axial, "CACHED", cached)
        torch.manual_seed(0)
        layer, x = AxialLines(8, 2, 5).train(train), torch.randn(7, 2, 3, 8, requires_grad=True)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *layer.parameters())), *layer.buffers()))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
