"""Mappings from reference implementations to the layers of the hybrid family."""

from __future__ import annotations

from yolo_attn.layers import BAM, CA, CBAM, ELA, EMA, GAM, MCA, MLCA, ShuffleAttention, SimAM

from .mapping import Mapping, Weights, as_conv, layer, rename, renamed, vectors, without_conv_bias

GAM_MLP = ("channel.0.weight", "channel.2.weight")


def gam(weights: Weights) -> Weights:
    names = {"channel__0": "linear1", "channel__2": "linear2", "spatial__0": "conv1", "spatial__1": "norm1"}
    return as_conv(rename(weights, **names, spatial__3="conv2", spatial__4="norm2"), *GAM_MLP)


def gam_article(weights: Weights) -> Weights:
    return as_conv(rename(weights, channel="channel_attention", spatial="spatial_attention"), *GAM_MLP)


def shuffle(weights: Weights) -> Weights:
    names = {"channel_weight": "cweight", "channel_bias": "cbias", "spatial_weight": "sweight", "spatial_bias": "sbias"}
    return vectors(rename(weights, **names, norm="gn"))


BAM_STEPS = {f"spatial_att.gate_s.gate_s_{{}}_{name}": n for n, name in enumerate(("reduce0", "di_0", "di_1"))}


def bam(weights: Weights) -> Weights:
    channel = "channel_att.gate_c.gate_c_{}"
    weights = without_conv_bias(weights, channel.format("fc_0"), channel.format("bn_1"))
    names = {"channel__0": "fc_0", "channel__1": "bn_1", "channel__3": "fc_final"}
    names = {name: channel.format(reference) for name, reference in names.items()}
    for template, n in BAM_STEPS.items():
        conv, norm = template.format("conv"), template.format("bn")
        weights = without_conv_bias(weights, conv, norm)
        names |= {f"spatial__{n}__0": conv, f"spatial__{n}__1": norm}
    return rename(weights, spatial__3="spatial_att__gate_s__gate_s_conv_final", **names)


def mca(weights: Weights) -> Weights:
    axes = {"channel": "c_hw", "rows": "h_cw", "columns": "w_hc"}
    state = {f"{name}.blend": weights[f"{reference}.weight"] for name, reference in axes.items()}
    return state | {
        f"{name}.conv.weight": weights[f"{reference}.conv.weight"][:, 0] for name, reference in axes.items()
    }


MAPPINGS = {
    "cbam": Mapping(
        layer(CBAM),
        renamed(
            channel__mlp__0="ChannelGate__mlp__1",
            channel__mlp__2="ChannelGate__mlp__3",
            spatial__conv="SpatialGate__spatial__conv",
            spatial__norm="SpatialGate__spatial__bn",
        ),
    ),
    "coordatt": Mapping(layer(CA), renamed(reduce="conv1", norm="bn1", conv_h="conv_h", conv_w="conv_w")),
    "gam": Mapping(layer(GAM, channel_sigmoid=False, padding_mode="replicate"), gam),
    "gam_group": Mapping(layer(GAM, channel_sigmoid=False, groups=4), gam_article),
    "gam_nogroup": Mapping(layer(GAM, channel_sigmoid=False, shuffle_groups=4), gam_article),
    "shuffle_attention": Mapping(layer(ShuffleAttention, groups=8), shuffle),
    "simam": Mapping(layer(SimAM), renamed()),
    "simam_variants": Mapping(layer(SimAM), renamed()),
    "simam_variants__window": Mapping(layer(SimAM, window=4), renamed()),
    "bam": Mapping(layer(BAM, combine="multiply"), bam),
    "bam_additive": Mapping(layer(BAM), bam),
    "ela": Mapping(layer(ELA), renamed(conv="conv", norm="gn")),
    **{f"ela__{v.lower()}": Mapping(layer(ELA, variant=v), renamed(conv="conv", norm="gn")) for v in "TBSL"},
    "ema": Mapping(layer(EMA), renamed(conv1x1="conv1x1", norm="gn", conv3x3="conv3x3")),
    "mca": Mapping(layer(MCA), mca),
    "mlca": Mapping(layer(MLCA), renamed(conv_local="conv_local", conv_global="conv")),
}
