"""Mappings of gates, strips and blocks in detectors of recent years."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers import AFGC, DSM, GLSA, MPCA, PPA, RCA, RCM, SEAM, SGE, MultiSEAM, StripAttention
from yolo_attn.layers.block.ppa import PatchAttention
from yolo_attn.layers.norms import BatchNorm

from .mapping import Mapping, Weights, as_conv, as_linear, layer, rename, renamed, vectors, without_conv_bias

AMPLIFIER = {"amplifier__fc1": "fc__0", "amplifier__fc2": "fc__2"}


def description(ours: str, theirs: str) -> dict[str, str]:
    """Return the names of one step of the description of SEAM."""
    parts = {"dwconv": "0__fn__0", "depthwise_norm": "0__fn__2", "pointwise": "1", "norm": "3"}
    return {f"{ours}__{name}": f"{theirs}__{reference}" for name, reference in parts.items()}


def seam(weights: Weights) -> Weights:
    steps = (description(f"description__{n}", f"DCovN__{n}") for n in range(2))
    return rename(weights, **AMPLIFIER, **{name: reference for step in steps for name, reference in step.items()})


def multi_seam(weights: Weights) -> Weights:
    names = dict(AMPLIFIER)
    for n in range(3):
        ours, theirs = f"descriptions__{n}", f"DCovN{n}"
        names |= {f"{ours}__{part}": f"{theirs}__{part}" for part in ("0", "2")}
        names |= description(f"{ours}__3", f"{theirs}__3")
    return rename(weights, **names)


def afgc(weights: Weights) -> Weights:
    return as_linear(rename(weights, conv="conv1", fc="fc", mix="mix__w"), "fc.weight")


DETAILS = {"conv": "spatial__conv", "wide__0": "dw1__0__conv", "wide__1": "dw1__1__conv", "near": "dw2__conv"}


def dsm(weights: Weights) -> Weights:
    names = {f"spatial__{ours}": f"spatial_gate__{theirs}" for ours, theirs in DETAILS.items()}
    scales = {"deviation_scale": "local_attention__0__a", "detail_scale": "local_attention__0__b"}
    state = rename(weights, **names, **scales, scale="a", skip_scale="b")
    return state | vectors({name: state[name] for name in (*scales, "scale", "skip_scale")})


def rca(weights: Weights) -> Weights:
    return rename(without_conv_bias(weights, "excite.0", "excite.1"), dwconv="dwconv_hw", bands="excite")


def rcm(weights: Weights) -> Weights:
    weights = without_conv_bias(weights, "token_mixer.excite.0", "token_mixer.excite.1")
    names = {"rca__dwconv": "token_mixer__dwconv_hw", "rca__bands": "token_mixer__excite", "norm": "norm"}
    return rename(weights, **names, mlp__0="mlp__fc1", mlp__2="mlp__fc2", scale="gamma")


STRIPS = {"near": "conv0", "strips__0": "conv_spatial1", "strips__1": "conv_spatial2", "pointwise": "conv1"}
PROJECTED_STRIPS = {name: f"spatial_gating_unit__{reference}" for name, reference in STRIPS.items()}
PROJECTED_STRIPS |= {"proj_in": "proj_1", "proj_out": "proj_2"}


class StripBlock(nn.Module):
    """The block of Strip R-CNN around StripAttention.

    Args:
        channels: Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = BatchNorm(channels), BatchNorm(channels)
        self.attention = StripAttention(channels, project=True)
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.dwconv = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels)
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)
        self.scale1, self.scale2 = nn.Parameter(Tensor(channels)), nn.Parameter(Tensor(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale1[:, None, None] * self.attention(self.norm1(x))
        y: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(self.norm2(x)))))
        return x + self.scale2[:, None, None] * y


STRIP_BLOCK = {f"attention__{name}": f"attn__{reference}" for name, reference in PROJECTED_STRIPS.items()}
STRIP_BLOCK |= {"norm1": "norm1", "norm2": "norm2", "scale1": "layer_scale_1", "scale2": "layer_scale_2"}
STRIP_BLOCK |= {"fc1": "mlp__fc1", "dwconv": "mlp__dwconv__dwconv", "fc2": "mlp__fc2"}

MPCA_NAMES = {"strips": "conv_hw__conv", "norm": "conv_hw__bn", "select__0": "conv_pool_hw__conv"}
MPCA_NAMES |= {"select__1": "conv_pool_hw__bn", "pool__0": "gap__1__conv", "pool__1": "gap__1__bn"}

UNUSED = ("conv1_1_1.", "local.ca.", "local.sa.", "GlobelBlock.conv_mask.bias")  # the softmax cancels the bias


def glsa(weights: Weights) -> Weights:
    weights = {name: value for name, value in weights.items() if not name.startswith(UNUSED)}
    names = {"local": "local_11conv", "whole": "global_11conv", "proj": "conv1_1__conv", "norm": "conv1_1__bn"}
    for n in range(3):
        names |= {f"details__{n}__pointwise": f"local__conv{2 * n + 1}"}
        names |= {f"details__{n}__depthwise": f"local__conv{2 * n + 2}"}
    gate = {"attn": "conv_mask", "fc1": "channel_mul_conv__0", "norm": "channel_mul_conv__1"}
    gate |= {"fc2": "channel_mul_conv__3"}
    names |= {f"context__{ours}": f"GlobelBlock__{theirs}" for ours, theirs in gate.items()}
    state = rename(weights, **names, details__3="local__conv7__0")
    state |= vectors({name: value for name, value in state.items() if name.startswith("context.norm.")})
    return as_linear(state, "context.fc1.weight", "context.fc2.weight")


def patch_attention(weights: Weights) -> Weights:
    names = {"fc1": "mlp1", "norm": "norm", "fc2": "mlp2", "prompt": "prompt", "proj": "conv"}
    state = rename(weights, **names, transform__weight="top_down_transform")
    hidden, positions = state["fc1.weight"].shape
    side = round(positions**0.5)
    state["fc1.weight"] = state["fc1.weight"].reshape(hidden, 1, side, side)
    state["transform.weight"] = state["transform.weight"].t()
    return as_conv(state, "fc2.weight", "transform.weight")


def ppa(weights: Weights) -> Weights:
    blocks = {"skip": "skip", **{f"convs__{n}": f"c{n + 1}" for n in range(3)}}
    names = {"channel_gate__conv": "cn__conv__0", "spatial_gate": "sa__conv2d", "norm": "bn1"}
    patches: list[Weights] = []
    for name in ("lga2.", "lga4."):
        part = {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
        patches.append({f"patches.{len(patches)}.{key}": value for key, value in patch_attention(part).items()})
    weights = {key: value for key, value in weights.items() if not key.startswith(("lga2.", "lga4."))}
    for ours, theirs in blocks.items():
        weights = without_conv_bias(weights, f"{theirs}.conv", f"{theirs}.norm")
        names |= {f"{ours}__0": f"{theirs}__conv", f"{ours}__1": f"{theirs}__norm"}
    return rename(weights, **names) | patches[0] | patches[1]


MAPPINGS = {
    "afgc": Mapping(layer(AFGC), afgc),
    "dsm": Mapping(layer(DSM), dsm),
    "dsm__spatial": Mapping(lambda c: DSM(c).spatial.eval(), renamed(**DETAILS)),
    "glsa": Mapping(layer(GLSA), glsa),
    "glsa__e24": Mapping(layer(GLSA, out_channels=24), glsa),
    "mpca": Mapping(layer(MPCA, joined=True), renamed(**MPCA_NAMES)),
    "multiseam": Mapping(layer(MultiSEAM), multi_seam),
    "ppa_fixed": Mapping(layer(PPA), ppa),
    "ppa_fixed__lga": Mapping(lambda c: PatchAttention(c, 2).eval(), patch_attention),
    "ppa_fixed__ragged": Mapping(layer(PPA, out_channels=24), ppa),
    "rca": Mapping(layer(RCA), rca),
    "rca__k1": Mapping(layer(RCA, kernel_size=1, reduction=2), rca),
    "rca__ratio2": Mapping(layer(RCA, reduction=2), rca),
    "rcm": Mapping(layer(RCM), rcm),
    "seam": Mapping(layer(SEAM), seam),
    "seam__n2": Mapping(layer(SEAM, depth=2), seam),
    "sge": Mapping(layer(SGE, groups=8), vectors),
    "sge__g64": Mapping(layer(SGE), vectors),
    "strip": Mapping(layer(StripAttention), renamed(**STRIPS)),
    "strip__attention": Mapping(layer(StripAttention, project=True), renamed(**PROJECTED_STRIPS)),
    "strip__block": Mapping(lambda c: StripBlock(c).eval(), renamed(**STRIP_BLOCK)),
}
