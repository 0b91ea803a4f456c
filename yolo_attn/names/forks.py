"""Rows of forks and tutorials: modules whose names do not state what they are, and the meaning of positional arguments.

Data for `yolo_attn.host.migration`. A name that is an alias of a layer, another spelling of one, or a stock block
combined with one (`CBAMBlock`, `C2f_CBAM`) requires no entry, because `yolo_attn.names.suggestions` reads it.
"""

from __future__ import annotations

__all__ = ["COPIES", "MODULES", "NEAREST", "POSITIONAL", "Signature"]

Signature = tuple[str, ...]
"""The meanings of positional arguments after the channels: options, or "(name)" for one that has no effect here."""

MODULES: dict[str, str] = {
    "BoT3": "C3+MHSA",
    "C2CGA": "C2PSA+CascadedGroupAttention",
    "C2PSA_CGA": "C2PSA+CascadedGroupAttention",
    "C3STR": "C3+SwinWindow",
    "C3_BoT": "C3+MHSA",
    "CoT3": "C3+CoT",
}
"""Blocks that contain a mechanism instead of a part of their own; here the layer follows that part."""

NEAREST: dict[str, str] = {
    "BiFPN_Concat": "WeightedFusion",
    "BiFPN_Concat2": "WeightedFusion",
    "BiFPN_Concat3": "WeightedFusion",
    "CARAFE": "nn.Upsample",
    "DCN": "DLKA",
    "DCNv2": "DLKA",
    "DCNv3": "DLKA",
    "DCNv4": "DLKA",
    "DySample": "nn.Upsample",
    "EfficientAttention": "External",
    "GSConv": "Conv",
    "Involution": "Outlook",
    "MobileViTAttention": "SeparableSelfAttention",
    "MobileViTBlock": "SeparableSelfAttention",
    "PConv": "Conv",
    "SPDConv": "Conv",
    "VoVGSCSP": "C2f",
}
"""The most similar layer, for mechanisms that no layer has."""

POSITIONAL: dict[str, tuple[Signature, ...]] = {
    "ACmix": (("window", "heads", "kernel_size"),),
    "AFF": (("reduction",),),
    "BAM": (("reduction", "dilation"),),
    "BRA": (("heads", "grid_size"),),
    "CA": (("reduction",),),
    "CAA": (("h_kernel_size", "v_kernel_size"),),
    "CBAM": (("reduction", "kernel_size"), ("kernel_size",)),
    "CBAMChannel": (("reduction",),),
    "CBAMSpatial": (("kernel_size",),),
    "CPCA": (("reduction",),),
    "CoT": (("kernel_size",),),
    "DAttention": (("(map size)",),),
    "ECA": (("kernel_size",),),
    "EMA": (("groups",),),
    "External": (("memory",),),
    "FCA": (("reduction",),),
    "FocalModulation": (("kernel_size", "levels", "kernel_step"),),
    "GAM": (("reduction",),),
    "HiLo": (("heads",),),
    "LSKA": (("kernel_size",),),
    "MHSA": (("heads",), ("(width)", "(height)"), ("(width)", "(height)", "heads")),
    "MLCA": (("grid_size", "(gamma)", "(b)", "local_weight"),),
    "MSCAM": (("reduction",),),
    "Outlook": (("heads", "kernel_size"),),
    "SCSA": (("heads", "window"),),
    "SE": (("reduction",),),
    "SK": (("kernel_sizes", "reduction", "groups", "min_hidden"),),
    "SOCA": (("reduction",),),
    "ShuffleAttention": (("groups",), ("(reduction)",), ("(reduction)", "groups")),
    "SimAM": (("e_lambda",),),
    "Triplet": (("no_spatial",),),
    "iAFF": (("reduction",),),
}
"""The signatures of the copies of a layer. One that begins with "(name)" is always written in full."""

COPIES: dict[str, tuple[str, int]] = {
    "EMA": ("groups", 8),
    "MHSA": ("heads", 4),
    "ShuffleAttention": ("groups", 8),
}
"""The defaults of many copies that differ from the paper's."""
