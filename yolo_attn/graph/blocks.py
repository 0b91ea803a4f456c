"""`Block+Layer` and `Block+Layer+Layer`: rows whose module is a stock block with attention layers inside.

The row keeps the block's arguments. The layers' options follow them, in one mapping for each layer:
`[-1, 2, C3k2+EMA, [256, False, {groups: 8}]]`, `[-1, 2, C3k2+SE+CBAM, [256, False, {reduction: 8}, {}]]`. Without any
options there are no mappings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_attn.errors import RowError, UserError, counted
from yolo_attn.graph.rows import ModelGraph

__all__ = ["JOINT", "block_of", "layers_in", "put_inside", "split_args"]

JOINT = "+"
"""Separates block and layers in a module name."""


def block_of(module: str) -> str:
    """Return the block of a module name, without the layers inside: "C3k2" for "C3k2+EMA"."""
    return module.partition(JOINT)[0]


def layers_in(module: str) -> list[str]:
    """Return the layers inside the block of a module name, in order: ["SE", "CBAM"] for "C3k2+SE+CBAM"."""
    return module.split(JOINT)[1:]


def split_args(module: str, args: Sequence[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Split a row's arguments into those of the block and the options of each layer inside it.

    Args:
        module: The row's module.
        args: Its arguments.

    Raises:
        UserError: The number of mappings is neither 0 nor that of the layers.
    """
    layers = layers_in(module)
    own = len(args)
    while own and isinstance(args[own - 1], dict):
        own -= 1
    options: list[dict[str, Any]] = [dict(part) for part in args[own:]]
    if options and len(options) != len(layers):
        given = f"{counted(len(layers), 'layer')} and {counted(len(options), 'mapping')} of options"
        raise UserError(
            f"{module} has {given}; write one mapping for each layer, in order, such as {{}} for no options"
        )
    return list(args[:own]), options or [{} for _ in layers]


def put_inside(graph: ModelGraph, index: int, layer: str, options: dict[str, Any]) -> None:
    """Put a layer inside the block of a row, after those that it contains; no row is moved.

    Args:
        graph: The model, which is changed in place.
        index: The row.
        layer: The layer's name.
        options: The layer's options by name.

    Raises:
        RowError: The row is the head, or its options are not those of its layers.
    """
    row = graph.rows[index]
    if index == graph.head_index:
        raise RowError(index, f"{row.module} is the head; a layer goes inside a block before it")
    try:
        args, earlier = split_args(row.module, row.args)
    except UserError as error:
        raise RowError(index, str(error)) from error
    row.module = f"{row.module}{JOINT}{layer}"
    row.args = [*args, *earlier, dict(options)] if options or any(earlier) else args
