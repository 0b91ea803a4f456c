"""Self-attention and shift mixers."""

from __future__ import annotations

from yolo_attn.layers import S2, CrissCross

from .mapping import Mapping, Weights, as_conv, layer, rename, renamed

CRISS_CROSS = {
    "residual_scale": "gamma",
    "query": "query_conv",
    "key": "key_conv",
    "value": "value_conv",
}


def s2(weights: Weights) -> Weights:
    names = {"squeeze": "split_attention__mlp1", "choose": "split_attention__mlp2"}
    return as_conv(rename(weights, **names, expand="mlp1", project="mlp2"), "expand.weight", "project.weight")


MAPPINGS = {
    "criss_cross": Mapping(layer(CrissCross, recurrence=1), renamed(**CRISS_CROSS)),
    "criss_cross__r2": Mapping(layer(CrissCross), renamed(**{k: f"m__{v}" for k, v in CRISS_CROSS.items()})),
    "s2mlpv2": Mapping(layer(S2), s2),
}
