"""Mappings of fusions, their context and blocks."""

from __future__ import annotations

from yolo_attn.layers import (
    AFF,
    DASI,
    GMU,
    HSFPN,
    MSCAM,
    ASFAttention,
    CGAFusion,
    ContextGuided,
    HSFPNGate,
    SEBasicBlock,
    WeightedFusion,
    iAFF,
)

from .mapping import Mapping, Weights, as_linear, layer, rename, renamed, without_conv_bias

BLOCK = {"conv1": "conv1", "norm1": "bn1", "conv2": "conv2", "norm2": "bn2"}


def context(weights: Weights, target: str, local: str, overall: str) -> Weights:
    """Return the weights of one MultiScaleContext from those of two branches of the reference, given by their names."""
    for branch, first in ((local, 0), (overall, 1)):  # child 0 of the second branch is its pooling
        for conv in (first, first + 3):
            weights = without_conv_bias(weights, f"{branch}.{conv}", f"{branch}.{conv + 1}")
    chosen = {name: value for name, value in weights.items() if name.split(".")[0] in (local, overall)}
    names = {
        f"{target}__{part}__{child}": f"{branch}__{child + shift}"
        for part, branch, shift in (("local_context", local, 0), ("global_context", overall, 1))
        for child in (0, 1, 3, 4)
    }
    return rename(chosen, **names)


def aff(weights: Weights) -> Weights:
    return context(weights, "context", "local_att", "global_att")


def iaff(weights: Weights) -> Weights:
    first = context(weights, "context1", "local_att", "global_att")
    return first | context(weights, "context2", "local_att2", "global_att2")


def iaff_port(weights: Weights) -> Weights:
    """Return the weights for the authors' PyTorch port, which runs the first global branch in both rounds."""
    first = context(weights, "context1", "local_att", "global_att")
    return first | context(weights, "context2", "local_att2", "global_att")


def dasi(weights: Weights) -> Weights:
    """Return the weights for three inputs, whose reference does not use its convolution of quarters."""
    names = {"query": "skips__conv", "align__coarser": "skips_2__conv", "align__finer": "skips_3"}
    weights = without_conv_bias(weights, "tail_conv.0.conv", "bns")
    used = {name: value for name, value in weights.items() if not name.startswith("conv.")}
    return rename(used, **names, proj="tail_conv__0__conv", norm="bns")


def dasi_low(weights: Weights) -> Weights:
    """Return the weights for two inputs, whose reference does not use the convolution of the third."""
    names = {"query": "skips__conv", "align__coarser": "skips_2__conv", "merge": "conv__0__conv"}
    weights = without_conv_bias(weights, "tail_conv.0.conv", "bns")
    used = {name: value for name, value in weights.items() if not name.startswith("skips_3.")}
    return rename(used, **names, proj="tail_conv__0__conv", norm="bns")


def hsfpn(weights: Weights, prefix: str = "", gate: str = "") -> Weights:
    """Return the weights of the gate, and those of a transposed convolution if there is one."""
    names = {f"{gate}mlp__0": f"{prefix}conv1", f"{gate}mlp__2": f"{prefix}conv2", "upsample": "up_sample_conv"}
    state = rename(weights, **names)
    return as_linear(state, *(name for name in state if "mlp" in name))


def hsfpn_select(weights: Weights) -> Weights:
    return hsfpn(weights, "weight_conv__", "select__")


ASF = {"reduce": "conv_1x1", "norm": "bn", "conv_h": "F_h", "conv_w": "F_w"}

MAPPINGS = {
    "asf_attention": Mapping(
        layer(ASFAttention),
        renamed(eca__conv="channel_att__conv", **{name: f"local_att__{theirs}" for name, theirs in ASF.items()}),
    ),
    "cga_fusion": Mapping(
        layer(CGAFusion, double_sigmoid=True),
        renamed(channel__0="ca__ca__0", channel__2="ca__ca__2", spatial="sa__sa", gate="pa__pa2", proj="conv"),
    ),
    "context_guided": Mapping(
        layer(ContextGuided),
        renamed(
            reduce="conv1x1__conv",
            reduce_norm__0="conv1x1__bn",
            reduce_norm__1="conv1x1__act",
            local="F_loc__conv",
            surrounding="F_sur__conv",
            joint_norm__0="bn_prelu__bn",
            joint_norm__1="bn_prelu__act",
            mlp="F_glo__fc",
        ),
    ),
    "hsfpn_attention": Mapping(layer(HSFPNGate), hsfpn),
    "hsfpn_select": Mapping(layer(HSFPN, transposed=False), hsfpn_select),
    "hsfpn_select__up": Mapping(layer(HSFPN), hsfpn_select),
    "dasi": Mapping(layer(DASI), dasi),
    "dasi__low": Mapping(layer(DASI), dasi_low),
    "aff": Mapping(layer(AFF), aff),
    "iaff": Mapping(layer(iAFF), iaff_port),
    "iaff_fixed": Mapping(layer(iAFF), iaff),
    "ms_cam": Mapping(layer(MSCAM), aff),
    "gmu": Mapping(layer(GMU), renamed(first="h1", second="h2", gate="z")),
    "bifpn_fusion": Mapping(layer(WeightedFusion), renamed(importance="w")),
    "basic_block": Mapping(layer(SEBasicBlock, reduction=None), renamed(**BLOCK)),
    "se_basic_block": Mapping(layer(SEBasicBlock), renamed(**BLOCK, se__fc1="se__fc__0", se__fc2="se__fc__2")),
}
