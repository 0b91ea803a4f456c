"""Outlook: each position computes the weights that mix its k x k neighborhood, of VOLO.

    v = Wv x                                    C channels in `heads` groups
    a_p = softmax over j of Wa x_p / sqrt(d)    (k^2, k^2) for each position p and head: from neighbor j to neighbor i
    t_pi = sum over j of a_pij v_(p + j)        the output of the window around p for its neighbor i
    y_p = Wo sum over i of t_(p - i)i           the sum over all windows that contain the position

Each value is read once for each of the (2k - 1)^2 positions that it reaches: the weights of all windows that take it to
the same position are added first, which is cheaper because the channels of a head share them.

Paper: Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", TPAMI 2022, arXiv 2106.13112.
Code: https://github.com/sail-sg/volo
Shapes: x (B, C, H, W), y the same; weights(x) (B, heads, k^2, k^2, H, W).
Memory: heads x k^4 x HW weights; 66 MB at 160 x 160, 8 heads and k = 3.
Deviations: the formula at stride 1, computed without fold; softmax in float32. VOLO itself has stride 2 and pools x to
match. The number of heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues, Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd
from yolo_attn.layers.numerics import total, widen
from yolo_attn.layers.self_attention._neighbor_sums import weighted_sum
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["Outlook"]


@register_layer(
    family="self_attention",
    summary="each position computes the weights that mix its 3 x 3 neighborhood",
    aliases=("OutlookAttention", "VOLO"),
    paper="VOLO: Vision Outlooker for Visual Recognition, TPAMI 2022",
    year=2022,
    url="https://arxiv.org/abs/2106.13112",
    repository="https://github.com/sail-sg/volo",
    cost="O((C + k^4 heads) C HW)",
)
class Outlook(Mixer):
    """Outlook attention.

    Args:
        channels: Channels of the input.
        heads: Groups of channels with separate weights, reduced to the greatest common divisor with the channels.
        kernel_size: k, odd.
        qkv_bias: Whether the values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, heads: int = 8, kernel_size: int = 3, qkv_bias: bool = False, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.kernel_size = kernel_size
        self.value = nn.Conv2d(channels, channels, 1, bias=qkv_bias)
        self.attn = nn.Conv2d(channels, self.heads * kernel_size**4, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the sum over all windows that contain each position."""
        y: Tensor = self.proj(self._attend(self.weights(x), self.value(x)))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the sum of the windows that contain each position."""
        x = inputs[0]
        return [Reading("", self.value(x), partial(self._attend, self.weights(x)), self.heads)]

    def _attend(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return the sum over all windows that contain each position, (B, C, H, W)."""
        b, _, h, w = values.shape
        k = self.kernel_size
        merged = _merge_windows(weights.to(values.dtype), k)
        padded = F.pad(values.reshape(b, self.heads, -1, h, w), (k - 1, k - 1, k - 1, k - 1))
        return weighted_sum(merged, padded, 2 * k - 1).reshape(values.shape)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the mean weight of each position over the windows that contain it."""
        x = inputs[0]
        weights = self.weights(x)[0].float()
        given = weights.sum((0, 1)).flatten(1)[None] / self.heads  # (1, k^2, HW)
        k = self.kernel_size
        totals = (F.fold(part, x.shape[2:], k, padding=k // 2)[0, 0] for part in (given, torch.ones_like(given)))
        received, uniform = totals
        return [AttentionValues("", WEIGHT, received / uniform)]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of neighbor j for neighbor i, (B, heads, k^2 of i, k^2 of j, H, W)."""
        b, c, h, w = x.shape
        square = self.kernel_size**2
        logits = widen(self.attn(x)).mul_((c // self.heads) ** -0.5)
        weights: Tensor = logits.reshape(b, self.heads, square, square, h, w).softmax(3)
        return weights


def _merge_windows(weights: Tensor, k: int) -> Tensor:
    """Return the total weight of each of the (2k - 1)^2 positions around each position, (B, heads, (2k - 1)^2, H, W).

    The window around p takes the value of p + j to p + i, by j - i. Columns and rows are merged one after the other.

    Args:
        weights: (B, heads, k^2 of i, k^2 of j, H, W).
        k: Height and width of the windows.
    """
    b, heads, _, _, h, w = weights.shape
    border = k // 2
    windows = weights.reshape(b, heads, k, k, k, k, h, w)
    columns = total(_pad(m, (i, k - 1 - i, 0, 0, k - 1 - i, i)) for i, m in enumerate(windows.unbind(3)))
    columns = columns[..., border : border + w]
    rows = total(_pad(m, (0, 0, i, k - 1 - i, 0, 0, k - 1 - i, i)) for i, m in enumerate(columns.unbind(2)))
    return rows[..., border : border + h, :].flatten(2, 3)


def _pad(x: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Return x with zeros around its last dimensions, the others as one, because LiteRT pads at most five."""
    padded = len(widths) // 2
    y = F.pad(x.flatten(0, -padded - 1), widths)
    return y.reshape(*x.shape[:-padded], *y.shape[1:])
