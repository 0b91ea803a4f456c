"""STN: spatial transformer, the map resampled under an affine transformation predicted from it.

    f = relu(W2 meanpool2(relu(conv3(x averaged on a grid of 8 x 8 cells))))
    T = [I | 0] + s (W3 f + b)                  (B, 2, 3); I: the identity matrix; W3, b: initially 0
    y_u = x(T [u; 1])                           u: positions in [-1, 1]; bilinear, zero outside the map

Paper: Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015, arXiv 1506.02025.
Code: none from the authors. The paper does not prescribe a localization network; this one is specific to this package.
Shapes: x (B, C, H, W), y the same; transformation(x) (B, 2, 3).
Deviations: the paper trains its localization network at a tenth of the learning rate. Here the factor s
(`offset_scale`) slows it, because one large step moves the map out of view, where it receives no gradient. The output
is y = x + x(T u) - x(u), with x resampled under the identity matrix subtracted, because rounded positions would make
the initial identity inexact. All positions are computed in float32; in float16 they would be off by 0.04 cells at a
width of 160. In a detector the boxes do not move with the map, so only small warps can help.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.registry import register_layer

__all__ = ["STN"]

CELLS = 8


@register_layer(
    family="spatial",
    summary="resamples the map under an affine transformation predicted from it",
    aliases=("SpatialTransformer",),
    paper="Spatial Transformer Networks, NeurIPS 2015",
    year=2015,
    url="https://arxiv.org/abs/1506.02025",
    cost="O(C HW)",
    identity="published: zero offset from the identity matrix",
    renamed={"step": "offset_scale"},
)
class STN(Mixer):
    """Spatial transformer; the identity with either initialization.

    Args:
        channels: Channels of the input.
        hidden: Channels of the localization network.
        offset_scale: s, factor on the predicted offset; lower is slower and more stable.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, hidden: int = 32, offset_scale: float = 0.1, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, hidden=hidden)
        check_positive(self, offset_scale=offset_scale)
        self.offset_scale = offset_scale
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.fc = nn.Linear(hidden * (CELLS // 2) ** 2, hidden)
        self.affine = nn.Linear(hidden, 6)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def mix(self, x: Tensor) -> Tensor:
        """Return x resampled."""
        wide, unit = widen(x), _unit(x)
        return wide + (_resample(wide, unit + self._offset(x)) - _resample(wide, unit.expand(x.shape[0], 2, 3)))

    def transformation(self, x: Tensor) -> Tensor:
        """Return the affine transformation of each image, (B, 2, 3)."""
        return _unit(x) + self._offset(x)

    def _offset(self, x: Tensor) -> Tensor:
        """Return the offset of the transformation from the identity matrix, (B, 2, 3)."""
        with no_autocast(x):
            cells = torch.relu(_wide(F.conv2d, adaptive_mean(widen(x), CELLS, CELLS), self.conv, padding=1))
            hidden = torch.relu(_wide(F.linear, F.avg_pool2d(cells, 2).flatten(1), self.fc))
            return (self.offset_scale * _wide(F.linear, hidden, self.affine)).reshape(-1, 2, 3)


def _wide(function: Callable[..., Tensor], x: Tensor, layer: nn.Conv2d | nn.Linear, **options: int) -> Tensor:
    """Apply a layer in the precision of x, regardless of that of its weights."""
    return function(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype), **options)


def _unit(x: Tensor) -> Tensor:
    """Return the identity transformation (1, 2, 3) in at least float32, on the device of x."""
    row, column = torch.arange(2, device=x.device)[:, None], torch.arange(3, device=x.device)
    return widen((row == column).to(x.dtype))[None]


def _resample(x: Tensor, transformation: Tensor) -> Tensor:
    """Return x(T [u; 1]) for each position u.

    Args:
        x: (B, C, H, W).
        transformation: T (B, 2, 3), from output positions to positions of x, both from -1 to 1 between the outer
            edges of the map.
    """
    h, w = x.shape[2:]
    down = ((2 * torch.arange(h, device=x.device, dtype=x.dtype) + 1) / h - 1).view(1, -1, 1, 1)
    right = ((2 * torch.arange(w, device=x.device, dtype=x.dtype) + 1) / w - 1).view(1, 1, -1, 1)
    from_right, from_down, shift = transformation[:, None, None].unbind(4)  # (B, 1, 1, 2) each
    return F.grid_sample(x, right * from_right + down * from_down + shift, align_corners=False)
