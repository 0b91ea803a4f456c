"""Mappings of attention in detectors of recent years: linear, windowed, transposed, and other mixers."""

from __future__ import annotations

from yolo_attn.layers import CAFM, MDTA, MLLA, XCA, FocusedLinear, LiteMLA, PolaLinear

from .mapping import Mapping, Weights, as_conv, layer, rename, renamed, vectors


def flat(weights: Weights, *names: str) -> Weights:
    """Return weights with these flattened to one dimension each."""
    return weights | vectors({name: weights[name] for name in names})


def matrices(weights: Weights) -> Weights:
    """Return weights with all linear layers in the shape of 1 x 1 convolutions."""
    return as_conv(weights, *(name for name, value in weights.items() if value.ndim == 2))


def middle(weights: Weights) -> Weights:
    """Return weights with the middle slice of 3D convolutions; their others see zero padding only."""
    return {name: value[:, :, value.shape[2] // 2] if value.ndim == 5 else value for name, value in weights.items()}


def linear(weights: Weights, names: dict[str, str], *vectors: str) -> Weights:
    """Return the weights of a linear attention, with its table of positions (8, 9) unless that is zero."""
    weights = dict(weights)
    positions = weights.pop("positional_encoding")[0]
    state = matrices(flat(rename(weights, scale="scale", proj="proj", dwconv="dwc", **names), "scale", *vectors))
    return state | ({"positions.table": positions.t().reshape(-1, 8, 9)} if positions.any() else {})


def focused(weights: Weights) -> Weights:
    return linear(weights, {"qkv": "qkv"})


def pola(weights: Weights) -> Weights:
    return linear(weights, {"qkvg": "qkvg", "power": "power"}, "power")


def mdta(weights: Weights) -> Weights:
    names = {"temperature": "temperature", "qkv": "qkv", "dwconv": "qkv_dwconv", "proj": "project_out"}
    return flat(rename(weights, **names), "temperature")


def cafm(weights: Weights) -> Weights:
    names = {"qkv": "qkv", "dwconv": "qkv_dwconv", "proj": "project_out", "temperature": "temperature"}
    return flat(rename(middle(weights), **names, combine="fc", conv="dep_conv"), "temperature")


MAPPINGS = {
    "cafm_fixed": Mapping(layer(CAFM, heads=4), cafm),
    "focused_linear": Mapping(layer(FocusedLinear, heads=4), focused),
    "focused_linear__pos": Mapping(layer(FocusedLinear, heads=4, position_size=[8, 9]), focused),
    "lite_mla": Mapping(
        layer(LiteMLA, head_width=8),
        renamed(qkv="qkv__conv", scales="aggreg", proj="proj__conv", norm="proj__norm"),
    ),
    "mdta": Mapping(layer(MDTA, heads=4), mdta),
    "mlla": Mapping(layer(MLLA, heads=4), lambda w: matrices(rename(w, query_key="qk", dwconv="lepe"))),
    "pola": Mapping(layer(PolaLinear, heads=4), pola),
    "pola__pos": Mapping(layer(PolaLinear, heads=4, position_size=[8, 9]), pola),
    "xca": Mapping(
        layer(XCA, heads=4),
        lambda w: matrices(flat(rename(w, temperature="temperature", qkv="qkv", proj="proj"), "temperature")),
    ),
}
