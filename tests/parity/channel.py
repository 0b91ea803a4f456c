"""Mappings from reference implementations to the layers of the channel family."""

from __future__ import annotations

import torch

from yolo_attn.layers import ECA, ESE, FCA, GC, GE, NAM, SE, SK, SOCA, SRM, CBAMChannel, ParNet

from .mapping import Mapping, Weights, as_linear, layer, rename, renamed, vectors, without_conv_bias

SE_NAMES = {"fc1": "fc__0", "fc2": "fc__2"}


def sk(weights: Weights) -> Weights:
    names = {"fc1": "fc1__0", "norm": "fc1__1", "fc2": "fc2", "branches": "convs"}
    return as_linear(rename(weights, **names), "fc1.weight", "fc2.weight")


def sk_xmu(weights: Weights) -> Weights:
    branches = range(sum(name.endswith(".conv.weight") for name in weights))
    for n in branches:
        weights = without_conv_bias(weights, f"convs.{n}.conv", f"convs.{n}.bn")
    fc2 = {f"fc2.{p}": torch.cat([weights[f"fcs.{n}.{p}"] for n in branches]) for p in ("weight", "bias")}
    weights = {name: value for name, value in weights.items() if not name.startswith("fcs.")}
    names = {f"branches__{n}__{k}": f"convs__{n}__{part}" for n in branches for k, part in enumerate(("conv", "bn"))}
    return rename(weights, fc1="fc", **names) | fc2


def soca(weights: Weights) -> Weights:
    state = rename(weights, fc1="conv_du__0", fc2="conv_du__2")
    return as_linear(state, "fc1.weight", "fc2.weight")


def ese(weights: Weights) -> Weights:
    return as_linear(rename(weights, fc="fc"), "fc.weight")


def fca(weights: Weights) -> Weights:
    """Drop the reference's buffer of waves, which the layer computes."""
    weights = {name: value for name, value in weights.items() if name != "dct_layer.weight"}
    return rename(weights, **SE_NAMES)


def gc(weights: Weights) -> Weights:
    """Drop the bias of the reference's logits, to which the softmax is invariant."""
    weights = {name: value for name, value in weights.items() if name != "conv_mask.bias"}
    names = {"fc1": "channel_add_conv__0", "norm": "channel_add_conv__1", "fc2": "channel_add_conv__3"}
    state = as_linear(rename(weights, attn="conv_mask", **names), "fc1.weight", "fc2.weight")
    return state | vectors({name: state[name] for name in ("norm.weight", "norm.bias")})


def ge_srm(weights: Weights) -> Weights:
    return rename(without_conv_bias(weights, "conv.0", "conv.1"), gather="conv")


def parnet(weights: Weights) -> Weights:
    names = {"conv3x3__0": "rbr_dense__conv", "conv3x3__1": "rbr_dense__bn", "conv1x1__0": "rbr_1x1__conv"}
    names |= {"conv1x1__1": "rbr_1x1__bn", "norm": "rbr_identity", "fc": "se__cvsig__conv"}
    return as_linear(rename(weights, **names), "fc.weight")


def srm(weights: Weights) -> Weights:
    mean, std = weights["cfc"].unbind(1)
    norm = {name: value for name, value in weights.items() if name != "cfc"}
    return rename(norm, norm="bn") | {"mean_weight": mean, "std_weight": std}


GE_NAMES = {"gather": "gather", "excite": "mlp"}

MAPPINGS = {
    "se": Mapping(layer(SE), renamed(**SE_NAMES)),
    "se_bias": Mapping(layer(SE, bias=True), renamed(**SE_NAMES)),
    "eca": Mapping(layer(ECA), renamed(conv="conv")),
    "eca_adaptive": Mapping(layer(ECA, kernel_size=None), renamed(conv="conv")),
    "cbam_channel": Mapping(layer(CBAMChannel), renamed(mlp__0="mlp__1", mlp__2="mlp__3")),
    "nam_channel": Mapping(layer(NAM), renamed(norm="bn2")),
    "nam_channel_grad": Mapping(layer(NAM), renamed(norm="bn2")),
    "sk": Mapping(layer(SK), sk),
    "sk_xmu": Mapping(layer(SK, kernel_sizes=(1, 3, 5, 7), dilated=False, groups=1, norm=False), sk_xmu),
    "soca": Mapping(layer(SOCA), soca),
    "soca_autograd": Mapping(layer(SOCA), soca),
    "ese": Mapping(layer(ESE), ese),
    "fcanet": Mapping(layer(FCA, grid_size=20), fca),  # resizes the 8 x 9 map to the reference's fixed grid
    "gcnet": Mapping(layer(GC), gc),
    "ge": Mapping(layer(GE, variant="theta-"), renamed()),
    "ge__minus_e4": Mapping(layer(GE, variant="theta-", extent=4), renamed()),
    "ge__plus_e4": Mapping(layer(GE, extent=4), renamed(**GE_NAMES)),
    "ge__plus_global": Mapping(layer(GE, grid_size=20), renamed(**GE_NAMES)),  # the kernel has the size of the map
    "ge__theta_e4": Mapping(layer(GE, variant="theta", extent=4), renamed(**GE_NAMES)),
    "ge_srm": Mapping(layer(GE, variant="theta", grid_size=20), ge_srm),
    "parnet": Mapping(layer(ParNet), parnet),
    "srm": Mapping(layer(SRM), srm),
}
