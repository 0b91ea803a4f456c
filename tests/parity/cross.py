"""Mappings of cross-attention, score functions and DETR."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolo_attn.layers import CrossAttention, LocalAttention, TransformerDecoder, TransformerEncoder
from yolo_attn.layers.self_attention._tokens import sine_positions, to_tokens

from .mapping import Mapping, Weights, layer
from .self_attention import detr_encoder, multi_head, transformer_layer

Convert = Callable[[Weights], Weights]
PLAIN = {"heads": 1, "project": False, "residual": False}
"""Options of the score functions alone."""
MATRICES = (
    "attention.score.bilinear",
    "attention.score.query_weight",
    "attention.score.key_weight",
    "attention.score.score_weight",
)


class BothWays(nn.Module):
    """ICAFusion's module: each map attends to the other, and the two contexts are added."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.first = CrossAttention(channels, norm=True, residual=False)
        self.second = CrossAttention(channels, norm=True, residual=False)

    def forward(self, xs: list[Tensor]) -> Tensor:
        y: Tensor = self.first(xs) + self.second(xs[::-1])
        return y


class OneDimension(LocalAttention):
    """Flattened maps as the paper's sentences, here as maps of height 1."""

    def forward(self, xs: list[Tensor]) -> Tensor:  # type: ignore[override]
        x, memory = (x.flatten(2)[:, :, None] for x in xs)
        return self.read(x, memory).reshape(xs[0].shape)


class DETR(nn.Module):
    """Encoder and decoder with ten learned queries, whose mean output is added to the memory as in the reference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(channels)
        self.decoder = TransformerDecoder([channels, channels])
        self.queries = nn.Embedding(10, channels)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.encoder(x)
        queries = self.queries.weight[None].expand(len(x), -1, -1)
        decoded = self.decoder.decode(torch.zeros_like(queries), to_tokens(memory), queries, sine_positions(memory))
        y: Tensor = memory + decoded.mean(1)[:, :, None, None]
        return y


def both_ways(weights: Weights) -> Weights:
    result: Weights = {}
    norms = {"vis": "LN1", "ir": "LN2"}
    for name, query, memory in (("first", "vis", "ir"), ("second", "ir", "vis")):
        names = {
            "norms.0": norms[query],
            "norms.1": norms[memory],
            "attention.query": f"que_proj_{query}",
            "attention.key": f"key_proj_{memory}",
            "attention.value": f"val_proj_{memory}",
            "attention.out_proj": f"out_proj_{memory}",
        }
        kinds = ("weight", "bias")
        result |= {
            f"{name}.{target}.{k}": weights[f"m.{source}.{k}"] for target, source in names.items() for k in kinds
        }
    return result


def one_head(**names: str) -> Convert:
    """Return a `convert` for an attention of one head without linear layers.

    Args:
        names: Parameter of the layer, with "__" for "." -> parameter of the reference.
    """

    def convert(weights: Weights) -> Weights:
        state = {f"attention.{target.replace('__', '.')}": weights[source] for target, source in names.items()}
        return {name: value.t()[None] if name.startswith(MATRICES) else value for name, value in state.items()}

    return convert


def general(weights: Weights) -> Weights:
    return {"attention.score.bilinear": weights["W.weight"][None]}


def additive(weights: Weights) -> Weights:
    names = {"score__query_weight": "W.weight", "score__key_weight": "U.weight", "score__score_weight": "v.weight"}
    bias = torch.zeros(len(weights["W.weight"]))
    return one_head(**names)(weights) | {"attention.score.bias": bias}


def concat(weights: Weights) -> Weights:
    of_query, of_key = weights["W.weight"].chunk(2, 1)
    names = {"score__query_weight": "q", "score__key_weight": "k", "score__score_weight": "v.weight"}
    return one_head(**names)(weights | {"q": of_query, "k": of_key})


def luong(weights: Weights) -> Weights:
    result = {"bilinear.weight": weights["Wa.weight"].t(), "combine.weight": weights["Wc.weight"]}
    if "Wp.weight" in weights:
        column = weights["vp.weight"]
        row = torch.ones_like(column)  # a map of height 1 has a single row to predict
        result |= {"predict.0.weight": weights["Wp.weight"], "predict.2.weight": torch.cat([row, column])}
    return result


def detr(weights: Weights) -> Weights:
    attentions = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}
    return {
        "queries.weight": weights["q.weight"],
        "decoder.norm.weight": weights["t.decoder.norm.weight"],
        "decoder.norm.bias": weights["t.decoder.norm.bias"],
        **detr_encoder(weights, "t.encoder.layers.0", "encoder.layers.0"),
        **transformer_layer(weights, "t.decoder.layers.0", "decoder.layers.0", attentions),
    }


MAPPINGS = {
    "cross_attention": Mapping(lambda channels: BothWays(channels).eval(), both_ways),
    "cross_attention_plain": Mapping(layer(CrossAttention, residual=False), lambda weights: multi_head(weights, "att")),
    "detr_full": Mapping(lambda channels: DETR(channels).eval(), detr),
    "luong_local": Mapping(lambda channels: OneDimension(channels[0]).eval(), luong),
    "luong_local__m": Mapping(lambda channels: OneDimension(channels[0], predict=False).eval(), luong),
    "openmnt_global": Mapping(
        layer(CrossAttention, score="general", combine="tanh", **PLAIN),
        one_head(score__bilinear="m.linear_in.weight", out_proj__weight="m.linear_out.weight"),
    ),
    "openmnt_global__dot": Mapping(
        layer(CrossAttention, score="dot", combine="tanh", **PLAIN), one_head(out_proj__weight="m.linear_out.weight")
    ),
    "openmnt_global__mlp": Mapping(
        layer(CrossAttention, score="additive", combine="linear", **PLAIN),
        one_head(
            score__query_weight="m.linear_query.weight",
            score__bias="m.linear_query.bias",
            score__key_weight="m.linear_context.weight",
            score__score_weight="m.v.weight",
            out_proj__weight="m.linear_out.weight",
            out_proj__bias="m.linear_out.bias",
        ),
    ),
    "score_functions": Mapping(layer(CrossAttention, **PLAIN), one_head()),
    "score_functions__additive": Mapping(layer(CrossAttention, score="additive", **PLAIN), additive),
    "score_functions__concat": Mapping(layer(CrossAttention, score="concat", **PLAIN), concat),
    "score_functions__dot": Mapping(layer(CrossAttention, score="dot", **PLAIN), one_head()),
    "score_functions__general": Mapping(layer(CrossAttention, score="general", **PLAIN), general),
}
