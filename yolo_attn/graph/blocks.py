"""`Block+Layer`: rows whose module is a stock block with an attention layer inside.

The row keeps the block's arguments. The layer's options follow them in one mapping:
`[-1, 2, C3k2+EMA, [256, False, {groups: 8}]]`.
"""

from __future__ import annotations

from typing import Any

from yolo_attn.errors import RowError
from yolo_attn.graph.rows import ModelGraph

__all__ = ["JOINT", "block_of", "layer_in", "put_inside", "split_args"]

JOINT = "+"
"""Separates block and layer in a module name."""


def block_of(module: str) -> str:
    """Return the block of a module name, without a layer inside: "C3k2" for "C3k2+EMA"."""
    return module.partition(JOINT)[0]


def layer_in(module: str) -> str:
    """Return the layer inside the block of a module name: "EMA" for "C3k2+EMA", "" for "C3k2"."""
    return module.partition(JOINT)[2]


def split_args(args: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Split a row's arguments into those of the block and the options of the layer inside it."""
    if args and isinstance(args[-1], dict):
        return args[:-1], dict(args[-1])
    return list(args), {}


def put_inside(graph: ModelGraph, index: int, layer: str, options: dict[str, Any]) -> None:
    """Put a layer inside the block of a row; the graph is changed in place without moving a row.

    Raises:
        RowError: The block already contains a layer, or the row is the head.
    """
    row = graph.rows[index]
    if layer_in(row.module):
        raise RowError(index, f"{row.module} already contains a layer, and a block takes one")
    if index == graph.head_index:
        raise RowError(index, f"{row.module} is the head; a layer goes inside a block before it")
    row.module = f"{row.module}{JOINT}{layer}"
    row.args = [*row.args, dict(options)] if options else row.args
