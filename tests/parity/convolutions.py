"""Mappings of convolutions with attention."""

from __future__ import annotations

from yolo_attn.layers import ContextGuidedDown, ODConv, RFAConv, RFCAConv, RFCBAMConv

from .mapping import Mapping, Weights, layer, rename, renamed, without_conv_bias


def taps(weights: Weights, **names: str) -> Weights:
    """Return weights whose last convolution, k x k with stride k on a grid, is one of k^2 values for each channel."""
    state = rename(weights, **names)
    return state | {"conv.weight": state["conv.weight"].flatten(1)[..., None, None]}


NORMED = {"conv": "conv__0", "activation__0": "conv__1"}
FEATURES = {"features__0": "generate__0", "features__1": "generate__1"}


def rfa(weights: Weights) -> Weights:
    names = {"logits": "get_weight__1", "features__0": "generate_feature__0", "features__1": "generate_feature__1"}
    return without_conv_bias(taps(weights, **NORMED, **names), "conv", "activation.0")


def rfa_unfold(weights: Weights) -> Weights:
    names = {"logits__0": "get_weights__0", "logits__1": "get_weights__1"}
    state = without_conv_bias(taps(weights, conv="conv", activation__0="bn", **names), "conv", "activation.0")
    return without_conv_bias(state, "logits.0", "logits.1")


def rfcbam(weights: Weights) -> Weights:
    names = {"spatial": "get_weight__0", "fc__0": "se__fc__0", "fc__2": "se__fc__2"}
    return without_conv_bias(taps(weights, **NORMED, **FEATURES, **names), "conv", "activation.0")


def rfca(weights: Weights) -> Weights:
    names = {"reduce": "conv1", "norm": "bn1", "conv_h": "conv_h", "conv_w": "conv_w", "conv": "conv__0"}
    return without_conv_bias(taps(weights, **FEATURES, **names), "reduce", "norm")


def odconv(weights: Weights) -> Weights:
    heads = {"channel": "channel_fc", "filter": "filter_fc", "tap": "spatial_fc", "kernel": "kernel_fc"}
    names = {"reduce": "fc", "norm": "bn", **heads}
    names = {ours: f"attention__{theirs}" for ours, theirs in names.items()}
    state = rename(weights, kernels__weight="weight", **names)
    return state | {"kernels.weight": state["kernels.weight"].flatten(0, 1)}


MAPPINGS = {
    "context_guided__down": Mapping(
        layer(ContextGuidedDown, out_channels=32, stride=2, reduction=8),
        renamed(
            conv="conv1x1__conv",
            conv_norm__0="conv1x1__bn",
            conv_norm__1="conv1x1__act",
            local="F_loc__conv",
            surrounding="F_sur__conv",
            joint_norm__0="bn",
            joint_norm__1="act",
            reduce="reduce__conv",
            mlp="F_glo__fc",
        ),
    ),
    "odconv": Mapping(layer(ODConv, activation="none"), odconv),
    "odconv__stride2": Mapping(layer(ODConv, out_channels=24, stride=2, activation="none"), odconv),
    "odconv__1x1": Mapping(layer(ODConv, out_channels=24, kernel_size=1, kernels=1, activation="none"), odconv),
    "odconv__depthwise": Mapping(lambda c: ODConv(c, groups=c, activation="none").eval(), odconv),
    "rfa": Mapping(layer(RFAConv), rfa),
    "rfa__stride2": Mapping(layer(RFAConv, out_channels=24, stride=2), rfa),
    "rfa__unfold": Mapping(layer(RFAConv, features="unfold"), rfa_unfold),
    "rfca": Mapping(layer(RFCAConv, activation="none"), rfca),
    "rfca__stride2": Mapping(layer(RFCAConv, out_channels=24, stride=2, activation="none"), rfca),
    "rfcbam": Mapping(layer(RFCBAMConv), rfcbam),
    "rfcbam__stride2": Mapping(layer(RFCBAMConv, out_channels=24, stride=2), rfcbam),
}
