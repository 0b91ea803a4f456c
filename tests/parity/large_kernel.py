"""Mappings of large-kernel layers, alone and between their projections."""

from __future__ import annotations

from collections.abc import Callable

from yolo_attn.layers import DLKA, LKA, LSK, LSKA, MSCA

from .mapping import Mapping, Weights, layer, renamed

LKA_NAMES = {"near": "conv0", "far": "conv_spatial", "pointwise": "conv1"}
LSKA_NAMES = {
    "near__0": "conv0h",
    "near__1": "conv0v",
    "far__0": "conv_spatial_h",
    "far__1": "conv_spatial_v",
    "pointwise": "conv1",
}
LSK_NAMES = {
    "near": "conv0",
    "far": "conv_spatial",
    "reduce_near": "conv1",
    "reduce_far": "conv2",
    "select": "conv_squeeze",
    "expand": "conv",
}
MSCA_NAMES = {
    "scales__near": "conv0",
    "scales__strips__0__0": "conv0_1",
    "scales__strips__0__1": "conv0_2",
    "scales__strips__1__0": "conv1_1",
    "scales__strips__1__1": "conv1_2",
    "scales__strips__2__0": "conv2_1",
    "scales__strips__2__1": "conv2_2",
    "pointwise": "conv3",
}
DLKA_NAMES = {
    "near__offsets": "conv0__offset_net",
    "near__taps": "conv0__deform_conv",
    "far__offsets": "conv_spatial__offset_net",
    "far__taps": "conv_spatial__deform_conv",
    "pointwise": "conv1",
}


def projected(**names: str) -> Callable[[Weights], Weights]:
    inside = {target: f"spatial_gating_unit__{source}" for target, source in names.items()}
    return renamed(**inside, proj_in="proj_1", proj_out="proj_2")


MAPPINGS = {
    "lka": Mapping(layer(LKA), renamed(**LKA_NAMES)),
    "lka__attention": Mapping(layer(LKA, project=True), projected(**LKA_NAMES)),
    "lska": Mapping(layer(LSKA, project=True), projected(**LSKA_NAMES)),
    "lska__gate": Mapping(layer(LSKA), renamed(**LSKA_NAMES)),
    "lsk": Mapping(layer(LSK), renamed(**LSK_NAMES)),
    "lsk__attention": Mapping(layer(LSK, project=True), projected(**LSK_NAMES)),
    "msca": Mapping(layer(MSCA), renamed(**MSCA_NAMES)),
    "msca__attention": Mapping(layer(MSCA, project=True), projected(**MSCA_NAMES)),
    "dlka": Mapping(layer(DLKA), renamed(**DLKA_NAMES)),
    "dlka__attention": Mapping(layer(DLKA, project=True), projected(**DLKA_NAMES)),
}
