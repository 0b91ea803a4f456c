"""DyHead: a block that attends over the levels of a pyramid (scale), its positions (space) and channels (task).

    o, m = conv3(x)                             18 offsets and 9 masks (sigmoid), for each position of the level x
    f_l = GN(D_l(x_l; o, m))                    modulated deformable 3 x 3 convolutions: of the level itself, of the
                                                finer level with stride 2, and of the coarser level, resized to x
    z = mean over l of a_l f_l                  a_l = hsigmoid(relu(w mean over H, W of f_l))
    y = max(a1 z + b1, a2 z + b2)               a, b = hsigmoid(W2 relu(W1 mean over H, W of z)), shifted and scaled

Paper: Dai et al., "Dynamic Head: Unifying Object Detection Heads with Attentions", CVPR 2021, arXiv 2106.08322. Of
the last line: Chen et al., "Dynamic ReLU", ECCV 2020, arXiv 2003.10027.
Code: https://github.com/microsoft/DynamicHead
Shapes: a level (B, C, H, W), the finer and the coarser one of the same channels; y (B, C, H, W). 28.25 C^2 weights for
each block, 1.9 million at C = 256, shared by all levels.
A row that rows of `Level` read computes every level of a pyramid, each from itself and its neighbors. In other rows the
inputs are one level, the finer one and the coarser one, and the output is that level.
Deviations: the authors' code convolves the coarser level at its own size with the offsets of the larger map, and reads
them out of order; here it is resized before the convolution, as in the paper. The groups of GN are reduced to divide C.
A finer level that is not twice as large is resized to be. With `width` levels of different channels are brought to one
width and back by 1 x 1 convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.errors import RowError, UserError
from yolo_attn.layers.base import Fusion, faded
from yolo_attn.layers.checks import check, check_integer
from yolo_attn.layers.fusion._deformable import deformable_conv
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import is_traced, one_dtype, total
from yolo_attn.layers.projections import wide_conv
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["DyHead"]

GROUPS = 16
BRANCHES = ("coarser", "level", "finer")


@register_layer(
    family="fusion",
    summary="attends over levels, positions and channels of the maps that the head reads, and returns all of them",
    aliases=("DyHeadBlock",),
    inputs=3,
    paper="Dynamic Head: Unifying Object Detection Heads with Attentions, CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2106.08322",
    repository="https://github.com/microsoft/DynamicHead",
    cost="O(27 C^2 HW)",
)
class DyHead(Fusion):
    """Dynamic head.

    Args:
        channels: Channels of the level, the finer and the coarser one; or of all levels, from fine to coarse.
        every_level: Whether the inputs are all levels, and so are the outputs.
        blocks: Number of blocks one after another; 6 in the paper.
        width: Channels of the blocks, for levels of different channels; None for those of the levels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range, or the levels have different channels and there is no `width`.
    """

    most: int | None = 3
    same_size = False
    can_return_levels = True
    no_attention_maps = "its attention over positions moves the taps of a convolution"

    def __init__(
        self,
        channels: Sequence[int],
        every_level: bool = False,
        *,
        blocks: int = 1,
        width: int | None = None,
        init: str = "paper",
    ) -> None:
        self.least, self.most = (2, None) if every_level else (3, 3)
        super().__init__(channels, init=init)
        check_integer(self, blocks=blocks, **({} if width is None else {"width": width}))
        self.every_level = every_level
        equal = len(set(channels)) == 1
        if not equal and width is None:
            fix = f"width={min(channels)}, which brings the levels to that many channels and back"
            check(self, False, "channels", list(channels), f"levels of the same channels, or {fix}")
        inner = channels[0] if width is None else width
        self.inputs = _projections(channels, [inner] * len(channels)) if width is not None else None
        self.widths = list(channels) if every_level else [channels[0]]  # of the outputs
        self.outputs = _projections([inner] * len(self.widths), self.widths) if width is not None else None
        self.blocks = nn.ModuleList(Block(inner) for _ in range(blocks))
        if self.gamma is not None:
            self.gamma = nn.Parameter(torch.zeros(sum(self.widths)))

    def forward(self, xs: list[Tensor]) -> Tensor | list[Tensor]:  # type: ignore[override]
        """Return the first input, or every level, after all blocks."""
        self.check_inputs(xs)
        if not self.every_level:
            self._check_order(xs)
        zs = one_dtype(xs)
        if self.inputs is not None:
            zs = [project(z) for project, z in zip(self.inputs, zs, strict=True)]
        if self.every_level:
            ys = self._levels(zs)
        else:
            level, finer, coarser = zs
            ys = [self._middle([finer, level, coarser])]
        if self.outputs is not None:
            ys = [project(y) for project, y in zip(self.outputs, ys, strict=True)]
        gammas = [None] * len(ys) if self.gamma is None else torch.split(self.gamma, self.widths)
        results = [
            y.to(x.dtype) if gamma is None else faded(x, y, gamma, x.dtype)
            for x, y, gamma in zip(xs, ys, gammas, strict=False)
        ]
        return results if self.every_level else results[0]

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the first input after all blocks."""
        y = self(xs)
        return y if isinstance(y, Tensor) else y[0]

    def _middle(self, xs: list[Tensor]) -> Tensor:
        """Return the middle one of three levels after all blocks, of which the last needs no other."""
        finer, level, coarser = self._levels(xs, len(self.blocks) - 1)
        middle: Tensor = self.blocks[-1](level, finer, coarser)
        return middle

    def _levels(self, xs: list[Tensor], count: int | None = None) -> list[Tensor]:
        """Return all levels after all blocks, or the first ones, from fine to coarse."""
        for block in self.blocks[:count]:
            around = [None, *xs, None]
            xs = [block(x, finer, coarser) for finer, x, coarser in zip(around, xs, around[2:], strict=False)]
        return xs

    def _check_order(self, xs: Sequence[Tensor]) -> None:
        """Raise UserError if a finer level is smaller than the first input, or a coarser one larger."""
        level, finer, coarser = (x.shape[2] for x in xs)
        if is_traced() or finer >= level >= coarser:
            return
        problem = f"reads heights {level}, {finer}, {coarser}, but expects a level, the finer and the coarser one"
        message = f"{type(self).__name__}: {problem}; to have every level, read each one with a row of Level"
        row = getattr(self, "i", None)
        raise RowError(row, message) if isinstance(row, int) else UserError(message)


class Block(nn.Module):
    """One block, which all levels share.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(channels, 27, 3, padding=1)
        groups = fitting_groups(channels, GROUPS)
        self.convs = nn.ModuleDict({name: _conv(channels, 3, 2 if name == "finer" else 1) for name in BRANCHES})
        self.norms = nn.ModuleDict({name: GroupNorm(groups, channels) for name in BRANCHES})
        self.scale = _conv(channels, 1)
        self.task = DynamicReLU(channels)

    def forward(self, x: Tensor, finer: Tensor | None, coarser: Tensor | None) -> Tensor:
        """Return the level x, attended with its neighbors; None for a level at an end of the pyramid."""
        moves = wide_conv(self.offsets, x)  # half precision would move the taps
        offsets, masks = moves[:, :18], moves[:, 18:].sigmoid()
        maps = {"level": x}
        if finer is not None:
            maps["finer"] = _twice(finer, x)
        if coarser is not None:
            maps["coarser"] = _resized(coarser, x.shape[2], x.shape[3])
        features = []
        for name, source in maps.items():
            conv = cast(nn.Conv2d, self.convs[name])
            normed = self.norms[name](deformable_conv(conv, source, offsets, masks))
            features.append(F.hardsigmoid(F.relu(self.scale(mean(normed, 2, 3, keepdim=True)))) * normed)
        y: Tensor = self.task(total(features) / len(features))
        return y


class DynamicReLU(nn.Module):
    """The maximum of two lines for each channel, whose slopes and intercepts depend on the mean of the map.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = hidden_width(channels, 4)
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 4 * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return max(a1 x + b1, a2 x + b2)."""
        lines = (F.hardsigmoid(self.fc(mean(x, 2, 3))) - 0.5)[..., None, None].to(x.dtype)
        a1, b1, a2, b2 = lines.chunk(4, 1)
        return torch.maximum(x * (2 * a1 + 1) + b1, x * (2 * a2) + b2)


def _conv(channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with the initial weights of the authors' code; that of a 1 x 1 kernel has one filter."""
    filters = channels if kernel_size > 1 else 1
    conv = nn.Conv2d(channels, filters, kernel_size, stride, kernel_size // 2)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _projections(channels: Sequence[int], outputs: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(c, out, 1) for c, out in zip(channels, outputs, strict=True))


def _twice(x: Tensor, like: Tensor) -> Tensor:
    """Return a map that a convolution with stride 2 brings to the size of another."""
    height, width = (2 * size - old % 2 for size, old in zip(like.shape[2:], x.shape[2:], strict=True))
    if not is_traced() and (height, width) == x.shape[2:]:
        return x
    return _resized(x, height, width)  # in a trace always, because sizes may vary


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=True)
