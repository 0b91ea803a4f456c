"""Mappings from reference implementations to the spatial family and to the hybrid layers that `hybrid` does not map."""

from __future__ import annotations

from collections.abc import Callable

import torch

from yolo_attn.layers import (
    CAA,
    CPCA,
    SCSA,
    SCSE,
    STN,
    CBAMSpatial,
    HardAttention,
    MixedPooling,
    NAMSpatial,
    Polarized,
    ResidualAttention,
    StripPooling,
    Triplet,
)

from .mapping import Mapping, Weights, as_linear, layer, rename, renamed

CAA_STRIPS = {"conv_h": "m__h_conv__conv", "conv_v": "m__v_conv__conv"}
CAA_POINTWISE = {"conv1__0": "m__conv1__conv", "conv2__0": "m__conv2__conv"}
CAA_NORMS = {"conv1__1": "m__conv1__norm", "conv2__1": "m__conv2__norm"}

TRIPLET_PLANES = {"channel_width": "cw", "height_channel": "hc", "height_width": "hw"}

POLARIZED = {
    "channel_query": "conv_q_right",
    "channel_value": "conv_v_right",
    "spatial_query": "conv_q_left",
    "spatial_value": "conv_v_left",
    "up": "conv_up",
}

MPM = {
    "grid_reduce": "conv1_1",
    "strip_reduce": "conv1_2",
    "grid_local": "conv2_0",
    "grid_convs__0": "conv2_1",
    "grid_convs__1": "conv2_2",
    "strip_w": "conv2_3",
    "strip_h": "conv2_4",
    "grid_fuse": "conv2_5",
    "strip_fuse": "conv2_6",
    "proj": "conv3",
}
WITH_RELU = {"conv1_1", "conv1_2", "conv2_5", "conv2_6"}

STN_SCALE = 0.1


def cpca(weights: Weights) -> Weights:
    strips = {
        f"scales__strips__{n}__{part}": f"dconv{k}"
        for n, length in enumerate((7, 11, 21))
        for part, k in enumerate((f"1_{length}", f"{length}_1"))
    }
    names = {"pointwise__0": "conv", "mlp__0": "ca__fc1", "mlp__2": "ca__fc2", "scales__near": "dconv5_5"}
    return as_linear(rename(weights, **names, **strips), "mlp.0.weight", "mlp.2.weight")


def scsa(weights: Weights) -> Weights:
    strips = ("local_dwc", "global_dwc_s", "global_dwc_m", "global_dwc_l")
    names = {"row_norm": "norm_h", "column_norm": "norm_w", "query": "q", "key": "k", "value": "v", "norm": "norm"}
    return rename(weights, **names, **{f"convs__{n}": strip for n, strip in enumerate(strips)})


def polarized_s(weights: Weights) -> Weights:
    state = rename(weights, **POLARIZED)
    return state | {name: state[name].flatten() for name in ("up.1.weight", "up.1.bias")}  # a layer norm over (C, 1, 1)


def mixed_pooling(weights: Weights) -> Weights:
    names = {}
    for name, reference in MPM.items():
        inner = f"{name}__0" if reference in WITH_RELU else name
        names |= {f"{inner}__{part}": f"{reference}__{part}" for part in (0, 1)}
    return rename(weights, **names)


def residual_attention(depth: int) -> Callable[[Weights], Weights]:
    blocks = {"first__0": "first_residual_blocks", "last__0": "last_blocks"}
    blocks |= {f"trunk__{n}": f"trunk_branches__{n}" for n in range(2)}
    blocks |= {f"down__{n}__0": f"softmax{n + 1}_blocks" for n in range(depth - 1)}
    blocks |= {f"down__{depth - 1}__{n}": f"softmax{depth}_blocks__{n}" for n in range(2)}
    blocks |= {f"skips__{n}__0": f"skip{n + 1}_connection_residual_block" for n in range(depth - 1)}
    blocks |= {f"up__{n}__0": f"softmax{2 * depth - 1 - n}_blocks" for n in range(depth - 1)}
    names = {
        f"{name}__layers__{n}__{index}": f"{reference}__{part}{n + 1}"
        for name, reference in blocks.items()
        for n in range(3)
        for index, part in ((0, "bn"), (2, "conv"))
    }
    mask = f"softmax{2 * depth}_blocks"
    names |= {f"mask__{n}__{index}": f"{mask}__{3 * n + index}" for n in range(2) for index in (0, 2)}

    def convert(weights: Weights) -> Weights:
        used = {name: value for name, value in weights.items() if ".conv4." not in name}  # unused shortcuts
        return rename(used, **names)

    return convert


def stn(weights: Weights) -> Weights:
    state = rename(weights, conv="loc__1", fc="loc__5", affine="fc")
    offset = state["affine.bias"] - torch.eye(2, 3).flatten()
    return state | {"affine.weight": state["affine.weight"] / STN_SCALE, "affine.bias": offset / STN_SCALE}


MAPPINGS = {
    "cbam_spatial": Mapping(layer(CBAMSpatial), renamed(conv="spatial__conv", norm="spatial__bn")),
    "nam_spatial": Mapping(layer(NAMSpatial), renamed(norm="bn")),
    "caa": Mapping(layer(CAA), renamed(**CAA_STRIPS, **CAA_POINTWISE, **CAA_NORMS)),
    "caa__official_use": Mapping(layer(CAA, norm=False), renamed(**CAA_STRIPS, **CAA_POINTWISE)),
    "triplet": Mapping(
        layer(Triplet),
        renamed(
            **{f"{name}__0": f"{reference}__conv__conv" for name, reference in TRIPLET_PLANES.items()},
            **{f"{name}__1": f"{reference}__conv__bn" for name, reference in TRIPLET_PLANES.items()},
        ),
    ),
    "scse": Mapping(layer(SCSE), renamed(fc1="cSE__fc1", fc2="cSE__fc2", spatial="sSE__conv")),
    "cpca": Mapping(layer(CPCA), cpca),
    "scsa": Mapping(layer(SCSA), scsa),
    "polarized_p": Mapping(layer(Polarized), renamed(**POLARIZED)),
    "polarized_s": Mapping(layer(Polarized, mode="s"), polarized_s),
    "strip_pooling": Mapping(
        layer(StripPooling),
        renamed(rows__0="m__conv1", rows__1="m__bn1", columns__0="m__conv2", columns__1="m__bn2", proj="m__conv3"),
    ),
    "mixed_pooling_mpm": Mapping(layer(MixedPooling), mixed_pooling),
    "residual_attention": Mapping(layer(ResidualAttention), residual_attention(2)),
    "residual_attention__stage1": Mapping(layer(ResidualAttention, depth=3), residual_attention(3)),
    "residual_attention__stage3": Mapping(layer(ResidualAttention, depth=1), residual_attention(1)),
    "stn": Mapping(layer(STN, offset_scale=STN_SCALE), stn),
    "hard_attention__st": Mapping(layer(HardAttention), renamed(score="score")),
}
