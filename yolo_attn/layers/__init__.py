"""The attention layers: pure PyTorch, one mechanism a file, one folder a family.

Importing this package registers them all.
"""

from __future__ import annotations

from yolo_attn.layers.channel.cbam_channel import CBAMChannel
from yolo_attn.layers.channel.eca import ECA
from yolo_attn.layers.channel.nam import NAM
from yolo_attn.layers.channel.se import SE
from yolo_attn.layers.channel.sk import SK
from yolo_attn.layers.channel.soca import SOCA
from yolo_attn.layers.hybrid.ca import CA
from yolo_attn.layers.hybrid.cbam import CBAM
from yolo_attn.layers.hybrid.gam import GAM
from yolo_attn.layers.hybrid.shuffle_attention import ShuffleAttention
from yolo_attn.layers.hybrid.simam import SimAM
from yolo_attn.layers.self_attention.criss_cross import CrissCross
from yolo_attn.layers.self_attention.s2 import S2
from yolo_attn.layers.spatial.cbam_spatial import CBAMSpatial
from yolo_attn.layers.spatial.nam_spatial import NAMSpatial

__all__ = [
    "CA",
    "CBAM",
    "ECA",
    "GAM",
    "NAM",
    "S2",
    "SE",
    "SK",
    "SOCA",
    "CBAMChannel",
    "CBAMSpatial",
    "CrissCross",
    "NAMSpatial",
    "ShuffleAttention",
    "SimAM",
]
