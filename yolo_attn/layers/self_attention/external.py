"""External: attention to a small learned memory shared by all images.

Single form, of the segmentation network:

    u = W1 x
    a_ns = softmax over n of K_s . u_n          K (S, C): the keys of the memory; n: positions, s: memory units
    a_ns = a_ns / sum over s of a_ns            so the weights of a position sum to 1, too
    y = relu(x + BN W2 (V a))                   V (C, S): the values of the memory

Multi-head form, of the classification network (`heads=h`): x is projected to 4 C channels, split into 4 h heads that
share one memory, and projected back, without norm, shortcut and ReLU.

Paper: Guo et al., "Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks", TPAMI 2022,
arXiv 2105.02358.
Code: https://github.com/MenghaoGuo/EANet
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, HW, S).
Memory: heads x HW x S weights; with 32 heads 210 MB at 160 x 160.
Precision: the last ReLU has a kink at x + BN(...) = 0. Near it a float32 rounding error selects one of two slopes, so
the gradients of two correct implementations can differ at single positions.
Deviations: the weights are computed in float32. V is initialized to the transpose of K, as in the authors' code, but
does not share its memory. In the multi-head form the keys have no bias, because the softmax over n is invariant to it.
"""

from __future__ import annotations

from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["External"]

EPS = 1e-9  # of the second normalization, as in the code
EXPANSION = 4  # of channels and heads in the multi-head form


@register_layer(
    family="self_attention",
    summary="attends to a small learned memory instead of the map itself; linear in the map",
    aliases=("ExternalAttention",),
    paper="Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks, TPAMI 2022",
    year=2022,
    url="https://arxiv.org/abs/2105.02358",
    repository="https://github.com/MenghaoGuo/EANet",
    cost="O((C + S) C HW)",
)
class External(Mixer):
    """External attention.

    Args:
        channels: Channels of the input.
        memory: S, number of memory units.
        heads: Heads of the multi-head form, reduced to the greatest common divisor with the channels;
            None for the single form.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its weights select memory units, not positions"

    def __init__(self, channels: int, *, memory: int = 64, heads: int | None = None, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, memory=memory)
        if heads is not None:
            check_integer(self, heads=heads)
        multi_head = heads is not None
        self.heads = fitting_groups(channels, heads) * EXPANSION if heads is not None else 1
        width = channels * EXPANSION if multi_head else channels
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Linear(width // self.heads, memory, bias=False)
        self.value = nn.Linear(memory, width // self.heads, bias=multi_head)
        self.proj = nn.Conv2d(width, channels, 1, bias=multi_head)
        self.norm = None if multi_head else BatchNorm(channels)
        if not multi_head:
            self._initialize()

    def _initialize(self) -> None:
        for layer in (self.query, self.key, self.proj):
            nn.init.normal_(layer.weight, 0, sqrt(2 / self.channels))
        with torch.no_grad():
            self.value.weight.copy_(self.key.weight.t())

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of the attention to the memory."""
        b, _, h, w = x.shape
        if self.norm is not None:
            with no_autocast(x):  # W2 V before its product with the weights, which have fewer channels than x
                values = widen(self.proj.weight).flatten(1) @ widen(self.value.weight)
            weights = self._units(x).reshape(b, -1, h, w).to(x.dtype)
            return torch.relu(x + self.norm(F.conv2d(weights, values.to(x.dtype)[..., None, None])))
        context = self.value(self.weights(x).to(x.dtype)).transpose(2, 3)  # (B, heads, d, HW)
        y: Tensor = self.proj(context.reshape(b, -1, h, w))
        return y

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each memory unit for each position, (B, heads, HW, S)."""
        if self.norm is not None:
            return self._units(x).transpose(1, 2)[:, None]
        query = self.query(x).flatten(2)
        query = query.reshape(x.shape[0], self.heads, -1, query.shape[2]).transpose(2, 3)
        with no_autocast(x):
            weights = widen(query) @ widen(self.key.weight).t()
            weights = weights.softmax(2)  # rebound, so at most two of them are in memory
            return weights / (weights.sum(3, keepdim=True) + EPS)

    def _units(self, x: Tensor) -> Tensor:
        """Return the weights of the single form, (B, S, HW)."""
        bias = cast(Tensor, self.query.bias)
        with no_autocast(x):  # K W1 and K b1 before their product with x, which has more positions than W1 columns
            keys = widen(self.key.weight)
            weights = (keys @ widen(self.query.weight).flatten(1)) @ widen(x).flatten(2)
            weights = (weights + (keys @ widen(bias))[:, None]).softmax(2)
            return weights / (weights.sum(1, keepdim=True) + EPS)
