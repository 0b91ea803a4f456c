"""Multi-head attention with a choice of score functions, shared by the dense attention layers.

With q (N, d), k (M, d) and v (M, d) of one head, the context of query i is sum over j of softmax_j(s_ij) v_j, where

    dot          s_ij = q_i . k_j
    scaled_dot   s_ij = q_i . k_j / sqrt(d)
    general      s_ij = q_i^T W k_j
    concat       s_ij = v^T tanh(W [q_i; k_j])
    additive     s_ij = v^T tanh(W q_i + U k_j + b)

concat and additive differ only in the bias b.

Papers: Bahdanau et al., arXiv 1409.0473 (additive); Luong et al., arXiv 1508.04025 (dot, general, concat); Vaswani et
al., arXiv 1706.03762 (scaled_dot).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.checks import check, check_choice, check_flag, check_integer
from yolo_attn.layers.numerics import widen
from yolo_attn.layers.projections import TokenLinear, token_rows
from yolo_attn.layers.self_attention._tokens import attend, chunked, join_heads, split_heads, to_map, to_tokens
from yolo_attn.layers.sizes import fitting_groups

__all__ = ["Attention", "Score", "check_attention"]

SCORES = ("scaled_dot", "dot", "general", "concat", "additive")
COMBINE = ("none", "linear", "tanh")

Read = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of one kind: returns the context (B, heads, N, d) of query, key and value."""


class Score(nn.Module):
    """Attention of queries to keys by a score function; each head has its own weights.

    Args:
        score: Name of the score function.
        heads: Number of heads.
        width: d, channels of a head; concat and additive have d hidden units.

    Shape:
        query (B, heads, N, d), key and value (B, heads, M, d); output as the query.
    """

    bias: nn.Parameter | None

    def __init__(self, score: str, heads: int, width: int) -> None:
        super().__init__()
        self.score = score
        if score == "general":
            self.bilinear = _matrices(heads, width, width)
        elif score in {"concat", "additive"}:
            self.query_weight = _matrices(heads, width, width)
            self.key_weight = _matrices(heads, width, width)
            self.score_weight = _matrices(heads, width, 1)
            self.register_parameter("bias", nn.Parameter(torch.zeros(heads * width)) if score == "additive" else None)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context of each query."""
        if self.score == "scaled_dot":
            return attend(query, key, value)
        if self.score == "dot":
            return attend(query, key, value, scale=1.0)
        if self.score == "general":
            return attend(query @ self.bilinear, key, value, scale=1.0)
        return self._additive(query, key, value)

    def _additive(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key = query @ self.query_weight, key @ self.key_weight
        if self.bias is not None:
            query = query + self.bias.to(query.dtype).view(query.shape[1], 1, -1)

        def read(query: Tensor) -> Tensor:
            hidden = torch.tanh_(query[..., :, None, :] + key[..., None, :, :])  # (B, heads, n, M, d)
            energy = hidden @ self.score_weight[:, None]
            return widen(energy[..., 0]).softmax(-1).to(value.dtype) @ value

        return chunked(read, query, elements_per_query=key.numel())


def check_attention(
    layer: nn.Module, channels: int, memory: int, *, heads: int, score: str, project: bool, combine: str
) -> None:
    """Raise ValueError unless a layer's arguments are valid for `Attention`."""
    check_integer(layer, heads=heads)
    check_choice(layer, "score", score, SCORES)
    check_flag(layer, project=project)
    check_choice(layer, "combine", combine, COMBINE)
    check(layer, project or channels == memory, "project", project, "true for inputs of different channel counts")


class Attention(nn.Module):
    """Multi-head attention of queries to a memory.

    Initialized like PyTorch's `nn.MultiheadAttention`.

    Args:
        channels: C, channels of the queries and of the output.
        memory: Channels of the memory.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        score: Name of the score function.
        project: Whether linear layers are applied to queries, keys, values and the context.
        combine: "none" returns the context, "linear" W [context; query] + b, "tanh" tanh(W [context; query]).

    Shape:
        query (B, N, C), memory (B, M, memory channels); output (B, N, C).
    """

    def __init__(
        self,
        channels: int,
        memory: int,
        *,
        heads: int,
        score: str = "scaled_dot",
        project: bool = True,
        combine: str = "none",
    ) -> None:
        super().__init__()
        self.heads = fitting_groups(channels, heads)
        self.score = Score(score, self.heads, channels // self.heads)
        if project:
            self.query = TokenLinear(channels, channels)
            self.key = TokenLinear(memory, channels)
            self.value = TokenLinear(memory, channels)
            for linear in (self.query, self.key, self.value):
                # PyTorch initializes the three as one matrix: sqrt(6 / (C + 3C)) instead of sqrt(6 / (C + C)).
                nn.init.xavier_uniform_(linear.weight, gain=0.5**0.5 if channels == memory else 1)
                nn.init.zeros_(linear.bias)
        self.project = project
        self.out_proj: nn.Linear | None = None
        if combine != "none":
            self.out_proj = TokenLinear(2 * channels, channels, bias=combine == "linear")
        elif project:
            self.out_proj = TokenLinear(channels, channels)
            nn.init.zeros_(self.out_proj.bias)
        self.combine = combine

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """Return the output of the attention.

        Args:
            query: (B, N, C).
            memory: (B, M, memory channels), keys and values.
            query_position: Added to the queries, (1, N, C); None to add nothing.
            memory_position: Added to the keys, but not to the values; None to add nothing.
            read: Replacement for the score function.
        """
        q, k, v = self._project(query, memory, query_position, memory_position)
        context = join_heads((read or self.score)(q, k, v))
        if self.combine != "none":
            context = torch.cat([context, query.to(context.dtype)], 2)
        if self.out_proj is not None:
            context = self.out_proj(context)
        return torch.tanh(context) if self.combine == "tanh" else context

    def reading(
        self,
        query: Tensor,
        memory: Tensor,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
        read: Read | None = None,
        *,
        maps: tuple[Tensor, Tensor],
        source: int = 0,
        part: str = "",
    ) -> Reading:
        """Return the attention for viewing; the arguments are those of `forward`.

        Args:
            query: (1, N, C).
            memory: (1, M, memory channels).
            query_position: (1, N, C) or None.
            memory_position: (1, M, memory channels) or None.
            read: Replacement for the score function.
            maps: The maps of the queries and of the memory.
            source: Index of the layer's input that is the memory.
            part: Name of the part of a layer with several attentions.
        """
        q, k, v = self._project(query, memory, query_position, memory_position)

        def contexts(values: Tensor) -> Tensor:
            value = split_heads(to_tokens(values).contiguous(), self.heads)
            return to_map(join_heads((read or self.score)(q, k, value)), maps[0])

        return Reading(part, to_map(join_heads(v), maps[1]), contexts, self.heads, source=source)

    def _project(
        self, query: Tensor, memory: Tensor, query_position: Tensor | None, memory_position: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values by head, (B, heads, N or M, d)."""
        same = query is memory
        memory = token_rows(memory)
        query = memory if same else token_rows(query)
        q = query if query_position is None else query + query_position
        k = memory if memory_position is None else memory + memory_position
        if self.project:
            q, k, v = self.query(q), self.key(k), self.value(memory)
        else:
            q, k, v = q.contiguous(), k.contiguous(), memory.contiguous()
        q, k, v = (split_heads(t, self.heads) for t in (q, k, v))
        return q, k, v


def _matrices(heads: int, rows: int, columns: int) -> nn.Parameter:
    """Return a matrix per head, initialized like nn.Linear; 3-D for the reason given in `yolo_attn.layers.base`."""
    return nn.Parameter(torch.empty(heads, rows, columns).uniform_(-(rows**-0.5), rows**-0.5))
