"""Mappings of attention in detectors of recent years: linear, windowed, transposed, and other mixers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers import (
    ASSA,
    CAFM,
    DHSA,
    FSAS,
    HSMSSD,
    MDTA,
    MLLA,
    MSDA,
    SAFM,
    SHSA,
    SMFA,
    SS2D,
    TSSA,
    XCA,
    AdditiveToken,
    AggregatedAttention,
    AreaAttention,
    CascadedGroupAttention,
    CloAttention,
    FocusedLinear,
    LiteMLA,
    LocalWindowAttention,
    MaSA,
    Moga,
    PolaLinear,
    SwinWindow,
    gnConv,
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


def linear(weights: Weights, names: dict[str, str], *flattened: str) -> Weights:
    """Return the weights of a linear attention, with its table of positions (8, 9) unless that is zero."""
    weights = dict(weights)
    positions = weights.pop("positional_encoding")[0]
    state = matrices(flat(rename(weights, scale="scale", proj="proj", dwconv="dwc", **names), "scale", *flattened))
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
    return rest | {"distances.table": rows.t().reshape(-1, side, side)}


def swin(weights: Weights) -> Weights:
    return matrices(rename(table(weights), distances="distances", qkv="qkv", proj="proj"))


def assa(weights: Weights) -> Weights:
    weights = table(weights)
    for kind in ("weight", "bias"):
        weights[f"qkv.{kind}"] = torch.cat([weights.pop(f"qkv.to_q.{kind}"), weights.pop(f"qkv.to_kv.{kind}")])
    return matrices(rename(weights, distances="distances", qkv="qkv", proj="proj", branch_weight="w"))


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


def qkv_by_head(weights: Weights, heads: int) -> Weights:
    """Return weights whose queries, keys and values alternate by head, as all queries, all keys and all values."""

    def ordered(value: Tensor) -> Tensor:
        return value.reshape(heads, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)

    return {name: ordered(value) if name.startswith("qkv.") else value for name, value in weights.items()}


AREA = {"proj__0": "proj__conv", "proj__1": "proj__bn", "local__0": "pe__conv", "local__1": "pe__bn"}


def area(weights: Weights) -> Weights:
    weights = dict(weights)
    for name in [name for name in weights if name.startswith("qk.")]:
        kind = name.removeprefix("qk.")
        weights[f"qkv.{kind}"] = torch.cat([weights.pop(name), weights.pop(f"v.{kind}")])
    return rename(weights, **AREA, qkv__0="qkv__conv", qkv__1="qkv__bn")


def area_stock(weights: Weights) -> Weights:
    return rename(qkv_by_head(weights, 4), **AREA, qkv__0="qkv__conv", qkv__1="qkv__bn")


def masa(weights: Weights) -> Weights:
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "dwconv": "lepe__conv", "proj": "out_proj"}
    return matrices(rename(weights, **names))


def clo(weights: Weights) -> Weights:
    names = {"global_branch__query": "global_q", "global_branch__key_value": "global_kv", "proj": "proj"}
    for n in range(sum(name.startswith("qkvs.") for name in weights) // 2):
        parts = {"qkv": f"qkvs__{n}", "dwconv": f"convs__{n}", "gate": f"act_blocks__{n}__act_block"}
        names |= {f"local_branches__{n}__{part}": name for part, name in parts.items()}
    return rename(weights, **names)


def shsa(weights: Weights) -> Weights:
    names = {"norm": "pre_norm", "qkv__0": "qkv__c", "qkv__1": "qkv__bn"}
    return rename(weights, **names, proj="proj__1__c", proj_norm="proj__1__bn")


def aggregated(weights: Weights) -> Weights:
    names = {"temperature": "temperature", "query": "q", "key_value": "kv", "proj": "proj", "reduce": "sr"}
    names |= {"norm": "norm", "mlp__0": "cpb_fc1", "mlp__2": "cpb_fc2", "embedding": "query_embedding"}
    names |= {"near_bias": "relative_pos_bias_local", "tokens": "learnable_tokens", "token_bias": "learnable_bias"}
    state = flat(rename(weights, **names), "temperature", "near_bias", "token_bias")
    state["embedding"], state["tokens"] = (state[name].transpose(1, 2) for name in ("embedding", "tokens"))
    return as_conv(state, "query.weight", "key_value.weight", "proj.weight")


def additive(weights: Weights) -> Weights:
    names = {"qkv": "qkv", "dwconv": "dwc", "proj": "proj"}
    for ours, theirs in (("query_gate", "oper_q"), ("key_gate", "oper_k")):
        names |= {f"{ours}__spatial": f"{theirs}__0__block", f"{ours}__channel__0": f"{theirs}__1__block__1"}
    return rename(weights, **names)


def smfa(weights: Weights) -> Weights:
    names = {"max_scale": "alpha", "variance_scale": "belt", "expand": "linear_0", "modulator": "linear_1"}
    names |= {"proj": "linear_2", "dwconv": "dw_conv", "details__3": "lde__conv_1"}
    names |= {"details__0": "lde__conv_0__0", "details__1": "lde__conv_0__1"}
    return flat(rename(weights, **names), "max_scale", "variance_scale")


def moga(weights: Weights) -> Weights:
    names = {"expand": "proj_1", "gate": "gate", "value": "value__PW_conv", "proj": "proj_2", "scale": "sigma__scale"}
    convs = {name: f"value__DW_conv{n}" for n, name in enumerate(("conv", "middle_conv", "last_conv"))}
    return flat(rename(weights, **names, **convs), "scale")


def tssa(weights: Weights) -> Weights:
    return matrices(flat(rename(weights, temperature="temp", features="qkv", proj="to_out__0"), "temperature"))


def hsmssd(weights: Weights) -> Weights:
    weights = {name: value for name, value in weights.items() if name != "A"}  # the softmax is invariant to it
    names = {"features": "BCdt_proj__conv", "dwconv": "dw__conv", "expand": "hz_proj__conv", "proj": "out_proj__conv"}
    state = rename(weights, **names, skip_scale="D")
    return state | {"features.weight": state["features.weight"][..., None]}


def ss2d(weights: Weights) -> Weights:
    names = {"features": "x_proj_weight", "step_weight": "dt_projs_weight", "step_bias": "dt_projs_bias"}
    names |= {"decay": "A_logs", "skip_scale": "Ds", "expand": "in_proj", "dwconv": "conv2d", "norm": "out_norm"}
    state = flat(rename(weights, **names, proj="out_proj"), "step_bias")
    state["decay"] = state["decay"].reshape(4, -1, state["decay"].shape[1])
    state.setdefault("dwconv.bias", torch.zeros(state["dwconv.weight"].shape[0]))
    return as_conv(state, "expand.weight", "proj.weight")


def dhsa(weights: Weights) -> Weights:
    state = rename(weights, temperature="temperature", proj="project_out", qkv="qkv", conv="qkv_dwconv")
    for name, part in (("qkv", ""), ("conv", "_conv")):
        query_key, value = state.pop(f"{name}.weight").split((128, 32))
        state |= {f"query_key{part}.weight": query_key, f"value{part}.weight": value}
    return flat(state, "temperature")


GNCONV = {"expand": "proj_in", "dwconv": "dwconv", "orders": "pws", "proj": "proj_out"}
CASCADE = {"heads": 4, "key_width": 8}

MAPPINGS = {
    "additive_token": Mapping(layer(AdditiveToken), additive),
    "aggregated": Mapping(layer(AggregatedAttention, heads=4, pool=2), aggregated),
    "area": Mapping(layer(AreaAttention, head_width=8, kernel_size=5), area),
    "area__whole": Mapping(layer(AreaAttention, head_width=16, areas=1, kernel_size=5), area),
    "area_stock": Mapping(layer(AreaAttention, head_width=8), area_stock),
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
    "clo": Mapping(layer(CloAttention, heads=4), clo),
    "clo__two_kernels": Mapping(layer(CloAttention, heads=4, kernel_sizes=[3, 7], pool=1), clo),
    "dhsa": Mapping(layer(DHSA, heads=4), dhsa),
    "focused_linear": Mapping(layer(FocusedLinear, heads=4), focused),
    "focused_linear__pos": Mapping(layer(FocusedLinear, heads=4, position_size=[8, 9]), focused),
    "fsas": Mapping(
        layer(FSAS, correlation=False),
        renamed(qkv="to_hidden", dwconv="to_hidden_dw", norm="norm__body", proj="project_out"),
    ),
    "gnconv": Mapping(layer(gnConv), renamed(**GNCONV)),
    "gnconv__order5": Mapping(layer(gnConv, order=5, scale=1), renamed(**GNCONV)),
    "hsm_ssd": Mapping(layer(HSMSSD, states=16), hsmssd),
    "lite_mla": Mapping(
        layer(LiteMLA, head_width=8),
        renamed(qkv="qkv__conv", scales="aggreg", proj="proj__conv", norm="proj__norm"),
    ),
    "masa": Mapping(layer(MaSA, heads=4), masa),
    "masa__norope": Mapping(layer(MaSA, heads=4, rotation=False), masa),
    "masa_full": Mapping(layer(MaSA, heads=4, decomposed=False, decay_range=6), masa),
    "masa_full__norope": Mapping(layer(MaSA, heads=4, decomposed=False, decay_range=6, rotation=False), masa),
    "mdta": Mapping(layer(MDTA, heads=4), mdta),
    "mlla": Mapping(layer(MLLA, heads=4), lambda w: matrices(rename(w, query_key="qk", dwconv="lepe"))),
    "moga": Mapping(layer(Moga), moga),
    "msda": Mapping(layer(MSDA, heads=6, dilations=[1, 2, 3]), lambda w: matrices(rename(w, qkv="qkv", proj="proj"))),
    "msda__two": Mapping(
        layer(MSDA, heads=4, dilations=[1, 2], qkv_bias=False), lambda w: matrices(rename(w, qkv="qkv", proj="proj"))
    ),
    "pola": Mapping(layer(PolaLinear, heads=4), pola),
    "pola__pos": Mapping(layer(PolaLinear, heads=4, position_size=[8, 9]), pola),
    "safm": Mapping(layer(SAFM), renamed(dwconvs="mfr", proj="aggr")),
    "shsa": Mapping(lambda c: Branch(SHSA(c, reduction=4)).eval(), inner(shsa)),
    "smfa": Mapping(layer(SMFA), smfa),
    "smfa__2x2": Mapping(layer(SMFA), smfa),
    "ss2d": Mapping(layer(SS2D), ss2d),
    "ss2d_v05": Mapping(layer(SS2D, states=1, expansion=1, gated=False), ss2d),
    "swin_window": Mapping(layer(SwinWindow, heads=4, window=4), swin),
    "swin_window__shift": Mapping(layer(SwinWindow, heads=4, window=4, shift=2), swin),
    "swin_window__tv_pad": Mapping(lambda c: Padded(SwinWindow(c, heads=4, window=4), 4).eval(), inner(swin)),
    "swin_window__tv_pad_shift": Mapping(
        lambda c: Padded(SwinWindow(c, heads=4, window=5, shift=2), 5).eval(), inner(swin)
    ),
    "tssa": Mapping(layer(TSSA, heads=4), tssa),
    "xca": Mapping(
        layer(XCA, heads=4),
        lambda w: matrices(flat(rename(w, temperature="temperature", qkv="qkv", proj="proj"), "temperature")),
    ),
}
