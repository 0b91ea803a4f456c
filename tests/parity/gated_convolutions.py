"""Mappings of convolutions that weight their own features."""

from __future__ import annotations

from torch import nn

from yolo_attn.layers import SelfCalibrated, SpatialChannelReconstruction

from .mapping import Mapping, layer, renamed

SRU = {"norm": "gn"}
CRU = {
    "reduce_rich": "squeeze1",
    "reduce_cheap": "squeeze2",
    "conv": "GWC",
    "expand_rich": "PWC1",
    "expand_cheap": "PWC2",
}


def unit(name: str, channels: int | list[int]) -> nn.Module:
    """Return one unit of SpatialChannelReconstruction."""
    assert isinstance(channels, int)
    return SpatialChannelReconstruction(channels).get_submodule(name).eval()


MAPPINGS = {
    "scconv": Mapping(
        layer(SelfCalibrated),
        renamed(
            **{
                f"{name}__{child}": f"{theirs}__{child + shift}"
                for name, theirs, shift in (("context", "k2", 1), ("features", "k3", 0), ("proj", "k4", 0))
                for child in (0, 1)
            }
        ),
    ),
    "sru_cru": Mapping(
        layer(SpatialChannelReconstruction),
        renamed(
            **{f"spatial__{name}": f"SRU__{theirs}" for name, theirs in SRU.items()},
            **{f"channel__{name}": f"CRU__{theirs}" for name, theirs in CRU.items()},
        ),
    ),
    "sru_cru__cru": Mapping(lambda c: unit("channel", c), renamed(**CRU)),
    "sru_cru__sru": Mapping(lambda c: unit("spatial", c), renamed(**SRU)),
}
