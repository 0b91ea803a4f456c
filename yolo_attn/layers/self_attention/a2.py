"""A2: double attention, a few global descriptors gathered from the map and distributed to its positions.

    A = Wa x (cm, HW), B = Wb x (cn, HW), V = Wv x (cn, HW)
    G = A softmax over HW of B^T                (cm, cn): cn descriptors of cm channels, each a weighted mean
    Z = G softmax over cn of V                  (cm, HW): each position mixes the descriptors
    y = x + Wo Z                                cm -> C

Paper: Chen et al., "A^2-Nets: Double Attention Networks", NeurIPS 2018, arXiv 1810.11579.
Code: none from the authors.
Shapes: x (B, C, H, W), y the same; weights(x) (B, cn, H, W), the positions each descriptor is gathered from.
Deviations: none. Most third-party implementations omit the x in y (`residual=False`). One takes the softmax over the
images of the batch. Another takes the softmax of V over the map, which makes the output HW times smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues, Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_positive
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["A2"]


@register_layer(
    family="self_attention",
    summary="gathers a few global descriptors and distributes them to the positions",
    aliases=("DoubleAttention", "A2Attention"),
    paper="A^2-Nets: Double Attention Networks, NeurIPS 2018",
    year=2018,
    url="https://arxiv.org/abs/1810.11579",
    cost="O(C^2 HW)",
)
class A2(Mixer):
    """Double attention.

    Args:
        channels: Channels of the input.
        reduction: C / cm and C / cn.
        residual: Whether x is added, as in the paper.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 4, residual: bool = True, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_flag(self, residual=residual)
        hidden = hidden_width(channels, reduction, min(channels, 2))  # a single one has weight 1 everywhere
        self.features = nn.Conv2d(channels, hidden, 1)
        self.gather = nn.Conv2d(channels, hidden, 1)
        self.distribute = nn.Conv2d(channels, hidden, 1)
        self.proj = nn.Conv2d(hidden, channels, 1)
        self.residual = residual

    def mix(self, x: Tensor) -> Tensor:
        """Return the descriptors mixed at each position."""
        # Both softmaxes sum to 1, so convolutions and biases commute with them: (Wa x + a) B = Wa (x B) + a, and
        # Wo (G s) + o = (Wo G + o) s. Wa and Wo are applied to a few descriptors instead of a map.
        gathered = self._gather(x, x)
        descriptors: Tensor = self.proj(self.features(gathered.to(x.dtype)[..., None]))[..., 0]
        y = self._distribute(x, descriptors)
        return x + y if self.residual else y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others, by way of the descriptors."""
        x = inputs[0]
        return [Reading("", x, lambda values: self._distribute(x, self._gather(x, values)))]

    def _gather(self, x: Tensor, values: Tensor) -> Tensor:
        """Return the values (B, C, H, W) gathered to descriptors (B, C, cn)."""
        weights = self.weights(x).flatten(2)
        with no_autocast(x):
            return widen(values).flatten(2) @ weights.transpose(1, 2)

    def _distribute(self, x: Tensor, descriptors: Tensor) -> Tensor:
        """Return the descriptors (B, C, cn) mixed at each position, (B, C, H, W)."""
        shares = widen(self.distribute(x)).softmax(1).to(descriptors.dtype).flatten(2)
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            y = (shares.transpose(1, 2) @ descriptors.transpose(1, 2)).transpose(1, 2)  # keeps channels_last
        else:
            y = descriptors @ shares
        return y.reshape(-1, self.channels, *x.shape[2:])

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights that each descriptor is gathered with."""
        weights = self.weights(inputs[0])[0].float()
        return [AttentionValues("", WEIGHT, weights * weights[0].numel())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights that each descriptor is gathered with, (B, cn, H, W), in float32 or wider."""
        height, width = x.shape[2:]
        logits = widen(self.gather(x))  # over 25,600 positions float16 is off by 20%
        return logits.flatten(2).softmax(2).reshape(-1, self.gather.out_channels, height, width)
