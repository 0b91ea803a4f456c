"""Gates over channels and positions."""

from __future__ import annotations

from yolo_attn.layers import CA, CBAM, GAM, ShuffleAttention, SimAM

from .mapping import Mapping, Weights, as_conv, layer, rename, renamed, vectors

GAM_MLP = ("channel.0.weight", "channel.2.weight")


def gam(weights: Weights) -> Weights:
    names = {"channel__0": "linear1", "channel__2": "linear2", "spatial__0": "conv1", "spatial__1": "norm1"}
    return as_conv(rename(weights, **names, spatial__3="conv2", spatial__4="norm2"), *GAM_MLP)


def gam_article(weights: Weights) -> Weights:
    return as_conv(rename(weights, channel="channel_attention", spatial="spatial_attention"), *GAM_MLP)


def shuffle(weights: Weights) -> Weights:
    names = {"channel_weight": "cweight", "channel_bias": "cbias", "spatial_weight": "sweight", "spatial_bias": "sbias"}
    return vectors(rename(weights, **names, norm="gn"))


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
    "coordatt": Mapping(layer(CA), renamed(squeeze="conv1", norm="bn1", rows="conv_h", columns="conv_w")),
    "gam": Mapping(layer(GAM, channel_sigmoid=False, padding_mode="replicate"), gam),
    "gam_group": Mapping(layer(GAM, channel_sigmoid=False, groups=4), gam_article),
    "gam_nogroup": Mapping(layer(GAM, channel_sigmoid=False, shuffle_groups=4), gam_article),
    "shuffle_attention": Mapping(layer(ShuffleAttention, groups=8), shuffle),
    "simam": Mapping(layer(SimAM), renamed()),
    "simam_variants": Mapping(layer(SimAM), renamed()),
    "simam_variants__window": Mapping(layer(SimAM, window=4), renamed()),
}
