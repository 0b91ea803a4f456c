"""A model YAML as data: rows, sites, placement. No torch here."""

from __future__ import annotations

from yolo_attn.graph.align import align
from yolo_attn.graph.blocks import block_of, layer_in
from yolo_attn.graph.document import dump_model, line_numbers, read_model
from yolo_attn.graph.place import Insertion, place
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row, check_row
from yolo_attn.graph.sites import list_blocks, list_sites, resolve_sites

__all__ = [
    "IMAGE",
    "Insertion",
    "ModelGraph",
    "Row",
    "align",
    "block_of",
    "check_row",
    "dump_model",
    "layer_in",
    "line_numbers",
    "list_blocks",
    "list_sites",
    "place",
    "read_model",
    "resolve_sites",
]
