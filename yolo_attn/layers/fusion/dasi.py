"""DASI: dimension-aware selective integration, a map that chooses between a coarser and a finer one.

    q = W x0                                    C0 -> C
    c = resize(Wc x_coarser)                    to the height and width of x0, bilinear, corners aligned
    f = conv3 of x_finer                        stride 2, dilation 2
    v = sigmoid(q) * c + (1 - sigmoid(q)) * f
    y = relu(BN(Wt v + q))

With one map in addition to x0, each quarter of v is computed from the quarters of q and of that map, c or f:
v_n = Wm [q_n; c_n], with the same Wm (C / 4, C / 2) for all four.

Paper: Xu et al., "HCF-Net: Hierarchical Context Fusion Network for Infrared Small Object Detection", ICME 2024,
arXiv 2403.10778.
Code: https://github.com/zhengshuchen/HCFNet
Shapes: x0 (B, C0, H, W), the others (B, any channels, any height, any width), y (B, C0, H, W); weights([x0, ...])
(B, C0, H, W), those of the coarser map.
Deviations: the authors' coarser map has 2 C channels and their finer one C / 2, and is exactly twice as large; here f
is resized like c if it does not have the height and width of x0. Without a coarser map, their code computes every
quarter of v from the first quarter of q; here each one is computed from its own, as in the code without a finer map. Wt
has no bias, because a batch norm follows it. If C0 is not a multiple of 4, its greatest common divisor with 4 is the
number of parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import lerp, one_dtype
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["DASI"]

PARTS = 4
"""Equal parts of the channels that one further map is combined with."""


@register_layer(
    family="fusion",
    summary="lets a map choose between a coarser and a finer one for each value",
    inputs=3,
    optional_inputs=1,
    paper="HCF-Net: Hierarchical Context Fusion Network for Infrared Small Object Detection, ICME 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.10778",
    repository="https://github.com/zhengshuchen/HCFNet",
    cost="O(11 C^2 HW)",
)
class DASI(Fusion):
    """Dimension-aware selective integration.

    Args:
        channels: Channels of the two or three inputs; the output has those of the first.
        second: What the second input is, "coarser" or "finer" than the first; the third one, if any, is the other.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    most = 3
    same_size = False

    def __init__(self, channels: Sequence[int], *, second: str = "coarser", init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_choice(self, "second", second, ("coarser", "finer"))
        width = channels[0]
        kinds = ("coarser", "finer") if second == "coarser" else ("finer", "coarser")
        self.kinds = kinds[: len(channels) - 1]
        self.query = nn.Conv2d(width, width, 1)
        self.align = nn.ModuleDict(
            {kind: _aligning(kind, c, width) for kind, c in zip(self.kinds, channels[1:], strict=True)}
        )
        self.parts = fitting_groups(width, PARTS)
        part = width // self.parts
        self.merge = nn.Conv2d(2 * part, part, 1) if len(self.kinds) == 1 else None
        self.proj = nn.Conv2d(width, width, 1, bias=False)
        self.norm = BatchNorm(width)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the coarser map; none with one map in addition to the first."""
        return (
            []
            if self.merge is not None
            else [AttentionValues("coarser input", GATE, self.weights(list(inputs))[0].float())]
        )

    def weights(self, xs: list[Tensor]) -> Tensor:
        """Return the weights of the coarser map (B, C, H, W); those of the finer one are 1 minus them."""
        return torch.sigmoid(self.query(xs[0]))

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the first map, refined by the others."""
        query = self.query(xs[0])
        others = {kind: self._aligned(kind, x, query) for kind, x in zip(self.kinds, xs[1:], strict=True)}
        if self.merge is None:
            finer, coarser, weights = one_dtype([others["finer"], others["coarser"], torch.sigmoid(query)])
            chosen = lerp(finer, coarser, weights)
        else:
            chosen = self._merge(query, *others.values())
        return torch.relu(self.norm(self.proj(chosen) + query))

    def _aligned(self, kind: str, x: Tensor, like: Tensor) -> Tensor:
        """Return a further map with the channels, height and width of the first."""
        return F.interpolate(self.align[kind](x), like.shape[2:], mode="bilinear", align_corners=True)

    def _merge(self, query: Tensor, other: Tensor) -> Tensor:
        """Return a convolution of each part of q joined to the same part of the other map, (B, C, H, W)."""
        b, c, h, w = query.shape
        both = torch.stack([query.reshape(b, self.parts, -1, h, w), other.reshape(b, self.parts, -1, h, w)], 2)
        merged: Tensor = self.merge(both.reshape(b * self.parts, -1, h, w))  # type: ignore[misc]
        return merged.reshape(b, c, h, w)


def _aligning(kind: str, channels: int, width: int) -> nn.Conv2d:
    """Return the convolution of a coarser or a finer map."""
    if kind == "coarser":
        return nn.Conv2d(channels, width, 1)
    return nn.Conv2d(channels, width, 3, stride=2, padding=2, dilation=2)
