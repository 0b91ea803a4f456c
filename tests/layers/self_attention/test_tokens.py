"""Chunked attention and positions of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_attn.layers import (
    A2,
    BRA,
    MHSA,
    AgentAttention,
    CrossAttention,
    LocalAttention,
    NonLocal,
    SelfAttention,
    TransformerEncoder,
)
from yolo_attn.layers.self_attention import _tokens

CHUNKED: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "relative": (MHSA, {"position": "relative", "max_distance": 2}),
    "bias": (MHSA, {"position": "bias", "max_distance": 2}),
    "additive": (SelfAttention, {"score": "additive", "heads": 2}),
    "local-m": (LocalAttention, {"radius": 2, "predict": False}),
    "local-p": (LocalAttention, {"radius": 2}),
    "concatenation": (NonLocal, {"pairwise": "concatenation"}),
}


def trained(name: str) -> nn.Module:
    torch.manual_seed(0)
    cls, options = CHUNKED[name]
    layer = cls(8, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.eval()


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_do_not_change_the_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = trained(name), torch.randn(2, 8, 5, 6, dtype=torch.float64)
    at_once = results(layer, x)
    calls = []
    monkeypatch.setattr(_tokens, "MAX_ELEMENTS", 200)
    monkeypatch.setattr(_tokens, "checkpoint", lambda *a, **k: calls.append(1) or checkpoint(*a, **k))
    checkpoint = torch.utils.checkpoint.checkpoint
    in_chunks = results(layer, x)
    assert len(calls) > 1
    for chunk, whole in zip(in_chunks, at_once, strict=True):
        torch.testing.assert_close(chunk, whole)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), at_once[0])


@pytest.mark.slow
def test_chunks_compile_and_train_in_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = trained("bias").float(), torch.randn(2, 8, 5, 6)
    whole = layer(x)
    monkeypatch.setattr(_tokens, "MAX_ELEMENTS", 2000)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        y = compiled(x)
    y.sum().backward()
    assert (y - whole).abs().max() < 0.05 * whole.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_training_in_chunks_stores_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = trained("additive"), torch.randn(1, 8, 8, 8, dtype=torch.float64)

    def largest_saved() -> int:
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            layer(x)
        return max(saved)

    assert largest_saved() == 64 * 64 * 8
    monkeypatch.setattr(_tokens, "MAX_ELEMENTS", 64 * 64)
    assert largest_saved() < 64 * 64


def test_chunks_on_a_cpu_are_smaller_and_only_larger_ones_are_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokens, "MAX_ELEMENTS", 48)
    monkeypatch.setattr(_tokens, "MAX_ELEMENTS_CPU", 12)
    sizes: list[int] = []

    def function(query: Tensor) -> Tensor:
        sizes.append(query.shape[-2])
        return 2 * query

    def sizes_for(count: int) -> list[int]:
        sizes.clear()
        queries = torch.ones(1, count, 1)
        torch.testing.assert_close(_tokens.chunked(function, queries, elements_per_query=4), 2 * queries)
        return sizes

    assert sizes_for(13) == [3, 3, 3, 3, 1]
    with torch.no_grad():
        assert sizes_for(12) == [3, 3, 3, 3]
    assert sizes_for(12) == [12]


def test_sine_positions_equal_detr() -> None:
    features = _tokens.sine_positions(torch.zeros(1, 8, 3, 5))
    assert features.shape == (1, 15, 8)
    for row in range(3):
        for column in range(5):
            expected = []
            for angle in (2 * math.pi * (row + 1) / 3, 2 * math.pi * (column + 1) / 5):
                for wave in (1, 10000 ** (-2 / 4)):
                    expected += [math.sin(angle * wave), math.cos(angle * wave)]
            torch.testing.assert_close(features[0, 5 * row + column], torch.tensor(expected), atol=1e-5, rtol=0)


def test_sine_positions_are_relative_to_the_map_size() -> None:
    small = _tokens.sine_positions(torch.zeros(1, 16, 4, 4)).reshape(4, 4, 16)
    large = _tokens.sine_positions(torch.zeros(1, 16, 8, 8)).reshape(8, 8, 16)
    torch.testing.assert_close(large[1::2, 1::2], small, atol=1e-5, rtol=0)


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "concat", "additive"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_large_values_are_finite_in_half_precision(score: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (1000 * torch.randn(1, 16, 12, 12)).to(dtype)
    layer = CrossAttention([16, 16], score=score).to(dtype).eval()
    with torch.no_grad():
        assert layer([x, x.flip(3)]).isfinite().all()


@pytest.mark.parametrize("cls", [A2, AgentAttention, BRA, LocalAttention, MHSA, TransformerEncoder])
def test_outputs_for_large_values_are_finite_in_half_precision(cls: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer, x = cls(16).half().eval(), (1000 * torch.randn(1, 16, 12, 12)).half()
    with torch.no_grad():
        assert layer(x).isfinite().all()
