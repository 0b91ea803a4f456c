"""Mappings of convolutions with attention."""

from __future__ import annotations

from yolo_attn.layers import RFAConv

from .mapping import Mapping, Weights, layer, rename, without_conv_bias


def taps(weights: Weights, **names: str) -> Weights:
    """Return weights whose last convolution, k x k with stride k on a grid, is one of k^2 values for each channel."""
    state = rename(weights, **names)
    return state | {"conv.weight": state["conv.weight"].flatten(1)[..., None, None]}


def rfa(weights: Weights) -> Weights:
    names = {"logits": "get_weight__1", "features__0": "generate_feature__0", "features__1": "generate_feature__1"}
    return without_conv_bias(taps(weights, conv="conv__0", norm="conv__1", **names), "conv", "norm")


def rfa_unfold(weights: Weights) -> Weights:
    names = {"logits__0": "get_weights__0", "logits__1": "get_weights__1"}
    state = without_conv_bias(taps(weights, conv="conv", norm="bn", **names), "conv", "norm")
    return without_conv_bias(state, "logits.0", "logits.1")


MAPPINGS = {
    "rfa": Mapping(layer(RFAConv), rfa),
    "rfa__stride2": Mapping(layer(RFAConv, out_channels=24, stride=2), rfa),
    "rfa__unfold": Mapping(layer(RFAConv, features="unfold"), rfa_unfold),
}
