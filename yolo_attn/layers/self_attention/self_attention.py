"""SelfAttention: self-attention over the positions of a map with one of the classical score functions.

    q = Wq x, k = Wk x, v = Wv x                at each position; or q = k = v = x, with project=False
    c_i = sum over j of softmax_j(s(q_i, k_j)) v_j
    s(q, k) = q.k | q.k / sqrt(d) | q^T W k | v^T tanh(W [q; k]) | v^T tanh(W q + U k + b)
    y = Wo c | W [c; x] + b | tanh(W [c; x])    combine = none, linear, tanh; with project=False, none: y = c

Paper: Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015, arXiv
1409.0473 (additive); Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015,
arXiv 1508.04025 (dot, general, concat; combine="tanh"); Vaswani et al., arXiv 1706.03762 (scaled_dot).
Code: https://github.com/OpenNMT/OpenNMT-py (`SelfAttention(project=False, combine="tanh", score="general")`).
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights beyond 16 MiB. concat and additive compute (HW)^2 C values of tanh in chunks; an exported graph
computes them at once, so they are for P5.
Deviations: none in the formulas; queries and memory are positions of one map (`CrossAttention` reads from another).
Several heads, and linear layers before a score function with weights of its own, are additional options.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag
from yolo_attn.layers.self_attention._attention import Attention, check_attention
from yolo_attn.layers.self_attention._tokens import to_map, to_tokens
from yolo_attn.registry import register_layer

__all__ = ["SelfAttention"]


@register_layer(
    family="self_attention",
    summary="lets each position attend to all others with a choice of score function",
    aliases=("ScaledDotProductAttention",),
    paper="Neural Machine Translation by Jointly Learning to Align and Translate, ICLR 2015",
    year=2015,
    url="https://arxiv.org/abs/1409.0473",
    repository="https://github.com/OpenNMT/OpenNMT-py",
    cost="O(C (HW)^2)",
)
class SelfAttention(Mixer):
    """Self-attention with a choice of score function.

    Args:
        channels: Channels of the input.
        score: "scaled_dot", "dot", "general", "concat" or "additive".
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        project: Whether linear layers are applied to queries, keys, values and the context.
        combine: Combination of the context c: "none", or "linear" or "tanh" of c and x.
        residual: Whether x is added.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        score: str = "scaled_dot",
        heads: int = 1,
        project: bool = True,
        combine: str = "none",
        residual: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_flag(self, residual=residual)
        check_attention(self, channels, channels, heads=heads, score=score, project=project, combine=combine)
        self.attention = Attention(channels, channels, heads=heads, score=score, project=project, combine=combine)
        self.residual = residual

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of the attention, plus x with `residual`."""
        tokens = to_tokens(x)
        y = to_map(self.attention(tokens, tokens), x)
        return x + y if self.residual else y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        x = inputs[0]
        tokens = to_tokens(x)
        return [self.attention.reading(tokens, tokens, maps=(x, x))]
