"""Place layers in a base at sites.

A new row shifts the indices after it, and the rows that read its input read the layer instead. A layer inside a block
moves no row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from yolo_attn.graph.blocks import put_inside
from yolo_attn.graph.rows import ModelGraph
from yolo_attn.graph.sites import Site, SiteRows, Strides, resolve_sites

__all__ = ["Insertion", "insert_layer", "place"]


@dataclass(frozen=True)
class Insertion:
    """One layer inserted into a model, as a new row or inside the block of an existing row.

    Args:
        row: Index of the new row, or of the row with the block.
        follows: Index of the row it reads, or of that block, before the insertion.
        consumers: Number of rows that read it.
        block: Module of the row before, such as "C3k2", if the layer is inside its block; "" for a new row.
    """

    row: int
    follows: int
    consumers: int
    block: str = ""


def place(
    graph: ModelGraph, strides: Strides, layer: str, sites: Iterable[Site], options: dict[str, Any] | None = None
) -> list[Insertion]:
    """Place a layer at every site; the graph is changed in place.

    Args:
        graph: The model, without the layer.
        strides: Stride of each row's output relative to the image; None where the output is not a single map.
        layer: The layer's name.
        sites: The sites.
        options: The layer's options by name.

    Returns:
        The insertions, in order of rows.

    Raises:
        UserError: The model does not have a site, or a layer cannot go inside a row.
    """
    return insert_layer(graph, layer, resolve_sites(graph, strides, sites), options)


def insert_layer(
    graph: ModelGraph, layer: str, rows: SiteRows, options: dict[str, Any] | None = None
) -> list[Insertion]:
    """Insert a layer after and inside rows; the graph is changed in place.

    Args:
        graph: The model.
        layer: The layer's name.
        rows: The rows.
        options: The layer's options by name.

    Returns:
        The insertions, in order of rows.

    Raises:
        RowError: A layer cannot go inside a row.
    """
    blocks = {index: graph.rows[index].module for index in rows.inside}
    for index in rows.inside:
        put_inside(graph, index, layer, options or {})
    args = [dict(options)] if options else []
    new_rows = [graph.insert_after(index + shift, layer, args) for shift, index in enumerate(rows.after)]
    inserted = [
        Insertion(new, index, len(graph.consumers(new))) for new, index in zip(new_rows, rows.after, strict=True)
    ]
    for index, block in blocks.items():
        row = index + sum(after < index for after in rows.after)
        inserted.append(Insertion(row, index, len(graph.consumers(row)), block))
    return sorted(inserted, key=lambda insertion: insertion.row)
