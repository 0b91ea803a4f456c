"""CrossAttention: the positions of one map attend to the positions of another.

    q = Wq (n0(x0) + p0), k = Wk (n1(x1) + p1), v = Wv n1(x1)   at each position; n: layer norms, with norm=True
    c_i = sum over the positions j of x1 of softmax_j(s(q_i, k_j)) v_j      in each head
    y = x0 + Wo c

The maps may differ in size and channels. `score`, `project` and `combine` are those of `SelfAttention`. p0 and p1 are
the sine positions of `MHSA`, with position="sine"; they are relative to the size of their map.

Paper: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762 (the decoder's attention); for two
maps of a detector: Shen et al., "ICAFusion: Iterative Cross-Attention Guided Feature Fusion for Multispectral Object
Detection", Pattern Recognition 2024, arXiv 2308.07504.
Code: https://github.com/chanchanchan97/ICAFusion
Shapes: x0 (B, C0, H0, W0), x1 (B, C1, H1, W1), y like x0.
Memory: no N x M weights, but time grows with H0 W0 H1 W1.
Deviations: no dropout, and one direction. ICAFusion has a second layer in the other direction, and learned factors
around both; its module alone is `CrossAttention(norm=True, residual=False)`. Its implementation requires square maps of
one size; here any sizes work. Linear layers are initialized like those of `nn.MultiheadAttention`. ICAFusion
initializes them with a standard deviation of 0.001, so its initial attention is almost uniform and its output near
zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check_choice, check_flag
from yolo_attn.layers.self_attention._attention import Attention, check_attention
from yolo_attn.layers.self_attention._tokens import check_sine, sine_positions, to_map, to_tokens
from yolo_attn.registry import register_layer

__all__ = ["CrossAttention"]


@register_layer(
    family="fusion",
    summary="lets each position of one map attend to all positions of another",
    aliases=("CrossAttn", "MultiHeadCrossAttention"),
    inputs=2,
    paper="Attention Is All You Need, NeurIPS 2017",
    year=2017,
    url="https://arxiv.org/abs/1706.03762",
    repository="https://github.com/chanchanchan97/ICAFusion",
    cost="O(C H0 W0 H1 W1)",
)
class CrossAttention(Fusion):
    """Cross-attention; the first input provides the queries, the second the keys and values.

    Args:
        channels: Channels of the two inputs; the output has those of the first.
        heads: Number of heads, reduced to the greatest common divisor with the channels of the first input.
        score: "scaled_dot", "dot", "general", "concat" or "additive".
        project: Whether linear layers are applied to queries, keys, values and the context; false needs equal channels.
        combine: Combination of the context c: "none", or "linear" or "tanh" of c and x0.
        norm: Whether layer norms precede queries, keys and values.
        position: "none" or "sine".
        residual: Whether x0 is added.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    same_size = False

    def __init__(
        self,
        channels: Sequence[int],
        *,
        heads: int = 8,
        score: str = "scaled_dot",
        project: bool = True,
        combine: str = "none",
        norm: bool = False,
        position: str = "none",
        residual: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_flag(self, norm=norm, residual=residual)
        check_choice(self, "position", position, ("none", "sine"))
        if position == "sine":
            check_sine(self, *channels)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels) if norm else None
        check_attention(self, *channels, heads=heads, score=score, project=project, combine=combine)
        self.attention = Attention(*channels, heads=heads, score=score, project=project, combine=combine)
        self.position = position
        self.residual = residual

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the output of the attention, plus x0 with `residual`."""
        y = to_map(self.attention(*self._arguments(xs)), xs[0])
        return xs[0] + y if self.residual else y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of the positions of the first map to those of the second."""
        first, second = inputs
        return [self.attention.reading(*self._arguments(inputs), maps=(first, second), source=1)]

    def _arguments(self, xs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return the arguments of the attention: tokens and positions of both maps."""
        first, second = (to_tokens(x) for x in xs)
        if self.norms is not None:
            first, second = self.norms[0](first), self.norms[1](second)
        if self.position == "none":
            return first, second, None, None
        return first, second, sine_positions(xs[0]), sine_positions(xs[1])
