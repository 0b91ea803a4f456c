"""SelfAttention: the score functions."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers import SelfAttention


def score(layer: SelfAttention, name: str, q: Tensor, k: Tensor) -> Tensor:
    weights = layer.attention.score
    if name in {"dot", "scaled_dot"}:
        return q @ k * (len(q) ** -0.5 if name == "scaled_dot" else 1)
    if name == "general":
        return q @ weights.bilinear[0] @ k
    hidden = torch.tanh(
        q @ weights.query_weight[0] + k @ weights.key_weight[0] + (weights.bias if name == "additive" else 0)
    )
    return hidden @ weights.score_weight[0, :, 0]


def test_scores_equal_the_loop() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    tokens = x[0].flatten(1).t()
    for name in ("dot", "scaled_dot", "general", "concat", "additive"):
        layer = SelfAttention(8, score=name, project=False)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        context = torch.stack(
            [torch.stack([score(layer, name, q, k) for k in tokens]).softmax(0) @ tokens for q in tokens]
        )
        torch.testing.assert_close(layer(x)[0].flatten(1).t(), context)


def test_combine_reads_context_and_token() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    context = SelfAttention(8, project=False)(x)
    both = torch.cat([context, x], 1).flatten(2).transpose(1, 2)
    for combine in ("linear", "tanh"):
        layer = SelfAttention(8, project=False, combine=combine)
        out = layer.attention.out_proj(both)
        expected = out.tanh() if combine == "tanh" else out
        torch.testing.assert_close(layer(x), expected.transpose(1, 2).reshape(x.shape))


def test_heads_have_separate_channels() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(8, score="general", heads=2, project=False), torch.randn(1, 8, 3, 4)
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(layer(changed)[:, :4], layer(x)[:, :4])
    assert not torch.allclose(layer(changed)[:, 4:], layer(x)[:, 4:])
