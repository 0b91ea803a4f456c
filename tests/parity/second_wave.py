"""Mappings of attention in detectors of recent years: linear, windowed, transposed, and other mixers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers import (
    ASSA,
    CAFM,
    MDTA,
    MLLA,
    XCA,
    CascadedGroupAttention,
    FocusedLinear,
    LiteMLA,
    LocalWindowAttention,
    PolaLinear,
    SwinWindow,
)

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


def table(weights: Weights) -> Weights:
    """Return weights with the table of biases, one row for each distance, as a map for each head."""
    name = "relative_position_bias_table"
    rows = weights[name]
    side = round(len(rows) ** 0.5)
    rest = {key: value for key, value in weights.items() if key != name}
    return rest | {"bias.table": rows.t().reshape(-1, side, side)}


def swin(weights: Weights) -> Weights:
    return matrices(rename(table(weights), bias="bias", qkv="qkv", proj="proj"))


def assa(weights: Weights) -> Weights:
    weights = table(weights)
    for kind in ("weight", "bias"):
        weights[f"qkv.{kind}"] = torch.cat([weights.pop(f"qkv.to_q.{kind}"), weights.pop(f"qkv.to_kv.{kind}")])
    return matrices(rename(weights, bias="bias", qkv="qkv", proj="proj", branch_weight="w"))


class Padded(nn.Module):
    """A layer of windows on a map padded with zeros, which then take part as in the reference.

    Args:
        layer: The layer.
        window: Height and width of its windows.
    """

    def __init__(self, layer: nn.Module, window: int) -> None:
        super().__init__()
        self.layer = layer
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y: Tensor = self.layer(F.pad(x, (0, -width % self.window, 0, -height % self.window)))
        return y[:, :, :height, :width]


class Branch(nn.Module):
    """The branch of a layer that adds its input.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) - x
        return y


def inner(convert: Callable[[Weights], Weights]) -> Callable[[Weights], Weights]:
    """Return a `convert` for a layer inside of `Padded` or `Branch`."""
    return lambda weights: {f"layer.{name}": value for name, value in convert(weights).items()}


def cascade(weights: Weights) -> Weights:
    """Return the weights of cascaded groups; in the windowed reference they are those of its submodule `attn`."""
    weights = {name.removeprefix("attn."): value for name, value in weights.items()}
    biases = weights.pop("attention_biases")
    side = round(biases.shape[1] ** 0.5)
    heads = range(len(biases))
    names = {f"qkvs__{n}__0": f"qkvs__{n}__c" for n in heads} | {f"qkvs__{n}__1": f"qkvs__{n}__bn" for n in heads}
    names |= {f"dwconvs__{n}": f"dws__{n}__c" for n in heads} | {f"norms__{n}": f"dws__{n}__bn" for n in heads}
    state = rename(weights, **names, proj="proj__1__c", proj_norm="proj__1__bn")
    return {f"cascade.{name}": value for name, value in {**state, "table": biases.reshape(-1, side, side)}.items()}


CASCADE = {"heads": 4, "key_width": 8}

MAPPINGS = {
    "assa": Mapping(layer(ASSA, heads=4, window=4), assa),
    "assa__shift": Mapping(layer(ASSA, heads=4, window=4, shift=2), assa),
    "cafm_fixed": Mapping(layer(CAFM, heads=4), cafm),
    "cga": Mapping(
        lambda c: Branch(CascadedGroupAttention(c, **CASCADE, kernel_sizes=[7, 5, 3], max_distance=7)).eval(),
        inner(cascade),
    ),
    "cga_window": Mapping(
        lambda c: Padded(Branch(LocalWindowAttention(c, **CASCADE)), 7).eval(), inner(inner(cascade))
    ),
    "cga_window__fit": Mapping(
        lambda c: Branch(LocalWindowAttention(c, **CASCADE, kernel_sizes=[7, 5, 3, 3], window=4)).eval(),
        inner(cascade),
    ),
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
    "swin_window": Mapping(layer(SwinWindow, heads=4, window=4), swin),
    "swin_window__shift": Mapping(layer(SwinWindow, heads=4, window=4, shift=2), swin),
    "swin_window__tv_pad": Mapping(lambda c: Padded(SwinWindow(c, heads=4, window=4), 4).eval(), inner(swin)),
    "swin_window__tv_pad_shift": Mapping(
        lambda c: Padded(SwinWindow(c, heads=4, window=5, shift=2), 5).eval(), inner(swin)
    ),
    "xca": Mapping(
        layer(XCA, heads=4),
        lambda w: matrices(flat(rename(w, temperature="temperature", qkv="qkv", proj="proj"), "temperature")),
    ),
}
