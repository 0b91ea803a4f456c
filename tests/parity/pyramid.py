"""Mappings of the dynamic head."""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers import DyHead
from yolo_attn.layers.fusion.dyhead import Block, DynamicReLU

from .mapping import Mapping, Weights, layer, rename


class Ends(nn.Module):
    """The block for the coarsest level, which has no coarser one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = Block(channels)

    def forward(self, xs: list[Tensor]) -> Tensor:
        y: Tensor = self.block(xs[0], xs[1], None)
        return y


def block(prefix: str, weights: Weights) -> Weights:
    names = {"offsets": "offset", "scale": "AttnConv__1", "task__fc__0": "relu__fc__0", "task__fc__2": "relu__fc__2"}
    for n, name in enumerate(("coarser", "level", "finer")):
        names |= {f"convs__{name}": f"DyConv__{n}__conv", f"norms__{name}": f"DyConv__{n}__bn"}
    return {prefix + name: value for name, value in rename(weights, **names).items()}


MAPPINGS = {
    "dyhead_fixed": Mapping(layer(DyHead), lambda weights: block("blocks.0.", weights)),
    "dyhead__finer": Mapping(lambda c: Ends(c[0]).eval(), lambda weights: block("block.", weights)),
    "dyhead__task": Mapping(layer(DynamicReLU), lambda weights: rename(weights, fc="fc")),
}
