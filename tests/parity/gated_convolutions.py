"""Mappings of convolutions that weight their own features, and of the hypergraph computation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers import HyperACE, OmniKernel, SelfCalibrated, SpatialChannelReconstruction

from .mapping import Mapping, Weights, layer, rename, renamed, vectors

SRU = {"norm": "gn"}
CRU = {
    "reduce_rich": "squeeze1",
    "reduce_cheap": "squeeze2",
    "conv": "GWC",
    "expand_rich": "PWC1",
    "expand_cheap": "PWC2",
}


def unit(cls: type[nn.Module], name: str, channels: int | list[int]) -> nn.Module:
    """Return one unit of a layer."""
    return cls(channels).get_submodule(name).eval()


def hyper_ace(weights: Weights) -> Weights:
    """Return the weights without the bias of the projected positions, which has no effect."""
    used = {name: value for name, value in weights.items() if not name.endswith("pre_head_proj.bias")}
    names = {"prototypes": "edge_generator__prototype_base", "context": "edge_generator__context_net"}
    names |= {"vertex": "edge_generator__pre_head_proj", "edge": "edge_proj__0", "node": "node_proj__0"}
    state = rename(used, **{name: f"hgnn__{theirs}" for name, theirs in names.items()})
    return state | {"prototypes": state["prototypes"][None]}


class Branches(nn.Module):
    """The block C3AH of YOLOv13 in evaluation, where batch norms are part of the 1 x 1 convolutions.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int | list[int]) -> None:
        super().__init__()
        assert isinstance(channels, int)
        self.cv1 = nn.Conv2d(channels, channels, 1)
        self.cv2 = nn.Conv2d(channels, channels, 1)
        self.cv3 = nn.Conv2d(2 * channels, channels, 1)
        self.m = HyperACE(channels, edges=4)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.m(F.silu(self.cv1(x))), F.silu(self.cv2(x))], 1)
        return F.silu(self.cv3(both))


def c3ah(weights: Weights) -> Weights:
    inner = {name.removeprefix("m."): value for name, value in weights.items() if name.startswith("m.")}
    state = {f"m.{name}": value for name, value in hyper_ace(inner).items()}
    for name in ("cv1", "cv2", "cv3"):
        scale = weights[f"{name}.bn.weight"] / (weights[f"{name}.bn.running_var"] + 1e-5).sqrt()
        state[f"{name}.weight"] = weights[f"{name}.conv.weight"] * scale[:, None, None, None]
        state[f"{name}.bias"] = weights[f"{name}.bn.bias"] - scale * weights[f"{name}.bn.running_mean"]
    return state


FGM = {"alpha": "alpha", "beta": "beta", "factor": "dwconv1", "spectrum": "dwconv2"}
OMNI = {"reduce": "in_conv__0", "frequency": "fac_conv", "channel": "conv", "proj": "out_conv"}
OMNI |= {f"dwconvs__{n}": f"dw_{name}" for n, name in enumerate(("33", "13", "31", "11"))}


def fgm(weights: Weights) -> Weights:
    """Return the weights of the modulation without a convolution that has no effect."""
    state = rename({name: value for name, value in weights.items() if not name.startswith("conv.")}, **FGM)
    return state | vectors({name: state[name] for name in ("alpha", "beta")})


def omni(weights: Weights) -> Weights:
    inner = {name.removeprefix("fgm."): value for name, value in weights.items() if name.startswith("fgm.")}
    outer = {name: value for name, value in weights.items() if not name.startswith("fgm.")}
    return rename(outer, **OMNI) | {f"modulation.{name}": value for name, value in fgm(inner).items()}


MAPPINGS = {
    "hyper_ace": Mapping(layer(HyperACE, heads=2), hyper_ace),
    "hyper_ace__c3ah": Mapping(lambda c: Branches(c).eval(), c3ah),
    "hyper_ace__max": Mapping(layer(HyperACE, heads=4, context="max"), hyper_ace),
    "hyper_ace__mean": Mapping(layer(HyperACE, heads=4, context="mean"), hyper_ace),
    "omni_kernel": Mapping(layer(OmniKernel), omni),
    "omni_kernel__fgm": Mapping(lambda c: unit(OmniKernel, "modulation", c), fgm),
    "omni_kernel__k31": Mapping(layer(OmniKernel, kernel_size=31), omni),
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
    "sru_cru__cru": Mapping(lambda c: unit(SpatialChannelReconstruction, "channel", c), renamed(**CRU)),
    "sru_cru__sru": Mapping(lambda c: unit(SpatialChannelReconstruction, "spatial", c), renamed(**SRU)),
}
