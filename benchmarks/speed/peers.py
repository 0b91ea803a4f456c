"""The layers that timm and fightingcv-attention have too, with the options at which they compute the same.

Each peer is built with the options of its pair, and receives the weights of ours. Biases that only theirs has are set
to zero, so that equal arithmetic shows in equal outputs (`difference`). A peer whose arithmetic differs has a note.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from yolo_attn.registry import get_layer

__all__ = ["PEERS", "Peer", "available"]

TIMM, FIGHTINGCV = "timm", "fightingcv-attention"
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Build = Callable[[Any, int, int], nn.Module]


@dataclass(frozen=True)
class Peer:
    """A layer of another library.

    Attributes:
        layer: The name of our layer.
        package: Its distribution.
        path: Module and class in it.
        build: Builds it from the class, a number of channels and the side of the map.
        options: Our options.
        layout: The form of its input and output if it is not a map, a key of the table of layouts.
        order: Their tensors in the order of ours; () for the order of their state dict.
        change: Changes our tensors into the form of theirs.
        note: How its arithmetic differs; "" if its outputs equal ours.
        levels: The levels at which it fits into memory.
    """

    layer: str
    package: str
    path: str
    build: Build = lambda cls, channels, side: cls(channels)
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str = ""
    order: tuple[str, ...] = ()
    change: Change | None = None
    note: str = ""
    levels: tuple[str, ...] = ("P3", "P4", "P5")

    @property
    def name(self) -> str:
        """Library and class."""
        return f"{self.package} {self.path.rpartition('.')[2]}"

    def ours(self, channels: int) -> nn.Module:
        """Build our layer, without the zeros of its initial weights."""
        torch.manual_seed(0)
        layer = get_layer(self.layer).cls(channels, **self.options)
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.ndim <= 1 or not parameter.any():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return layer

    def theirs(self, ours: nn.Module, channels: int, side: int) -> nn.Module:
        """Build their layer, with the weights of ours if the arithmetic is the same."""
        module, _, name = self.path.rpartition(".")
        torch.manual_seed(0)
        layer = self.build(getattr(importlib.import_module(module), name), channels, side)
        if not self.note:
            self._copy(ours, layer)
        return _ON_MAPS[self.layout](layer) if self.layout else layer

    def _copy(self, ours: nn.Module, theirs: nn.Module) -> None:
        source = ours.state_dict()
        if self.change is not None:
            source = self.change(source)
        target = theirs.state_dict()  # shares the memory of the layer
        for name, tensor in target.items():
            if _is_bias(name):
                tensor.zero_()
        names = iter(self.order or target)
        for name, tensor in source.items():
            same = (n for n in names if _is_bias(n) == _is_bias(name) and target[n].numel() == tensor.numel())
            twin = target[next(same)]
            twin.copy_(tensor.reshape(twin.shape))


def _is_bias(name: str) -> bool:
    return name.endswith("bias")


class OnMaps(nn.Module):
    """A layer for tokens, channels-last maps or patches, applied to maps as its library's networks do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


class OnTokens(OnMaps):
    """Maps as (B, HW, C)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._call(x.flatten(2).transpose(1, 2))
        return y.transpose(1, 2).reshape(x.shape)

    def _call(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.layer(tokens)
        return y


class OnQueriesKeysValues(OnTokens):
    """Maps as queries, keys and values (B, HW, C)."""

    def _call(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.layer(tokens, tokens, tokens)
        return y


class OnChannelsLast(OnMaps):
    """Maps as (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y


class OnPatches(OnMaps):
    """Maps as (B, C, 1, HW): patches of one position."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.flatten(2)[:, :, None])
        return y.reshape(x.shape)


class FirstOutput(OnMaps):
    """The first of several outputs."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)[0]
        return y


_ON_MAPS: dict[str, type[OnMaps]] = {
    "tokens": OnTokens,
    "queries, keys, values": OnQueriesKeysValues,
    "channels last": OnChannelsLast,
    "patches": OnPatches,
    "first output": FirstOutput,
}


def available(peer: Peer) -> bool:
    """Return whether the library of a peer is installed."""
    try:
        importlib.import_module(peer.path.rpartition(".")[0])
    except ImportError:
        return False
    return True


def _same_pools(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Exchange mean and maximum before the convolution of CBAM's spatial half."""
    return {name: tensor.flip(1) if tensor.ndim == 4 else tensor for name, tensor in ours.items()}  # noqa: PLR2004


def _packed(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate the projections to query, key and value."""
    query, query_bias, key, key_bias, value, value_bias, *last = ours.values()
    packed = [torch.cat([query, key, value]), torch.cat([query_bias, key_bias, value_bias]), *last]
    names = ("weight", "bias", "last.weight", "last.bias")
    return dict(zip(names, packed, strict=True))


def _split_last(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split the last linear layer of SK into one per branch."""
    rest = dict(ours)
    weights, biases = rest.pop("fc2.weight").chunk(2), rest.pop("fc2.bias").chunk(2)
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        rest |= {f"{n}.weight": weight, f"{n}.bias": bias}
    return rest


def _global_context(cls: Any, channels: int, side: int) -> nn.Module:
    layer: nn.Module = cls(channels, fuse_add=True, fuse_scale=False, rd_ratio=1 / 16)
    layer.mlp_add.norm.eps = 1e-5  # type: ignore[union-attr]
    return layer


def _non_local(cls: Any, channels: int, side: int) -> nn.Module:
    layer: nn.Module = cls(channels, rd_ratio=1 / 2)
    layer.scale = (channels // 2) ** -0.5
    return layer


def _s2(cls: Any, channels: int, side: int) -> nn.Module:
    layer: nn.Module = cls(channels)
    layer.split_attention = type(layer.split_attention)(channels)  # its default has 512 channels
    return layer


def _timm(layer: str, path: str, build: Build, **more: Any) -> Peer:
    return Peer(layer, TIMM, f"timm.{path}", build, **more)


def _fightingcv(layer: str, path: str, build: Build, **more: Any) -> Peer:
    return Peer(layer, FIGHTINGCV, f"fightingcv_attention.attention.{path}", build, **more)


_POLARIZED = ("ch_wq.weight", "ch_wv.weight", "ch_wz.weight", "ln.weight", "ln.bias", "sp_wq.weight", "sp_wv.weight")

PEERS: tuple[Peer, ...] = (
    _timm("SE", "layers.squeeze_excite.SEModule", lambda cls, c, _: cls(c, rd_channels=c // 16, bias=False)),
    _timm("ESE", "layers.squeeze_excite.EffectiveSEModule", lambda cls, c, _: cls(c)),
    _timm("ECA", "layers.eca.EcaModule", lambda cls, _, __: cls(kernel_size=3)),
    _timm("CBAMChannel", "layers.cbam.ChannelAttn", lambda cls, c, _: cls(c, mlp_bias=True)),
    _timm("CBAMSpatial", "layers.cbam.SpatialAttn", lambda cls, _, __: cls(), change=_same_pools),
    _timm("CBAM", "layers.cbam.CbamModule", lambda cls, c, _: cls(c, mlp_bias=True), change=_same_pools),
    _timm(
        "GE",
        "layers.gather_excite.GatherExcite",
        lambda cls, c, _: cls(c, extent=4, use_mlp=False),
        options={"variant": "theta-", "extent": 4},
    ),
    _timm("GC", "layers.global_context.GlobalContext", _global_context),
    _timm("CA", "layers.coord_attn.CoordAttn", lambda cls, c, _: cls(c, rd_channels=max(8, c // 32), bias=True)),
    _timm(
        "ELA",
        "layers.coord_attn.EfficientLocalAttn",
        lambda cls, c, _: cls(c),
        note="another order: a convolution per axis, a SiLU before the sigmoid",
    ),
    _timm(
        "NonLocal",
        "layers.non_local_attn.NonLocalAttn",
        _non_local,
        options={"subsample": False, "scale": True},
    ),
    _timm(
        "SK",
        "layers.selective_kernel.SelectiveKernel",
        lambda cls, c, _: cls(c, split_input=False, groups=32, rd_channels=max(32, c // 16)),
    ),
    _timm(
        "MHSA",
        "layers.attention2d.Attention2d",
        lambda cls, c, _: cls(c, num_heads=8),
        options={"position": "none"},
        change=_packed,
    ),
    _timm(
        "FocalModulation",
        "models.focalnet.FocalModulation",
        lambda cls, c, _: cls(c, focal_window=3, focal_level=2),
        order=(
            "f.weight",
            "f.bias",
            "focal_layers.0.0.weight",
            "focal_layers.1.0.weight",
            "h.weight",
            "h.bias",
            "proj.weight",
            "proj.bias",
        ),
    ),
    _timm("Outlook", "models.volo.OutlookAttention", lambda cls, c, _: cls(c, 8), layout="channels last"),
    _timm("EfficientAdditive", "models.swiftformer.EfficientAdditiveAttention", lambda cls, c, _: cls(c, c)),
    _timm("SeparableSelfAttention", "models.mobilevit.LinearSelfAttention", lambda cls, c, _: cls(c), layout="patches"),
    _fightingcv("SE", "SEAttention.SEAttention", lambda cls, c, _: cls(c)),
    _fightingcv("ECA", "ECAAttention.ECAAttention", lambda cls, _, __: cls()),
    _fightingcv(
        "CBAM",
        "CBAM.CBAMBlock",
        lambda cls, c, _: cls(c, kernel_size=7),
        options={"norm": False},
        note="more: adds x to the product",
    ),
    _fightingcv(
        "BAM",
        "BAM.BAMBlock",
        lambda cls, c, _: cls(c, dia_val=1),
        options={"dilation": 1},
        note="more: two hidden layers and a dilated convolution on the bottleneck",
    ),
    _fightingcv("CA", "CoordAttention.CoordAtt", lambda cls, c, _: cls(c, c)),
    _fightingcv("ParNet", "ParNetAttention.ParNetAttention", lambda cls, c, _: cls(c), note="less: no batch norm of x"),
    _fightingcv(
        "Polarized",
        "PolarizedSelfAttention.ParallelPolarizedSelfAttention",
        lambda cls, c, _: cls(c),
        options={"paper_form": True},
        order=_POLARIZED,
    ),
    _fightingcv(
        "Polarized",
        "PolarizedSelfAttention.SequentialPolarizedSelfAttention",
        lambda cls, c, _: cls(c),
        options={"paper_form": True, "mode": "s"},
        order=_POLARIZED,
    ),
    _fightingcv(
        "SK",
        "SKAttention.SKAttention",
        lambda cls, c, _: cls(c, kernels=[3, 5]),
        options={"kernel_sizes": (3, 5), "dilated": False, "groups": 1, "norm": False},
        change=_split_last,
    ),
    _fightingcv(
        "ShuffleAttention", "ShuffleAttention.ShuffleAttention", lambda cls, c, _: cls(c), options={"groups": 8}
    ),
    _fightingcv("SimAM", "SimAM.SimAM", lambda cls, _, __: cls()),
    _fightingcv("Triplet", "TripletAttention.TripletAttention", lambda cls, _, __: cls()),
    _fightingcv(
        "A2",
        "A2Atttention.DoubleAttention",
        lambda cls, c, _: cls(c, c // 4, c // 4),
        options={"residual": False},
        note="the softmax is over the images of the batch",
    ),
    _fightingcv("ACmix", "ACmixAttention.ACmix", lambda cls, c, _: cls(c, c)),
    _fightingcv(
        "Axial",
        "Axial_attention.AxialAttention",
        lambda cls, c, _: cls(c, dim_index=1),
        note="less: no relative positions and no norms",
    ),
    _fightingcv(
        "CoT",
        "CoTAttention.CoTAttention",
        lambda cls, c, _: cls(c),
        note="other weights: C per neighbor instead of C / 8, averaged over the neighborhood",
    ),
    _fightingcv(
        "CrissCross", "CrissCrossAttention.CrissCrossAttention", lambda cls, c, _: cls(c), options={"recurrence": 1}
    ),
    _fightingcv(
        "External",
        "ExternalAttention.ExternalAttention",
        lambda cls, c, _: cls(c),
        layout="tokens",
        note="less: no projections and no batch norm",
    ),
    _fightingcv(
        "MHSA",
        "SelfAttention.ScaledDotProductAttention",
        lambda cls, c, _: cls(c, c // 8, c // 8, 8, dropout=0),
        options={"position": "none"},
        layout="queries, keys, values",
    ),
    _fightingcv(
        "SelfAttention",
        "SelfAttention.ScaledDotProductAttention",
        lambda cls, c, _: cls(c, c, c, 1, dropout=0),
        layout="queries, keys, values",
    ),
    _fightingcv(
        "Outlook",
        "OutlookAttention.OutlookAttention",
        lambda cls, c, _: cls(c, 8, attn_drop=0),
        layout="channels last",
    ),
    _fightingcv(
        "S2", "S2Attention.S2Attention", _s2, note="shifts in place, so that positions overwrite their neighbors"
    ),
    _fightingcv(
        "SeparableSelfAttention",
        "MobileViTv2Attention.MobileViTv2Attention",
        lambda cls, c, _: cls(c),
        layout="tokens",
        note="less: no ReLU of the values",
    ),
)
