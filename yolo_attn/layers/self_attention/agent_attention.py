"""AgentAttention: agent tokens attend to the map, and all positions attend to the agents.

    q = Wq x, k = Wk x, v = Wv x                at each position
    A = q averaged over a grid of n parts       (n, C): the agents
    u = softmax(A k^T / sqrt(d) + b1) v         in each head of d channels
    y = Wo (softmax(q A^T / sqrt(d) + b2) u + depthwise conv(v))
    b1, b2: for each head and agent, the sum of a learned 7 x 7 map, a learned row and a learned column, each resized to
    the size of x

Paper: Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention", ECCV 2024, arXiv 2312.08874.
Code: https://github.com/LeapLabTHU/Agent-Attention
Shapes: x (B, C, H, W), y the same.
Deviations: no dropout. The authors' learned rows and columns fit a single map size. Here they have `bias_size` values
and are resized too, so any map size works; on a map of that size the result is the authors'. The number of heads is
reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import widen
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.layers.projections import TokenLinear, token_rows
from yolo_attn.layers.self_attention._tokens import attend, join_heads, split_heads, to_map, to_tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["AgentAttention"]

GRID = 7
"""Height and width of the learned bias maps."""


@register_layer(
    family="self_attention",
    summary="lets a few agents attend to the map and all positions attend to the agents",
    aliases=("Agent",),
    paper="Agent Attention: On the Integration of Softmax and Linear Attention, ECCV 2024",
    year=2024,
    url="https://arxiv.org/abs/2312.08874",
    repository="https://github.com/LeapLabTHU/Agent-Attention",
    cost="O(n C HW)",
    renamed={"size": "bias_size"},
)
class AgentAttention(Mixer):
    """Agent attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        agents: n, number of agents, a square number.
        bias_size: Length of the learned rows and columns; best the most common height and width of the map.
        kernel_size: Kernel size of the depthwise convolution, odd.
        qkv_bias: Whether queries, keys and values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        agents: int = 49,
        bias_size: int = 20,
        kernel_size: int = 3,
        qkv_bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, bias_size=bias_size)
        square = is_positive_integer(agents) and isqrt(agents) ** 2 == agents
        check(self, square, "agents", agents, "a square number, such as 49")
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.side = isqrt(agents)
        self.query = TokenLinear(channels, channels, bias=qkv_bias)
        self.key = TokenLinear(channels, channels, bias=qkv_bias)
        self.value = TokenLinear(channels, channels, bias=qkv_bias)
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.proj = TokenLinear(channels, channels)
        self.agent_positions = PositionBias(self.heads, agents, bias_size)
        self.query_positions = PositionBias(self.heads, agents, bias_size)

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of both attentions plus the depthwise convolution."""
        values, context = self._attention(x)
        return to_map(self.proj(context(values) + to_tokens(self.dwconv(to_map(values, x)))), x)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others, by way of the agents."""
        x = inputs[0]
        values, context = self._attention(x)
        return [Reading("", to_map(values, x), lambda v: to_map(context(to_tokens(v)), x), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, HW, C), and the contexts as a function of them."""
        height, width = x.shape[2:]
        tokens = token_rows(to_tokens(x))
        query = self.query(tokens)
        pooled = to_tokens(adaptive_mean(to_map(query, x), self.side, self.side))
        q, a, k = (split_heads(t, self.heads) for t in (query, pooled, self.key(tokens)))
        to_agents = self.agent_positions(height, width).to(q.dtype)
        from_agents = self.query_positions(height, width).to(q.dtype).transpose(2, 3)

        def context(values: Tensor) -> Tensor:
            read = attend(a, k, split_heads(values, self.heads), bias=to_agents)
            return join_heads(attend(q, a, read, bias=from_agents))

        return self.value(tokens), context


class PositionBias(nn.Module):
    """Learned position bias of each head and agent, for maps of any size.

    Args:
        heads: Number of heads.
        agents: Number of agents.
        bias_size: Length of the learned rows and columns.
    """

    def __init__(self, heads: int, agents: int, bias_size: int) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.empty(heads, agents, GRID * GRID))
        self.rows = nn.Parameter(torch.empty(heads, agents, bias_size))
        self.columns = nn.Parameter(torch.empty(heads, agents, bias_size))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """Return the bias, (1, heads, agents, HW)."""
        heads, agents, _ = self.grid.shape
        grid = F.interpolate(widen(self.grid).reshape(heads, agents, GRID, GRID), size=(height, width), mode="bilinear")
        rows = F.interpolate(widen(self.rows), size=height, mode="linear")
        columns = F.interpolate(widen(self.columns), size=width, mode="linear")
        return (grid + rows[..., :, None] + columns[..., None, :]).flatten(2)[None]
