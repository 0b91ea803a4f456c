"""AgentAttention: a few agents read the map, and every cell reads from the agents.

    q = Wq x, k = Wk x, v = Wv x                at each cell
    A = q averaged over a grid of n cells       (n, C): the agents
    u = softmax(A k^T / sqrt(d) + b1) v         in each head of d channels: what the agents read
    y = Wo (softmax(q A^T / sqrt(d) + b2) u + depthwise conv(v))
    b1, b2: for each head and agent a learned map, the sum of one of 7 x 7, one of its rows and one of its columns, each
    resized to the map at hand

Paper: Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention", ECCV 2024, arXiv 2312.08874.
Code: https://github.com/LeapLabTHU/Agent-Attention
Shapes: x (B, C, H, W), y the same.
Deviations: no dropout. The authors' learned rows and columns fit one map size; ours, of `size` values, are resized as
well, so that any map will do, and are the authors' own numbers on a map of that size. Heads are brought down to what
divides the channels.
"""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import widen
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.layers.self_attention.tokens import attend, join_heads, maps, split_heads, tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["AgentAttention"]

GRID = 7
"""Side of the learned maps."""


@register_layer(
    family="self_attention",
    summary="lets a few agents read the map and every cell read from the agents",
    aliases=("Agent",),
    paper="Agent Attention: On the Integration of Softmax and Linear Attention, ECCV 2024",
    year=2024,
    url="https://arxiv.org/abs/2312.08874",
    repository="https://github.com/LeapLabTHU/Agent-Attention",
    cost="O(n C HW)",
)
class AgentAttention(Mixer):
    """Agent attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, brought down to what divides the channels.
        agents: n, number of agents, a square number.
        size: Number of learned rows and of learned columns, such as the side of the map that is met most.
        kernel_size: Kernel of the depthwise convolution, odd.
        qkv_bias: Whether the linear maps of query, key and value have a bias.
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
        size: int = 20,
        kernel_size: int = 3,
        qkv_bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, size=size)
        square = is_positive_integer(agents) and isqrt(agents) ** 2 == agents
        check(self, square, "agents", agents, "a square number, such as 49")
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.side = isqrt(agents)
        self.query = nn.Linear(channels, channels, bias=qkv_bias)
        self.key = nn.Linear(channels, channels, bias=qkv_bias)
        self.value = nn.Linear(channels, channels, bias=qkv_bias)
        self.local = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.project = nn.Linear(channels, channels)
        self.gathering = LearnedMaps(self.heads, agents, size)
        self.handing_out = LearnedMaps(self.heads, agents, size)

    def mix(self, x: Tensor) -> Tensor:
        """Return what every cell reads from the agents."""
        height, width = x.shape[2:]
        cells = tokens(x)
        query, value = self.query(cells), self.value(cells)
        pooled = tokens(adaptive_mean(maps(query, x), self.side, self.side))
        q, a, k, v = (split_heads(t, self.heads) for t in (query, pooled, self.key(cells), value))
        to_agents = self.gathering(height, width).to(q.dtype)
        to_cells = self.handing_out(height, width).to(q.dtype).transpose(2, 3)
        found = attend(a, k, v, bias=to_agents)
        y = attend(q, a, found, bias=to_cells)
        return maps(self.project(join_heads(y) + tokens(self.local(maps(value, x)))), x)


class LearnedMaps(nn.Module):
    """A learned map for each head and agent, of any size.

    Args:
        heads: Number of heads.
        agents: Number of agents.
        size: Number of learned rows and of learned columns.
    """

    def __init__(self, heads: int, agents: int, size: int) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.empty(heads, agents, GRID * GRID))
        self.rows = nn.Parameter(torch.empty(heads, agents, size))
        self.columns = nn.Parameter(torch.empty(heads, agents, size))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """Return the maps, (1, heads, agents, HW)."""
        heads, agents, _ = self.grid.shape
        grid = F.interpolate(widen(self.grid).reshape(heads, agents, GRID, GRID), size=(height, width), mode="bilinear")
        rows = F.interpolate(widen(self.rows), size=height, mode="linear")
        columns = F.interpolate(widen(self.columns), size=width, mode="linear")
        return (grid + rows[..., :, None] + columns[..., None, :]).flatten(2)[None]
