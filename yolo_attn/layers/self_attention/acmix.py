"""ACmix: self-attention in 7 x 7 windows and a convolution that share their projections.

    q, k, v = Wq x, Wk x, Wv x                  in `head` heads of d channels
    a_pj = softmax over j of q_p . (k_(p+j) + P (l_p - l_(p+j))) / sqrt(d)      j: the window; l: coordinates, -1 to 1
    s = sum over j of a_pj v_(p+j)
    f = F [q; k; v]                             3 head -> 9 maps for each of the d channels of a head
    c = grouped conv3 of f                      starts as nine shifts, one for each map
    y = r1 s + r2 c                             r1, r2: learned numbers, 0.5 before training

Beyond the border of the map, keys, values and coordinates are reflected.

Paper: Pan et al., "On the Integration of Self-Attention and Convolution", CVPR 2022, arXiv 2111.14556.
Code: https://github.com/LeapLabTHU/ACmix
Shapes: x (B, C, H, W), y the same.
Deviations: P has no bias, which the difference would cancel, and the grouped convolution has none, as in the code,
where an assignment loses it. Energies and softmax in float32. Maps narrower than the border reflect more than once,
where the published form raises. Where C is not a multiple of the heads, their greatest common divisor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.numerics import at_least_one, no_autocast, total, widen
from yolo_attn.layers.self_attention.neighbours import reflect, shifted
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["ACmix"]

RATE = 0.5  # of either path before training


@register_layer(
    family="self_attention",
    summary="adds 7 x 7 window attention and a convolution made of the same projections",
    aliases=("ACMix",),
    paper="On the Integration of Self-Attention and Convolution, CVPR 2022",
    year=2022,
    url="https://arxiv.org/abs/2111.14556",
    repository="https://github.com/LeapLabTHU/ACmix",
    cost="O((C + k^2) C HW)",
)
class ACmix(Mixer):
    """Self-attention and convolution, mixed.

    Args:
        channels: Channels of the input.
        kernel_att: Height and width of the attention window, odd.
        head: Heads, brought down to what divides the channels.
        kernel_conv: Height and width of the convolution, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, kernel_att: int = 7, head: int = 4, kernel_conv: int = 3, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_att=kernel_att, kernel_conv=kernel_conv)
        check_integer(self, head=head)
        self.head = fitting_groups(channels, head)
        self.kernel_att = kernel_att
        depth, square = channels // self.head, kernel_conv**2
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.position = nn.Conv2d(2, depth, 1, bias=False)
        self.combine = nn.Conv2d(3 * self.head, square, 1, bias=False)
        self.shift = nn.Conv2d(
            square * depth, channels, kernel_conv, padding=kernel_conv // 2, groups=depth, bias=False
        )
        self.rate_attention = nn.Parameter(torch.full((1,), RATE))
        self.rate_convolution = nn.Parameter(torch.full((1,), RATE))
        with torch.no_grad():
            self.shift.weight.copy_(torch.eye(square).reshape(square, kernel_conv, kernel_conv))

    def mix(self, x: Tensor) -> Tensor:
        """Return both paths, added."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        attended = self._attend(query, key, value)
        convolved = self._convolve(query, key, value)
        return self.rate_attention.to(x.dtype) * attended + self.rate_convolution.to(x.dtype) * convolved

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        b, c, h, w = query.shape
        border = self.kernel_att // 2
        position = self.position(_coordinates(query))  # (1, d, H, W)
        with no_autocast(query):
            wide = self._heads(widen(query)) * (c // self.head) ** -0.5
            keys = shifted(self._heads(reflect(widen(key), border)), self.kernel_att)
            places = shifted(reflect(widen(position), border), self.kernel_att)
            pairs = zip(keys, places, strict=True)
            energies = torch.stack([(wide * (k + (position - place))).sum(2) for k, place in pairs], 2)
            weights = energies.softmax(2).to(value.dtype)  # (B, head, k k, H, W)
        values = shifted(self._heads(reflect(value, border)), self.kernel_att)
        attended = total(weights[:, :, n, None] * v for n, v in enumerate(values))
        return attended.reshape(b, c, h, w)

    def _convolve(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        b, _, h, w = query.shape
        everything = torch.cat([self._heads(query), self._heads(key), self._heads(value)], 1)
        maps = self.combine(everything.flatten(3))  # (B, k k, d, HW)
        convolved: Tensor = self.shift(maps.transpose(1, 2).reshape(b, -1, h, w))
        return convolved

    def _heads(self, x: Tensor) -> Tensor:
        """Return (B, head, d, H, W) of (B, C, H, W)."""
        b, c, h, w = x.shape
        return x.reshape(b, self.head, c // self.head, h, w)


def _coordinates(x: Tensor) -> Tensor:
    """Return column and row of every position, each from -1 to 1, (1, 2, H, W)."""
    row, column = (_line(x.shape[dim], x) for dim in (2, 3))
    rows, columns = torch.meshgrid(row, column, indexing="ij")
    return torch.stack([columns, rows])[None]


def _line(length: int, like: Tensor) -> Tensor:
    place = torch.arange(length, device=like.device, dtype=like.dtype)
    return place * (2 / at_least_one(length - 1)) - 1
