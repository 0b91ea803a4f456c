"""Names that forks, papers and tutorials use for the layers: data for `yolo_attn.names.suggestions`.

Case, separators and generic words (`SE_Block`, `se_layer`, `EMA_attention_module`) require no entry, because they are
ignored for every name here and in the registry. An entry is either a synonym of a layer's name, or the name of another
mechanism that resembles one.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "OPTIONS", "OTHER_MECHANISMS", "SPELLINGS"]

SPELLINGS: dict[str, tuple[str, ...]] = {
    "A2": ("A2Net", "A2Nets"),
    "ACmix": ("SelfAttentionConvolutionMix",),
    "AFGC": ("AdaptiveFineGrainedChannelAttention",),
    "AFF": ("AttentionalFeatureFusion",),
    "ASFF": ("AdaptivelySpatialFeatureFusion", "AdaptiveSpatialFeatureFusion", "ASFF_2", "ASFF_3", "ASFFV5"),
    "Axial": ("AxialBlock",),
    "BAM": ("BottleneckAttention",),
    "BRA": ("BiFormer", "BiLevelRoutingAttention_nchw"),
    "CA": ("CoordinateAttention", "CoorAttention"),
    "CBAM": ("ConvolutionalBlockAttention",),
    "CBAMChannel": ("ChannelAttention",),
    "CBAMSpatial": ("SAM", "SpatialAttention"),
    "CPCA": ("ChannelPriorConvolutionalAttention",),
    "CoT": ("ContextualTransformer",),
    "CrissCross": ("CCNet", "CC_module", "RCCA"),
    "DAttention": ("DAttentionBaseline", "DeformAttention", "DeformableAttention2D"),
    "DLKA": ("DeformableLargeKernelAttention",),
    "DualAttention": ("DAHead", "DANetHead"),
    "ECA": ("ECANet", "EfficientChannelAttention"),
    "ELA": ("EfficientLocalAttention",),
    "EMA": ("EfficientMultiScaleAttention",),
    "ESE": ("EffectiveSqueezeExcitation", "EffectiveSqueezeExcite"),
    "EfficientAdditive": ("EfficientAdditiveAttnetion", "SwiftFormer"),  # the spelling in the authors' code
    "External": ("EA", "EANet"),
    "FCA": ("FrequencyChannelAttention", "MultiSpectralAttention"),
    "GAM": ("GlobalAttentionMechanism",),
    "GC": ("ContextBlock2d", "GlobalContextBlock"),
    "GE": ("GENet",),
    "GMU": ("GatedBimodal", "GatedMultimodalLayer"),
    "LSK": ("LSKNet",),
    "MCA": ("MultidimensionalCollaborativeAttention",),
    "MHSA": ("MHA", "MSA", "MultiHeadAttention"),
    "MLCA": ("MixedLocalChannelAttention",),
    "MSCA": ("MSCAttention", "MultiScaleConvolutionalAttention"),
    "MSCAM": ("MultiScaleChannelAttention",),
    "NAM": ("NormalizationBasedAttention",),
    "NonLocal": ("NonLocal2d", "NonLocalBlock2D", "NLBlockND", "NonLocalBlockND"),
    "Outlook": ("Outlooker",),
    "Polarized": ("ParallelPolarizedSelfAttention",),
    "S2": ("S2MLP",),
    "SCSA": ("SpatialChannelSynergisticAttention",),
    "SCSE": ("ChannelSpatialSE", "ConcurrentSpatialChannelSE"),
    "SE": ("ChannelSE", "SENet", "SqueezeAndExcitation", "SqueezeAndExcite", "SqueezeExcitation", "SqueezeExcite"),
    "SK": ("SKNet", "SelectiveKernel"),
    "SOCA": ("SecondOrderChannelAttention",),
    "SRM": ("StyleBasedRecalibration", "StyleRecalibration"),
    "STN": ("SpatialTransformerNet", "SpatialTransformerNetwork"),
    "SEAM": ("SeparatedAndEnhancementAttention",),
    "SelfCalibrated": ("SelfCalibratedConvolution",),
    "ShuffleAttention": ("SANet",),
    "StripPooling": ("SPM",),
    "Triplet": ("TAM",),
    "WeightedFusion": ("BiFPN_Add", "BiFPN_Add2", "BiFPN_Add3", "FastNormalizedFusion"),
    "iAFF": ("IterativeAttentionalFeatureFusion",),
    "iRMB": ("InvertedResidualMobileBlock",),
}
"""Synonyms of the layers' names."""

OTHER_MECHANISMS: frozenset[str] = frozenset(
    """
    AAttn AdaptiveSparseSA AdditiveAttention ASF Attention Attention_histogram
    attention_model AttentionModule BahdanauAttention BiFPN_Concat BiFPN_Concat2 BiFPN_Concat3 BoT3 BoTMHSA BoTNet
    C2fAtt C2fAttention C3STR CAB CALayer CARAFE CGA Channel_Att
    ChannelAttentionBlock ChannelGate CLA ClassAttention CoordAttMeanPool CoordConv CPA CSA CSE CSRA DCN DLA
    DSConv EfficientAttention EMANet EMAU EMSA EPSA ESA FocalAttention FocalSelfAttention GlobalAttention
    GSConv HorBlock HSA Involution LCA LinearAttention LSA LSKAttention LuongAttention MLA
    MLLAttention MobileViTBlock MobileViTv2Block MobileViTv3 ModelEMA MSDeformAttn OCA
    PCA PConv PSAModule RAM RetBlock SABlock SAConv SAGAN
    SAModule SCA SequentialPolarizedSelfAttention ShuffleBlock ShuffleNet SKA SOA Spatial_Att
    SpatialGate SpatialSE SplitAttention SSA SSE StripBlock SwinTransformerBlock TA
    TransformerBlock TransformerLayer VisionRetentionChunk VSSBlock WindowAttention
    """.split()  # noqa: SIM905 (readable as a table)
)
"""Names in use for other mechanisms, or for several; nothing is suggested for them."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "reduction": ("ratio", "r", "rate", "rd_ratio", "reduction_ratio", "squeeze"),
    "kernel_size": ("k", "kernel", "kernels", "k_size", "ks"),
    "kernel_sizes": ("kernel", "kernels", "ks"),
    "groups": ("factor", "g", "group", "num_groups"),
    "heads": ("head", "head_num", "n_heads", "nhead", "num_heads"),
    "window": ("window_size", "ws"),
    "e_lambda": ("lambda", "lamda", "eps"),
    "memory": ("S", "M", "memory_size"),
    "agents": ("agent_num", "num_agents"),
    "layers": ("num_layers", "depth"),
}
"""Synonyms of the options' names."""

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Hardswish": ("HSwish",),
    "LeakyReLU": ("Leaky",),
    "SiLU": ("Swish",),
}
"""Synonyms of the names of activations in `torch.nn`."""
