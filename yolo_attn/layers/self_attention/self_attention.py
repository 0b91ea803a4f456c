"""SelfAttention: every cell reads from every other by one of the classical score functions.

    q = Wq x, k = Wk x, v = Wv x                at each cell; or q = k = v = x, with project=False
    c_i = sum over j of softmax_j(s(q_i, k_j)) v_j
    s(q, k) = q.k | q.k / sqrt(d) | q^T W k | v^T tanh(W [q; k]) | v^T tanh(W q + U k + b)
    y = Wo c | W [c; x] + b | tanh(W [c; x])    combine = none, linear, tanh; with project=False, none: y = c

Paper: Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015, arXiv
1409.0473 (additive); Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015,
arXiv 1508.04025 (dot, general, concat; combine="tanh"); Vaswani et al., arXiv 1706.03762 (scaled_dot).
Code: https://github.com/OpenNMT/OpenNMT-py (`SelfAttention(project=False, combine="tanh", score="general")`).
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights. concat and additive need (HW)^2 C tanh, in parts; an exported graph holds them all at once, so
they are for P5.
Deviations: none in the formulas; queries and memory are cells of one map (`CrossAttention` reads from another). More
than one head, and linear maps before a score that has weights of its own, are for those who want them.
"""

from __future__ import annotations

from torch import Tensor

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag
from yolo_attn.layers.self_attention.attention import Attention, check_attention
from yolo_attn.layers.self_attention.tokens import maps, tokens
from yolo_attn.registry import register_layer

__all__ = ["SelfAttention"]


@register_layer(
    family="self_attention",
    summary="lets every cell read from every other, by a score function of choice",
    aliases=("ScaledDotProductAttention",),
    paper="Neural Machine Translation by Jointly Learning to Align and Translate, ICLR 2015",
    year=2015,
    url="https://arxiv.org/abs/1409.0473",
    repository="https://github.com/OpenNMT/OpenNMT-py",
    cost="O(C (HW)^2)",
)
class SelfAttention(Mixer):
    """Self-attention by a score function.

    Args:
        channels: Channels of the input.
        score: "scaled_dot", "dot", "general", "concat" or "additive".
        heads: Number of heads, brought down to what divides the channels.
        project: Whether queries, keys, values and the context pass linear maps.
        combine: What becomes of the context c: "none", or, together with x, "linear" or "tanh".
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
        """Return what every cell reads from the map."""
        cells = tokens(x)
        y = maps(self.attention(cells, cells), x)
        return x + y if self.residual else y
