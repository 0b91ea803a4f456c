"""The attention layers: pure PyTorch, one mechanism a file, one folder a family.

Importing this package registers them all.
"""

from __future__ import annotations

from yolo_attn.layers.block.se_basic_block import SEBasicBlock
from yolo_attn.layers.channel.cbam_channel import CBAMChannel
from yolo_attn.layers.channel.eca import ECA
from yolo_attn.layers.channel.ese import ESE
from yolo_attn.layers.channel.fca import FCA
from yolo_attn.layers.channel.gc import GC
from yolo_attn.layers.channel.ge import GE
from yolo_attn.layers.channel.nam import NAM
from yolo_attn.layers.channel.parnet import ParNet
from yolo_attn.layers.channel.se import SE
from yolo_attn.layers.channel.sk import SK
from yolo_attn.layers.channel.soca import SOCA
from yolo_attn.layers.channel.srm import SRM
from yolo_attn.layers.fusion.aff import AFF
from yolo_attn.layers.fusion.asff import ASFF
from yolo_attn.layers.fusion.cross_attention import CrossAttention
from yolo_attn.layers.fusion.gmu import GMU
from yolo_attn.layers.fusion.iaff import iAFF
from yolo_attn.layers.fusion.transformer_decoder import TransformerDecoder
from yolo_attn.layers.fusion.weighted_fusion import WeightedFusion
from yolo_attn.layers.hybrid.bam import BAM
from yolo_attn.layers.hybrid.ca import CA
from yolo_attn.layers.hybrid.caa import CAA
from yolo_attn.layers.hybrid.cbam import CBAM
from yolo_attn.layers.hybrid.cpca import CPCA
from yolo_attn.layers.hybrid.ela import ELA
from yolo_attn.layers.hybrid.ema import EMA
from yolo_attn.layers.hybrid.gam import GAM
from yolo_attn.layers.hybrid.mca import MCA
from yolo_attn.layers.hybrid.mlca import MLCA
from yolo_attn.layers.hybrid.ms_cam import MSCAM
from yolo_attn.layers.hybrid.polarized import Polarized
from yolo_attn.layers.hybrid.residual_attention import ResidualAttention
from yolo_attn.layers.hybrid.scsa import SCSA
from yolo_attn.layers.hybrid.scse import SCSE
from yolo_attn.layers.hybrid.shuffle_attention import ShuffleAttention
from yolo_attn.layers.hybrid.simam import SimAM
from yolo_attn.layers.hybrid.triplet import Triplet
from yolo_attn.layers.large_kernel.dlka import DLKA
from yolo_attn.layers.large_kernel.lka import LKA
from yolo_attn.layers.large_kernel.lsk import LSK
from yolo_attn.layers.large_kernel.lska import LSKA
from yolo_attn.layers.large_kernel.msca import MSCA
from yolo_attn.layers.self_attention.a2 import A2
from yolo_attn.layers.self_attention.acmix import ACmix
from yolo_attn.layers.self_attention.agent_attention import AgentAttention
from yolo_attn.layers.self_attention.axial import Axial
from yolo_attn.layers.self_attention.bra import BRA
from yolo_attn.layers.self_attention.cam import CAM
from yolo_attn.layers.self_attention.cot import CoT
from yolo_attn.layers.self_attention.criss_cross import CrissCross
from yolo_attn.layers.self_attention.dattention import DAttention
from yolo_attn.layers.self_attention.dual_attention import DualAttention
from yolo_attn.layers.self_attention.efficient_additive import EfficientAdditive
from yolo_attn.layers.self_attention.external import External
from yolo_attn.layers.self_attention.focal_modulation import FocalModulation
from yolo_attn.layers.self_attention.hilo import HiLo
from yolo_attn.layers.self_attention.irmb import iRMB
from yolo_attn.layers.self_attention.local_attention import LocalAttention
from yolo_attn.layers.self_attention.mhsa import MHSA
from yolo_attn.layers.self_attention.non_local import NonLocal
from yolo_attn.layers.self_attention.outlook import Outlook
from yolo_attn.layers.self_attention.pam import PAM
from yolo_attn.layers.self_attention.s2 import S2
from yolo_attn.layers.self_attention.self_attention import SelfAttention
from yolo_attn.layers.self_attention.separable import SeparableSelfAttention
from yolo_attn.layers.self_attention.transformer_encoder import TransformerEncoder
from yolo_attn.layers.spatial.cbam_spatial import CBAMSpatial
from yolo_attn.layers.spatial.hard_attention import HardAttention
from yolo_attn.layers.spatial.mixed_pooling import MixedPooling
from yolo_attn.layers.spatial.nam_spatial import NAMSpatial
from yolo_attn.layers.spatial.stn import STN
from yolo_attn.layers.spatial.strip_pooling import StripPooling

__all__ = [
    "A2",
    "AFF",
    "ASFF",
    "BAM",
    "BRA",
    "CA",
    "CAA",
    "CAM",
    "CBAM",
    "CPCA",
    "DLKA",
    "ECA",
    "ELA",
    "EMA",
    "ESE",
    "FCA",
    "GAM",
    "GC",
    "GE",
    "GMU",
    "LKA",
    "LSK",
    "LSKA",
    "MCA",
    "MHSA",
    "MLCA",
    "MSCA",
    "MSCAM",
    "NAM",
    "PAM",
    "S2",
    "SCSA",
    "SCSE",
    "SE",
    "SK",
    "SOCA",
    "SRM",
    "STN",
    "ACmix",
    "AgentAttention",
    "Axial",
    "CBAMChannel",
    "CBAMSpatial",
    "CoT",
    "CrissCross",
    "CrossAttention",
    "DAttention",
    "DualAttention",
    "EfficientAdditive",
    "External",
    "FocalModulation",
    "HardAttention",
    "HiLo",
    "LocalAttention",
    "MixedPooling",
    "NAMSpatial",
    "NonLocal",
    "Outlook",
    "ParNet",
    "Polarized",
    "ResidualAttention",
    "SEBasicBlock",
    "SelfAttention",
    "SeparableSelfAttention",
    "ShuffleAttention",
    "SimAM",
    "StripPooling",
    "TransformerDecoder",
    "TransformerEncoder",
    "Triplet",
    "WeightedFusion",
    "iAFF",
    "iRMB",
]
