"""External: every position attends to a small memory that is shared by all images.

Single form, of the segmentation network:

    u = W1 x
    a_ns = softmax over n of K_s . u_n          K (S, C): the keys of the memory; n: positions, s: memory units
    a_ns = a_ns / sum over s of a_ns            so the weights sum to one over the units, too
    y = relu(x + BN W2 (V a))                   V (C, S): the values of the memory

With `heads=h`, the multi-head form of the classification network: x is brought to 4 C channels, split into 4 h heads
that share one memory, and projected back; no norm, no shortcut, no relu.

Paper: Guo et al., "Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks", TPAMI 2022,
arXiv 2105.02358.
Code: https://github.com/MenghaoGuo/EANet
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, HW, S).
Memory: heads x HW x S weights; with 32 heads 210 MB at 160 x 160.
Precision: the last ReLU has a kink where x + BN(...) is 0. There a rounding error of float32 decides between two
slopes, so the gradients of two right implementations can differ at single positions.
Deviations: the weights are computed in float32. V starts as the transpose of K, as the authors' does, but in memory of
its own. With heads, the keys have no bias, which the softmax over n would not see.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["External"]

EPS = 1e-9  # of the second normalisation, as in the code
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
        memory: S, units of the memory.
        heads: Heads of the multi-head form, brought down to what divides the channels; None is the single form.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its weights choose memory units, not positions"

    def __init__(self, channels: int, *, memory: int = 64, heads: int | None = None, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, memory=memory)
        if heads is not None:
            check_integer(self, heads=heads)
        many = heads is not None
        self.heads = fitting_groups(channels, heads) * EXPANSION if heads is not None else 1
        width = channels * EXPANSION if many else channels
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Linear(width // self.heads, memory, bias=False)
        self.value = nn.Linear(memory, width // self.heads, bias=many)
        self.project = nn.Conv2d(width, channels, 1, bias=many)
        self.norm = None if many else BatchNorm(channels)
        if not many:
            self._initialize()

    def _initialize(self) -> None:
        for layer in (self.query, self.key, self.project):
            nn.init.normal_(layer.weight, 0, sqrt(2 / self.channels))
        with torch.no_grad():
            self.value.weight.copy_(self.key.weight.t())

    def mix(self, x: Tensor) -> Tensor:
        """Return what the memory answers."""
        b, _, h, w = x.shape
        weights = self.weights(x).to(x.dtype)
        answer = self.value(weights).transpose(2, 3)  # (B, heads, d, HW)
        y: Tensor = self.project(answer.reshape(b, -1, h, w))
        return y if self.norm is None else torch.relu(x + self.norm(y))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each memory unit for each position, (B, heads, HW, S)."""
        query = self.query(x).flatten(2)
        query = query.reshape(x.shape[0], self.heads, -1, query.shape[2]).transpose(2, 3)
        with no_autocast(x):
            weights = widen(query) @ widen(self.key.weight).t()
            weights = weights.softmax(2)  # rebound, so that only two of them are held at a time
            return weights / (weights.sum(3, keepdim=True) + EPS)
