"""Model YAMLs as data: references, rows, sites, placement and alignment, without torch and Ultralytics."""

from __future__ import annotations

from yolo_attn.graph.align import align
from yolo_attn.graph.blocks import block_of, layers_in
from yolo_attn.graph.document import dump_model, line_numbers, read_model
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.place import Insertion, insert_layer, place
from yolo_attn.graph.placed_layers import PlacedLayer
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row, check_row
from yolo_attn.graph.sites import Site, list_blocks, list_sites, parse_sites, resolve_sites

__all__ = [
    "IMAGE",
    "Insertion",
    "ModelGraph",
    "ModelKind",
    "ModelRef",
    "PlacedLayer",
    "Row",
    "Site",
    "align",
    "block_of",
    "check_row",
    "dump_model",
    "insert_layer",
    "layers_in",
    "line_numbers",
    "list_blocks",
    "list_sites",
    "parse_sites",
    "place",
    "read_model",
    "resolve_sites",
]
