"""Attention layers for Ultralytics YOLO.

Importing this package registers every layer in the Ultralytics model-YAML parser:

    import yolo_attn
    from ultralytics import YOLO

    YOLO("yolo11n-cbam.yaml").train(data="coco8.yaml")
"""

from __future__ import annotations

from yolo_attn import layers  # registers the attention layers
from yolo_attn.api import attention_maps, compare, place, profile, search
from yolo_attn.errors import UserError
from yolo_attn.host import register, unregister
from yolo_attn.registry import LayerSpec, build, get_layer, list_layers, register_layer
from yolo_attn.version import __version__

__all__ = [
    "LayerSpec",
    "UserError",
    "__version__",
    "attention_maps",
    "build",
    "compare",
    "get_layer",
    "layers",
    "list_layers",
    "place",
    "profile",
    "register",
    "register_layer",
    "search",
    "unregister",
]

register()
