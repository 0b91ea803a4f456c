"""Mappings of self-attention and other mixers from papers with code of their own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers import (
    ACmix,
    Axial,
    CoT,
    DAttention,
    EfficientAdditive,
    External,
    FocalModulation,
    HiLo,
    Outlook,
    SeparableSelfAttention,
    iRMB,
)

from .mapping import Mapping, Weights, as_conv, as_linear, layer, rename, renamed, vectors, without_conv_bias

AXIAL_SPAN = 20  # size of the reference's map


def axial(weights: Weights) -> Weights:
    """Split the reference's batch norms, one of three logits and one of two outputs."""
    state: Weights = {}
    for axis, index in (("columns", "0"), ("rows", "1")):
        part = {name[2:]: value for name, value in weights.items() if name.startswith(index + ".")}
        positions = part.pop("relative")
        for field in ("weight", "bias", "running_mean", "running_var"):
            logits, outputs = part.pop(f"bn_similarity.{field}").chunk(3), part.pop(f"bn_output.{field}")
            for norm, value in zip(("content", "query", "key"), logits, strict=True):
                if field != "bias":  # the softmax is invariant to it
                    part[f"{norm}_norm.{field}"] = value
            # Gradients of PyTorch's batch norm in channels_last are wrong for weights with gaps between them in memory.
            of_values, of_positions = outputs[0::2].contiguous(), outputs[1::2].contiguous()
            part[f"value_norm.{field}"], part[f"position_norm.{field}"] = of_values, of_positions
        norms = {f"{norm}_norm": f"{norm}_norm" for norm in ("content", "query", "key", "value", "position")}
        part = rename(part, expand="qkv_transform", expand_norm="bn_qkv", **norms) | {"positions": positions[None]}
        state |= {f"{axis}.{name}": value for name, value in part.items()}
    return state


def cot(weights: Weights) -> Weights:
    weights = without_conv_bias(weights, "se.0", "se.1")
    names = {"context": "key_embed", "attn": "embed", "value": "conv1x1", "norm_act__0": "bn", "mlp": "se"}
    return as_linear(rename(weights, **names), "mlp.0.weight", "mlp.3.weight")


def acmix(weights: Weights) -> Weights:
    weights = {name: value for name, value in weights.items() if name != "conv_p.bias"}  # the difference cancels it
    names = {"query": "conv1", "key": "conv2", "value": "conv3", "position": "conv_p", "fc": "fc"}
    return rename(weights, **names, dwconv="dep_conv", rate_attention="rate1", rate_convolution="rate2")


def external(weights: Weights) -> Weights:
    names = {"query": "conv1", "key": "linear_0", "value": "linear_1", "proj": "conv2__0", "norm": "conv2__1"}
    return as_linear(rename(weights, **names), "key.weight", "value.weight")


def external_heads(weights: Weights) -> Weights:
    weights = {
        name: value for name, value in weights.items() if name != "m.linear_0.bias"
    }  # the softmax is invariant to it
    names = {"query": "m__trans_dims", "key": "m__linear_0", "value": "m__linear_1", "proj": "m__proj"}
    return as_conv(rename(weights, **names), "query.weight", "proj.weight")


def efficient_additive(weights: Weights) -> Weights:
    names = {
        "query": "m__to_query",
        "key": "m__to_key",
        "score_weight": "m__w_g",
        "proj": "m__Proj",
        "out_proj": "m__final",
    }
    state = rename(weights, **names)
    state |= vectors({"score_weight": state["score_weight"]})
    return as_conv(state, "query.weight", "key.weight", "proj.weight", "out_proj.weight")


def focal(weights: Weights) -> Weights:
    state = rename(weights, expand="m__f", modulator="m__h", proj="m__proj", levels="m__focal_layers")
    return as_conv(state, "expand.weight", "proj.weight")


def hilo(weights: Weights) -> Weights:
    low = {"low__query": "m__l_q", "low__key_value": "m__l_kv", "low__proj": "m__l_proj"}
    state = rename(weights, **low, high__qkv="m__h_qkv", high__proj="m__h_proj")
    return as_conv(state, *(name for name, value in state.items() if value.ndim == 2))


def outlook(weights: Weights) -> Weights:
    state = rename(weights, value="m__v", attn="m__attn", proj="m__proj")
    return as_conv(state, "value.weight", "attn.weight", "proj.weight")


class WholePatches(SeparableSelfAttention):
    """The reference as run for the vector: an odd last column fills no patch and becomes zero."""

    def forward(self, x: Tensor) -> Tensor:
        odd = x.shape[3] % 2
        return F.pad(super().forward(x[..., : x.shape[3] - odd]), (0, odd))


SEPARABLE = {"expand": "m__qkv_proj__block__conv", "proj": "m__out_proj__block__conv"}

MAPPINGS = {
    "acmix": Mapping(layer(ACmix), acmix),
    "axial_deeplab": Mapping(layer(Axial, span=AXIAL_SPAN), axial),
    "cot": Mapping(layer(CoT), cot),
    "dattention": Mapping(
        layer(DAttention, shifted_grid=True),
        renamed(
            table="m__rpe_table",
            offset_conv="m__conv_offset__0",
            offset_norm="m__conv_offset__1__norm",
            offset_proj="m__conv_offset__3",
            query="m__proj_q",
            key="m__proj_k",
            value="m__proj_v",
            proj="m__proj_out",
        ),
    ),
    "efficient_additive": Mapping(layer(EfficientAdditive), efficient_additive),
    "external": Mapping(layer(External), external),
    "external_mh": Mapping(layer(External, heads=8), external_heads),
    "focal_modulation": Mapping(layer(FocalModulation), focal),
    "hilo": Mapping(layer(HiLo), hilo),
    "irmb": Mapping(
        layer(iRMB, head_width=32),
        renamed(
            norm="norm",
            query_key="qk__conv",
            value__0="v__conv",
            local__0="conv_local__conv",
            local__1="conv_local__norm",
            proj="proj__conv",
        ),
    ),
    "mobilevitv2": Mapping(layer(SeparableSelfAttention), renamed(**SEPARABLE)),
    "mobilevitv2__patch": Mapping(layer(WholePatches, patch_size=2), renamed(**SEPARABLE)),
    "outlook": Mapping(layer(Outlook), outlook),
}
