"""Polarized: polarized self-attention, a channel gate and a spatial gate that each keep one axis at full resolution.

    c = sigmoid(up(V1 x softmax over HW of (q1 . x)))           (B, C, 1, 1); V1: C -> C/2, q1: C -> 1
    s = sigmoid(softmax over HW of (mean of Q2 x . V2 x))       (B, 1, H, W); Q2, V2: C -> C/2
    y = x * c + x * s                                           mode "p", parallel; up: a linear layer C/2 -> C
    y = x * c * s(x * c)                                        mode "s", sequential; up: C/2 -> C/8 -> LN -> relu -> C

Paper: Liu et al., "Polarized Self-Attention: Towards High-quality Pixel-wise Regression", Neurocomputing 2022,
arXiv 2107.00782.
Code: https://github.com/DeLightCMU/PSA
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: none from the authors' code, the default. In its mode "s" the softmax over HW is applied to V2 x instead of
the product. In the paper (`paper_form=True`) both modes have an LN after a single linear layer C/2 -> C, and s has a
softmax over the channels of mean Q2 x instead of one over HW. In mode "p" the code's s is close to 1/2 everywhere,
because the softmax has a mean of 1/HW. Below 16 channels the narrowest width in mode "s" is 2, because LN of a single
value is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_flag
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.projections import single_channel
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["Polarized"]


@register_layer(
    family="hybrid",
    summary="reweights channels by attention over positions and positions by attention over channels",
    aliases=("PolarizedSelfAttention", "PSA_p"),
    paper="Polarized Self-Attention: Towards High-quality Pixel-wise Regression, Neurocomputing 2022",
    year=2021,
    url="https://arxiv.org/abs/2107.00782",
    repository="https://github.com/DeLightCMU/PSA",
    cost="O(C^2 HW)",
)
class Polarized(Gate):
    """Polarized self-attention.

    Args:
        channels: Channels of the input.
        mode: "p" for both gates in parallel, "s" for the channel gate followed by the spatial gate.
        paper_form: Whether both gates follow the paper instead of the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, mode: str = "p", paper_form: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_choice(self, "mode", mode, ("p", "s"))
        check_flag(self, paper_form=paper_form)
        hidden = hidden_width(channels, 2)
        self.mode = mode
        self.paper_form = paper_form
        self.channel_query = _pointwise(channels, 1)
        self.channel_value = _pointwise(channels, hidden)
        self.up = _up(channels, hidden, "paper" if paper_form else mode)
        self.spatial_query = _pointwise(channels, hidden)
        self.spatial_value = _pointwise(channels, hidden)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        channel = self._channel_gate(x)
        if self.mode == "p":
            return channel + self._spatial_gate(x)
        return channel * self._spatial_gate(x * channel)

    def _channel_gate(self, x: Tensor) -> Tensor:
        weights = widen(single_channel(self.channel_query, x)).flatten(2).softmax(2)  # (B, 1, HW)
        with no_autocast(x):
            pooled = widen(x).flatten(2) @ weights.transpose(1, 2)
        context = self.channel_value(pooled.to(x.dtype)[..., None])  # of one vector instead of each position
        return torch.sigmoid(self.up(context))

    def _spatial_gate(self, x: Tensor) -> Tensor:
        query = widen(self.spatial_query(mean(x, 2, 3, keepdim=True))).flatten(1)[:, None]  # (B, 1, C/2)
        if self.mode == "s" and not self.paper_form:
            values = widen(self.spatial_value(x)).flatten(2).softmax(2)
        with no_autocast(x):
            if self.paper_form:
                logits = self._products(query.softmax(2), x)
            elif self.mode == "p":
                logits = self._products(query, x).softmax(2)
            else:
                logits = query @ values
        b, _, h, w = x.shape
        return torch.sigmoid(logits).reshape(b, 1, h, w).to(x.dtype)

    def _products(self, query: Tensor, x: Tensor) -> Tensor:
        """Return the products (B, 1, HW) of a query with V2 x, as products of V2' query with x."""
        return query @ widen(self.spatial_value.weight).flatten(1) @ widen(x).flatten(2)


def _pointwise(channels: int, width: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, width, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    return conv


def _up(channels: int, hidden: int, form: str) -> nn.Module:
    """Return the layers from the hidden width back to all channels."""
    if form == "p":
        return nn.Conv2d(hidden, channels, 1, bias=False)
    if form == "paper":
        return nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), GroupNorm(1, channels))
    narrow = hidden_width(hidden, 4, 2)
    return nn.Sequential(nn.Conv2d(hidden, narrow, 1), GroupNorm(1, narrow), nn.ReLU(), nn.Conv2d(narrow, channels, 1))
