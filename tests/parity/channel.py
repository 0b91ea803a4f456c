"""Channel gates."""

from __future__ import annotations

import torch

from yolo_attn.layers import ECA, NAM, SE, SK, SOCA, CBAMChannel

from .mapping import Mapping, Weights, as_linear, layer, rename, renamed, without_conv_bias

SE_NAMES = {"squeeze": "fc__0", "excite": "fc__2"}


def sk(weights: Weights) -> Weights:
    names = {"squeeze": "fc1__0", "norm": "fc1__1", "choose": "fc2", "branches": "convs"}
    return as_linear(rename(weights, **names), "squeeze.weight", "choose.weight")


def sk_xmu(weights: Weights) -> Weights:
    branches = range(sum(name.endswith(".conv.weight") for name in weights))
    for n in branches:
        weights = without_conv_bias(weights, f"convs.{n}.conv", f"convs.{n}.bn")
    choose = {f"choose.{p}": torch.cat([weights[f"fcs.{n}.{p}"] for n in branches]) for p in ("weight", "bias")}
    weights = {name: value for name, value in weights.items() if not name.startswith("fcs.")}
    names = {f"branches__{n}__{k}": f"convs__{n}__{part}" for n in branches for k, part in enumerate(("conv", "bn"))}
    return rename(weights, squeeze="fc", **names) | choose


def soca(weights: Weights) -> Weights:
    ours = rename(weights, squeeze="conv_du__0", excite="conv_du__2")
    return as_linear(ours, "squeeze.weight", "excite.weight")


MAPPINGS = {
    "se": Mapping(layer(SE), renamed(**SE_NAMES)),
    "se_bias": Mapping(layer(SE, bias=True), renamed(**SE_NAMES)),
    "eca": Mapping(layer(ECA), renamed(conv="conv")),
    "eca_adaptive": Mapping(layer(ECA, kernel_size=None), renamed(conv="conv")),
    "cbam_channel": Mapping(layer(CBAMChannel), renamed(mlp__0="mlp__1", mlp__2="mlp__3")),
    "nam_channel": Mapping(layer(NAM), renamed(norm="bn2")),
    "nam_channel_grad": Mapping(layer(NAM), renamed(norm="bn2")),
    "sk": Mapping(layer(SK), sk),
    "sk_xmu": Mapping(layer(SK, kernels=(1, 3, 5, 7), dilated=False, groups=1, norm=False), sk_xmu),
    "soca": Mapping(layer(SOCA), soca),
    "soca_autograd": Mapping(layer(SOCA), soca),
}
