"""Test cases of the layer contract: each layer with its inputs and the option sets to test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

import yolo_attn.layers  # noqa: F401 - registers the layers
from tests.parity.record import randomize_statistics
from yolo_attn.registry import LayerSpec, list_layers

CHANNELS = 16

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "A2": [{"residual": False}],
    "ACmix": [{"window": 3, "heads": 2, "kernel_size": 5}],
    "AdditiveToken": [{"qkv_bias": True}],
    "AgentAttention": [{"agents": 4, "bias_size": 3, "qkv_bias": True}],
    "AggregatedAttention": [{"pool": 2, "kernel_size": 5, "qkv_bias": False}],
    "AreaAttention": [{"areas": 5, "head_width": 4, "kernel_size": 3}, {"areas": 1}],
    "ASFAttention": [{"kernel_size": 5, "reduction": 4}],
    "ASSA": [{"window": 3, "shift": 1, "qkv_bias": False}],
    "Axial": [{"span": 4, "groups": 2}],
    "BAM": [{"combine": "multiply"}],
    "BRA": [{"legacy": True}],
    "CAA": [{"norm": False, "h_kernel_size": 3}],
    "CascadedGroupAttention": [{"heads": 2, "key_width": 4, "kernel_sizes": [7, 3], "max_distance": 3}],
    "CBAM": [{"norm": False, "kernel_size": 3, "reduction": 4}],
    "CAFMFusion": [{"heads": 4, "double_sigmoid": True}],
    "CGAFusion": [{"reduction": 4, "double_sigmoid": True}],
    "CloAttention": [{"alpha": 0.25, "kernel_sizes": [3, 7], "pool": 2, "qkv_bias": False}, {"alpha": 1, "pool": 1}],
    "ContextGuided": [{"dilation": 3, "reduction": 4}],
    "ContextGuidedDown": [{"kernel_size": 5, "dilation": 3, "reduction": 4}],
    "CPCA": [{"shared": False, "kernel_sizes": [3]}],
    "CrissCross": [{"recurrence": 1}],
    "CrossAttention": [{"score": "concat", "norm": True, "position": "sine", "residual": False}],
    "DAttention": [{"stride": 2, "head_width": 4, "groups": 2, "offset_range": None, "shifted_grid": True}],
    "DASI": [{"second": "finer"}],
    "DHSA": [{"heads": 4, "bias": True}],
    "DyHead": [{"width": 24}],
    "ECA": [{"kernel_size": None}],
    "EfficientAdditive": [{"weighting": "softmax"}],
    "ELA": [{"variant": "S"}],
    "EMA": [{"groups": 4}],
    "External": [{"heads": 4}],
    "FCA": [{"grid_size": 7, "frequencies": "low8"}],
    "FocusedLinear": [{"position_size": [4, 5], "power": 2, "qkv_bias": False}],
    "FSAS": [{"patch": 5, "correlation": False, "bias": True}],
    "GAM": [{"groups": 4, "kernel_size": 3}, {"channel_sigmoid": False, "padding_mode": "replicate"}],
    "GE": [{"variant": "theta-"}, {"variant": "theta-", "extent": 4}, {"variant": "theta", "extent": 4}],
    "gnConv": [{"order": 1}, {"order": 5, "scale": 1, "kernel_size": 3}],
    "HSFPN": [{"transposed": False}],
    "HiLo": [{"window": 3, "alpha": 0.25, "qkv_bias": True}],
    "HSMSSD": [{"states": 3}],
    "HyperACE": [{"edges": 3, "heads": 5, "context": "mean"}, {"context": "max"}],
    "iRMB": [{"attention_first": True, "head_width": 8, "window": 3, "activation": "silu"}],
    "LiteMLA": [{"head_width": 8, "kernel_sizes": [3, 5]}],
    "LKA": [{"project": True}],
    "LocalAttention": [{"predict": False, "radius": 2, "score": "dot"}],
    "LocalWindowAttention": [{"heads": 2, "key_width": 4, "kernel_sizes": [7, 3], "window": 4}],
    "LSK": [{"project": True}],
    "LSKA": [{"kernel_size": 7, "project": True}],
    "MaSA": [{"decomposed": False}, {"rotation": False, "decay_range": 6, "kernel_size": 3}],
    "MDTA": [{"dilation": 2, "bias": True}],
    "MHSA": [{"position": "relative", "max_distance": 3}, {"position": "bias", "max_distance": 3, "residual": True}],
    "MixedPooling": [{"grid_sizes": [3]}],
    "MPCA": [{"joined": True}],
    "MSCA": [{"project": True, "kernel_sizes": [3, 5]}],
    "MSDA": [{"dilations": [1, 3], "mask_border": True, "qkv_bias": False}],
    "NAMSpatial": [{"grid_size": 5}],
    "NonLocal": [
        {"pairwise": "gaussian", "scale": True},
        {"pairwise": "dot_product"},
        {"pairwise": "concatenation", "subsample": False},
    ],
    "ODConv": [{"kernel_size": 1, "kernels": 1, "activation": "none"}, {"groups": 4, "dilation": 2, "temperature": 30}],
    "OmniKernel": [{"kernel_size": 5}],
    "Outlook": [{"heads": 2, "qkv_bias": True}],
    "PolaLinear": [{"position_size": [4, 5], "qkv_bias": False, "alpha": 3}],
    "Polarized": [{"mode": "s"}, {"paper_form": True}],
    "RCA": [{"reduction": 4, "band_kernel_size": 3, "kernel_size": 1}],
    "ResidualAttention": [{"depth": 1, "plain_skips": True}],
    "RFAConv": [{"features": "unfold", "kernel_size": 5, "activation": "silu"}, {"activation": "none"}],
    "RFCAConv": [{"kernel_size": 5, "activation": "none"}],
    "RFCBAMConv": [{"kernel_size": 5, "hidden": 3, "activation": "silu"}],
    "S2": [{"pool": "mean"}],
    "SAFM": [{"levels": 3}],
    "SCSA": [{"heads": 1, "window": None, "qkv_bias": True}],
    "SCSE": [{"combine": "sum"}],
    "SE": [{"bias": True, "reduction": 4}],
    "SEAM": [{"depth": 2, "reduction": 4}],
    "SEBasicBlock": [{"reduction": None}],
    "SelfCalibrated": [{"pool": 3}],
    "SelfAttention": [
        {"score": "general", "project": False, "combine": "tanh"},
        {"score": "additive", "heads": 4, "combine": "linear", "residual": True},
        {"score": "dot"},
    ],
    "SeparableSelfAttention": [{"patch_size": 2}],
    "SGE": [{"groups": 4}],
    "SHSA": [{"key_width": 3, "reduction": 2}],
    "ShuffleAttention": [{"groups": 2, "shuffle": False}],
    "SimAM": [{"window": 4}],
    "SK": [{"kernel_sizes": [1, 3, 5], "dilated": False, "groups": 1, "norm": False}],
    "SMFA": [{"pool": 3}],
    "SpatialChannelReconstruction": [{"groups": 2, "alpha": 0.25, "reduction": 1}],
    "SS2D": [{"states": 1, "expansion": 1, "gated": False}],
    "StripAttention": [{"project": True, "kernel_size": 7}],
    "SwinWindow": [{"window": 3, "shift": 1, "qkv_bias": False}],
    "TransformerDecoder": [{"normalize_before": True, "layers": 2}],
    "TransformerEncoder": [{"normalize_before": True, "layers": 2}],
    "Triplet": [{"no_spatial": True, "kernel_size": 3}],
    "TSSA": [{"heads": 4, "qkv_bias": True}],
    "XCA": [{"qkv_bias": False}],
}
"""Option sets that take a different code path from the defaults."""

MAGNITUDE = {
    "A2-0": 100.0,
    "ACmix": 10.0,
    "AdditiveToken": 100.0,
    "AgentAttention": 30.0,
    "AgentAttention-0": 30.0,
    "AreaAttention": 30.0,
    "ASSA": 3.0,
    "Axial": 1.0,
    "BRA": 100.0,
    "BRA-0": 100.0,
    "CascadedGroupAttention": 10.0,
    "CloAttention": 10.0,
    "CPCA": 100.0,
    "CrossAttention": 10.0,
    "DAttention": 10.0,
    "DAttention-0": 1.0,
    "DHSA": 100.0,
    "DLKA": 3.0,
    "DyHead-0": 3.0,
    "DSM": 3.0,
    "FocalModulation": 10.0,
    "GAM-1": 10.0,
    "gnConv": 10.0,
    "HiLo": 10.0,
    "HSMSSD": 3.0,
    "iRMB": 10.0,
    "LKA": 100.0,
    "LocalAttention": 10.0,
    "LocalWindowAttention": 10.0,
    "LSK": 100.0,
    "LSKA": 100.0,
    "MaSA": 10.0,
    "MHSA": 10.0,
    "MHSA-0": 10.0,
    "MHSA-1": 10.0,
    "Moga": 100.0,
    "MSCA": 100.0,
    "MSDA": 10.0,
    "NonLocal-1": 10.0,
    "NonLocal-2": 100.0,
    "OmniKernel": 10.0,
    "PolaLinear": 100.0,
    "RFAConv-0": 30.0,
    "SAFM": 100.0,
    "SelfAttention": 10.0,
    "SelfAttention-0": 10.0,
    "SelfAttention-2": 10.0,
    "SeparableSelfAttention": 10.0,
    "SMFA": 10.0,
    "SS2D": 10.0,
    "StripAttention": 100.0,
    "SwinWindow": 10.0,
    "TransformerDecoder": 10.0,
    "TransformerDecoder-0": 10.0,
    "TransformerEncoder": 10.0,
}
"""Magnitudes of half-precision inputs for layers whose formula fails at the default of 1000.

Products of x with a map that grows with x exceed the range of float16. Where x determines sampling positions, or a
softmax selects a single position, a rounding error that grows with x selects an unrelated value of a random map.
"""

UNSEEN_IN_TRAINING = {
    "A2*": ("gather.bias",),
    "AdditiveToken*": ("*_gate.spatial.0.bias",),
    "AgentAttention-0": ("key.bias",),
    "AreaAttention*": ("local.1.bias",),
    "Axial*": (
        "columns.value_norm.bias",
        "columns.position_norm.bias",
    ),
    "CA": ("reduce.bias",),
    "CAA": ("conv_v.bias",),
    "CrissCross*": ("key.bias",),
    "CrossAttention": ("attention.key.bias",),
    "DAttention*": ("key.bias",),
    "DualAttention": ("position.key.bias",),
    "External*": ("query.bias",),
    "GAM*": ("spatial.[03].bias",),
    "MaSA-1": ("key.bias",),
    "MHSA*": ("attention.key.bias",),
    "NonLocal": ("phi.bias", "g.bias"),
    "NonLocal-0": ("g.bias",),
    "PAM": ("key.bias",),
    "SelfAttention": ("attention.key.bias",),
    "SelfAttention-2": ("attention.key.bias",),
    "SHSA*": ("norm.bias",),
    "Transformer*": ("*attention.key.bias",),
}
"""Biases without effect on the training loss, by patterns of case and name: a batch norm subtracts the mean after them,
or they add the same number to all logits of a softmax."""

ESTIMATED_GRADIENTS = {"HardAttention": "the gradient is that of the soft mask, because that of the hard one is zero"}
"""Layers whose gradient is, by design, not the derivative of their output."""


@dataclass(frozen=True)
class Case:
    """A layer with one set of options."""

    spec: LayerSpec
    options: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    @property
    def id(self) -> str:
        return self.spec.name + (f"-{self.number - 1}" if self.number else "")

    @property
    def magnitude(self) -> float:
        return MAGNITUDE.get(self.id, MAGNITUDE.get(self.spec.name, 1000.0))

    def unseen_in_training(self, parameter: str) -> bool:
        """Return whether a parameter has no effect on the training loss."""
        patterns = (names for case, names in UNSEEN_IN_TRAINING.items() if fnmatchcase(self.id, case))
        return any(fnmatchcase(parameter, pattern) for names in patterns for pattern in names)

    def build(self, channels: int = CHANNELS, *, inputs: int | None = None, **more: Any) -> nn.Module:
        """Build the layer, with the same weights every time; `inputs` is their number, by default the least."""
        torch.manual_seed(0)
        count = inputs or self.spec.inputs
        return self.spec.cls(channels if count == 1 else [channels] * count, **self.options, **more)

    def trained(self, channels: int = CHANNELS, **more: Any) -> nn.Module:
        """Build the layer in evaluation mode without the zeros and ones of its initial parameters."""
        layer = self.build(channels, **more).eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.ndim in (1, 3) or not parameter.any():
                    parameter.add_(0.3 * torch.randn_like(parameter))
        randomize_statistics(layer)
        return layer

    def inputs(
        self,
        height: int = 6,
        width: int = 7,
        batch: int = 2,
        channels: int = CHANNELS,
        seed: int = 1,
        *,
        count: int | None = None,
    ) -> list[Tensor]:
        """Return random inputs, one for each input of the layer, or `count` of them."""
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, channels, height, width)
        return [torch.randn(*shape, generator=generator) for _ in range(count or self.spec.inputs)]


def call(layer: nn.Module, xs: Sequence[Tensor]) -> Tensor:
    """Call a layer with one tensor, or with a list of several."""
    y: Tensor = layer(xs[0] if len(xs) == 1 else list(xs))
    return y


def cases(*, options: bool = True) -> list[Case]:
    """Return every layer with its defaults and, if requested, with its other option sets."""
    result = []
    for spec in list_layers():
        if not spec.built_in:
            continue  # a layer registered by another test
        result.append(Case(spec))
        if options:
            result += [Case(spec, o, n) for n, o in enumerate(OPTIONS.get(spec.name, []), 1)]
    return result


def fusions() -> list[Case]:
    """Return the layers of several inputs, with all option sets."""
    return [case for case in cases() if case.spec.inputs > 1]
