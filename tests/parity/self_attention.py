"""Mappings of dense self-attention, non-local and shift mixers."""

from __future__ import annotations

from torch import Tensor

from yolo_attn.layers import (
    A2,
    BRA,
    CAM,
    MHSA,
    PAM,
    S2,
    AgentAttention,
    CrissCross,
    DualAttention,
    NonLocal,
    TransformerEncoder,
)

from .mapping import Mapping, Weights, as_conv, layer, rename, renamed, without_conv_bias

CRISS_CROSS = {
    "residual_scale": "gamma",
    "query": "query_conv",
    "key": "key_conv",
    "value": "value_conv",
}
NON_LOCAL = {"theta": "theta", "phi": "phi__0", "g": "g__0", "expand": "W__0", "norm": "W__1"}


class OneDimension(MHSA):
    """Distances along the flattened map, as in the reference: those on a map of height 1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2)[:, :, None]).reshape(x.shape)


def s2(weights: Weights) -> Weights:
    names = {"fc1": "split_attention__mlp1", "fc2": "split_attention__mlp2"}
    return as_conv(rename(weights, **names, expand="mlp1", proj="mlp2"), "expand.weight", "proj.weight")


def parts(weights: Weights, name: str, *targets: str) -> Weights:
    """Return the parts of one linear layer's weight and bias, stacked in the reference, under the layer's names."""
    result: Weights = {}
    for kind in ("weight", "bias"):
        for prefix in (f"{name}.{kind}", f"{name}_{kind}"):
            if prefix in weights:
                stacked = weights[prefix].chunk(len(targets))
                result |= {f"{prefix}.{kind}": part for prefix, part in zip(targets, stacked, strict=True)}
    return result


def multi_head(weights: Weights, name: str, prefix: str = "attention") -> Weights:
    """Return the weights of `nn.MultiheadAttention` under the names of `Attention`."""
    result = parts(weights, f"{name}.in_proj", f"{prefix}.query", f"{prefix}.key", f"{prefix}.value")
    return result | {f"{prefix}.out_proj.{kind}": weights[f"{name}.out_proj.{kind}"] for kind in ("weight", "bias")}


def transformer_layer(weights: Weights, name: str, prefix: str, attentions: dict[str, str]) -> Weights:
    """Return the weights of one encoder or decoder layer of DETR under the layer's names."""
    result: Weights = {}
    for source, target in attentions.items():
        result |= multi_head(weights, f"{name}.{source}", f"{prefix}.{target}")
    names = {"feed_forward.0": "linear1", "feed_forward.2": "linear2"}
    names |= {f"norm{n}": f"norm{n}" for n in range(1, len(attentions) + 2)}
    kinds = ("weight", "bias")
    return result | {f"{prefix}.{o}.{k}": weights[f"{name}.{t}.{k}"] for o, t in names.items() for k in kinds}


def detr_encoder(weights: Weights, name: str = "enc.layers.0", prefix: str = "layers.0") -> Weights:
    return transformer_layer(weights, name, prefix, {"self_attn": "attention"})


def one_dimension(weights: Weights) -> Weights:
    table = weights["m.rel_emb.weight"]
    result = parts(weights, "m.qkv", "attention.query", "attention.key", "attention.value")
    result |= {f"attention.out_proj.{kind}": weights[f"m.out.{kind}"] for kind in ("weight", "bias")}
    return result | {"offsets": table[None] * table.new_tensor([0, 1])[:, None, None]}


def swin(weights: Weights) -> Weights:
    table = weights["m.relative_position_bias_table"]
    side = round(len(table) ** 0.5)
    result = parts(weights, "m.qkv", "attention.query", "attention.key", "attention.value")
    result |= {f"attention.out_proj.{kind}": weights[f"m.proj.{kind}"] for kind in ("weight", "bias")}
    return result | {"table": table.t().reshape(-1, side, side)}


def non_local(weights: Weights) -> Weights:
    weights = dict(weights)
    w = weights.pop("concat_project.0.weight", None)
    result = without_conv_bias(rename(weights, **NON_LOCAL), "expand", "norm")
    if w is not None:
        result["theta_weight"], result["phi_weight"] = w.flatten().chunk(2)
    return result


def agent(weights: Weights) -> Weights:
    names = {"query": "m__q", "proj": "m__proj", "dwconv": "m__dwc"}
    result = rename({k: v for k, v in weights.items() if k.split(".")[1] in {"q", "proj", "dwc"}}, **names)
    result |= parts(weights, "m.kv", "key", "value")
    for target, grid, rows, columns in (("agent_positions", "an", "ah", "aw"), ("query_positions", "na", "ha", "wa")):
        result[f"{target}.grid"] = weights[f"m.{grid}_bias"].flatten(2)
        result[f"{target}.rows"] = weights[f"m.{rows}_bias"].squeeze()
        result[f"{target}.columns"] = weights[f"m.{columns}_bias"].squeeze()
    for name in ("query_positions.rows", "query_positions.columns"):
        result[name] = result[name].transpose(1, 2)
    return result


def bra_legacy(weights: Weights) -> Weights:
    result = rename(weights, qkv="m__qkv__qkv", dwconv="m__lepe", proj="m__wo")
    return as_conv(result, "qkv.weight", "proj.weight")


MAPPINGS = {
    "agent": Mapping(layer(AgentAttention, bias_size=20), agent),
    "bra_legacy": Mapping(layer(BRA, legacy=True), bra_legacy),
    "bra_nchw": Mapping(layer(BRA), renamed(qkv="qkv_linear", dwconv="lepe", proj="output_linear")),
    "criss_cross": Mapping(layer(CrissCross, recurrence=1), renamed(**CRISS_CROSS)),
    "criss_cross__r2": Mapping(layer(CrissCross), renamed(**{k: f"m__{v}" for k, v in CRISS_CROSS.items()})),
    "danet": Mapping(
        layer(DualAttention),
        renamed(**{f"position__{k}": f"sa__{v}" for k, v in CRISS_CROSS.items()}, channel__residual_scale="sc__gamma"),
    ),
    "danet__cam": Mapping(layer(CAM), renamed(residual_scale="gamma")),
    "danet__pam": Mapping(layer(PAM), renamed(**CRISS_CROSS)),
    "detr_encoder": Mapping(layer(TransformerEncoder), detr_encoder),
    "double_attention": Mapping(
        layer(A2, residual=False),
        renamed(features="convA", gather="convB", distribute="convV", proj="conv_reconstruct"),
    ),
    "mhsa": Mapping(layer(MHSA), lambda weights: multi_head(weights, "att")),
    "mhsa__nopos": Mapping(layer(MHSA, position="none"), lambda weights: multi_head(weights, "att")),
    "nonlocal_concatenation": Mapping(layer(NonLocal, pairwise="concatenation"), non_local),
    "nonlocal_dot_product": Mapping(layer(NonLocal, pairwise="dot_product"), non_local),
    "nonlocal_embedded_gaussian": Mapping(layer(NonLocal), non_local),
    "nonlocal_gaussian": Mapping(layer(NonLocal, pairwise="gaussian"), non_local),
    "relpos_article": Mapping(layer(OneDimension, position="relative", max_distance=4), one_dimension),
    "s2mlpv2": Mapping(layer(S2), s2),
    "swin_relpos": Mapping(layer(MHSA, position="bias", max_distance=19), swin),
}
