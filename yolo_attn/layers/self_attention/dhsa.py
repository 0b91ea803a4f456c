"""DHSA: dynamic-range histogram self-attention, attention among channels of positions sorted by their values.

    x' = x with the first half of the channels sorted along columns, then along rows
    [q1; k1; q2; k2; v] = DW W x'               DW: depthwise 3 x 3 convolution
    v is sorted over all positions, channel by channel, and q and k follow the order of v
    o1 = attention of q1, k1 and v              n parts of consecutive positions
    o2 = attention of q2, k2 and v              n parts of every n-th position
    y = Wo (o1 * o2), o1 and o2 with positions in their first order; the first half of y moved back where x was

    attention: the d channels of a head in each of n = heads parts are n d rows, divided by their lengths;
    A_ij = exp(tau q_i . k_j) / (1 + sum over j of exp(tau q_i . k_j)),  o_i = sum over j of A_ij v_j

Paper: Sun et al., "Restoring Images in Adverse Weather Conditions via Histogram Transformer", ECCV 2024,
arXiv 2407.10172.
Code: https://github.com/sunshangquan/Histoformer
Shapes: x (B, C, H, W), y the same.
Deviations: the code writes the sorted channels into its input. Values are computed in float32, because rounding would
change their order. The number of heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, saturate, widen
from yolo_attn.layers.projections import wide_conv
from yolo_attn.layers.self_attention._channels import cosines
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["DHSA"]


@register_layer(
    family="self_attention",
    summary="mixes channels by their similarity after positions are sorted by value, in bins of either kind",
    paper="Restoring Images in Adverse Weather Conditions via Histogram Transformer, ECCV 2024",
    year=2024,
    url="https://arxiv.org/abs/2407.10172",
    repository="https://github.com/sunshangquan/Histoformer",
    cost="O((C^2 + C log(HW)) HW)",
    renamed={"num_heads": "heads"},
)
class DHSA(Mixer):
    """Dynamic-range histogram self-attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads and of parts, reduced to the greatest common divisor with the channels.
        bias: Whether the convolutions have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its weights are between channels of sorted positions"

    def __init__(self, channels: int, *, heads: int = 8, bias: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_flag(self, bias=bias)
        self.temperature = nn.Parameter(torch.ones(fitting_groups(channels, heads)))
        self.query_key = nn.Conv2d(channels, 4 * channels, 1, bias=bias)
        self.query_key_conv = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels, bias=bias)
        self.value = nn.Conv2d(channels, channels, 1, bias=bias)
        self.value_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)
        self.proj = nn.Conv2d(channels, channels, 1, bias=bias)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected product of both attentions."""
        first, others = torch.split(x, [self.channels // 2, self.channels - self.channels // 2], 1)
        first, rows = first.sort(2)
        first, columns = first.sort(3)
        y = saturate(self.proj(self._attend(torch.cat([first, others], 1))))
        first, others = torch.split(y, [self.channels // 2, self.channels - self.channels // 2], 1)
        first = _put_back(_put_back(first, columns, 3), rows, 2)
        return torch.cat([first, others], 1)

    def _attend(self, x: Tensor) -> Tensor:
        """Return the product of both attentions, (B, C, H, W)."""
        query_keys = self.query_key_conv(self.query_key(x)).flatten(2).chunk(4, 1)
        with no_autocast(x):
            value, order = wide_conv(self.value_conv, wide_conv(self.value, x)).flatten(2).sort(2)
            q1, k1, q2, k2 = (widen(t).gather(2, order) for t in query_keys)
            product = self._read(q1, k1, value, spread=False) * self._read(q2, k2, value, spread=True)
            found = _put_back(product, order, 2).reshape(x.shape)
        dtype = query_keys[0].dtype  # that of the projection, which autocast may have changed
        return saturate(found, dtype).to(dtype)

    def _read(self, query: Tensor, key: Tensor, value: Tensor, *, spread: bool) -> Tensor:
        """Return the contexts (B, C, N) of one attention; the parts are consecutive, or spread over all positions."""
        heads, count = self.temperature.numel(), value.shape[2]

        def rows(x: Tensor) -> Tensor:
            """Return (B, C, N) as (B, heads, d parts, N / parts)."""
            padded = F.pad(x, (0, -count % heads))
            shape = (x.shape[0], heads, x.shape[1] // heads)
            if spread:
                return padded.reshape(*shape, -1, heads).transpose(3, 4).flatten(2, 3)
            return padded.reshape(*shape, heads, -1).flatten(2, 3)

        logits = cosines(rows(query), rows(key)) * widen(self.temperature)[:, None, None]
        weights = F.pad(logits, (0, 1)).softmax(3)[..., :-1]  # the logit 0 adds 1 to the denominator
        contexts = weights @ rows(value)
        if spread:
            contexts = contexts.reshape(*contexts.shape[:2], -1, heads, contexts.shape[3]).transpose(3, 4)
        return contexts.reshape(value.shape[0], self.channels, -1)[:, :, :count]


def _put_back(x: Tensor, order: Tensor, dim: int) -> Tensor:
    """Return x with its elements along a dimension moved to the indices that they were taken from."""
    return torch.zeros_like(x).scatter(dim, order, x)
