"""Spatial gates."""

from __future__ import annotations

from yolo_attn.layers import CBAMSpatial, NAMSpatial

from .mapping import Mapping, layer, renamed

MAPPINGS = {
    "cbam_spatial": Mapping(layer(CBAMSpatial), renamed(conv="spatial__conv", norm="spatial__bn")),
    "nam_spatial": Mapping(layer(NAMSpatial), renamed(norm="bn")),
}
