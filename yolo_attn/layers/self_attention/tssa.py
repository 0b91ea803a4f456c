"""TSSA: token statistics self-attention, positions choose heads, whose channels the second moments then scale.

    w = W x                                     at each position, in heads of d channels
    u = w / |w|                                 |w|: length of each channel over H, W
    p = softmax over the heads of tau |u|^2     tau: learned for each head; |u|^2: sum over the channels of a head
    m = (sum of p w^2) / (sum of p + 1e-8)      sums over H, W; for each channel
    y = Wo (-p w / (1 + m))

Paper: Wu et al., "Token Statistics Transformer: Linear-Time Attention via Variational Rate Reduction", ICLR 2025,
arXiv 2412.17810.
Code: https://github.com/RobinWu218/ToST
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, H, W).
As published, |u|^2 is about d / HW, so p approaches 1 / heads on large maps.
Deviations: statistics are computed in float32, where the code gives NaN for channels of zeros in float16. The number of
heads is reduced to its greatest common divisor with C. No dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.numerics import saturate, unit, widen
from yolo_attn.layers.self_attention._linear import per_head
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["TSSA"]

EPS = 1e-8


@register_layer(
    family="self_attention",
    summary="scales channels by second moments over the positions that choose their head; linear in the map",
    aliases=("AttentionTSSA",),
    paper="Token Statistics Transformer: Linear-Time Attention via Variational Rate Reduction, ICLR 2025",
    year=2024,
    url="https://arxiv.org/abs/2412.17810",
    repository="https://github.com/RobinWu218/ToST",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class TSSA(Mixer):
    """Token statistics self-attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        qkv_bias: Whether w has a bias, as in the published models.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, heads: int = 8, qkv_bias: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_flag(self, qkv_bias=qkv_bias)
        self.temperature = nn.Parameter(torch.ones(fitting_groups(channels, heads)))
        self.features = nn.Conv2d(channels, channels, 1, bias=qkv_bias)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected features, scaled by their moments."""
        features = self.features(x)
        w = widen(per_head(features, self.temperature.numel()))
        choice = self._choice(w)
        moment = (choice * w.square()).sum(3, keepdim=True) / (choice.sum(3, keepdim=True) + EPS)
        scaled = (-choice * w / (1 + moment)).reshape(features.shape)
        y: Tensor = self.proj(saturate(scaled, features.dtype).to(features.dtype))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the share of each head at each position."""
        return split_choices("head", self.weights(inputs[0]))

    def weights(self, x: Tensor) -> Tensor:
        """Return the share of each head at each position, (B, heads, H, W)."""
        choice = self._choice(widen(per_head(self.features(x), self.temperature.numel())))
        return choice.reshape(x.shape[0], -1, *x.shape[2:])

    def _choice(self, w: Tensor) -> Tensor:
        """Return p, (B, heads, 1, HW)."""
        energy = unit(w, 3).square().sum(2, keepdim=True)
        return (energy * widen(self.temperature)[:, None, None]).softmax(1)
