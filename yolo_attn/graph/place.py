"""Put layers into a base at sites: indices shift, readers follow; inside a block, nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yolo_attn.graph.blocks import block_of, put_inside
from yolo_attn.graph.rows import ModelGraph
from yolo_attn.graph.sites import resolve_inside, resolve_sites, split_sites

__all__ = ["Insertion", "place"]


@dataclass(frozen=True)
class Insertion:
    """One layer put into a model: a new row, or inside the block of a row that was there.

    Args:
        row: Index of the new row, or of the row with the block.
        follows: Index of the row it reads, or of that block, in the model it was put into.
        readers: How many rows read it.
        block: Name of the block that it stands inside; "" for a new row.
    """

    row: int
    follows: int
    readers: int
    block: str = ""


def place(
    graph: ModelGraph, strides: Sequence[float | None], layer: str, sites: str, options: dict[str, Any] | None = None
) -> list[Insertion]:
    """Put a layer at every wanted site; the graph is changed in place.

    Args:
        graph: The model, without the layer.
        strides: Stride of each row's output; None where it is no single map.
        layer: The layer's name.
        sites: Sites with commas between them.
        options: The layer's options by name.

    Returns:
        What was put in, in order of rows.

    Raises:
        UserError: A site that the model does not have, or a block that has a layer inside already.
    """
    behind, inside = split_sites(sites)
    follows, blocks = resolve_sites(graph, strides, behind), resolve_inside(graph, inside)
    for index in blocks:
        put_inside(graph, index, layer, options or {})
    args = [dict(options)] if options else []
    new_rows = [graph.insert_after(index + shift, layer, args) for shift, index in enumerate(follows)]
    placed = [Insertion(new, index, len(graph.readers(new))) for new, index in zip(new_rows, follows, strict=True)]
    for index in blocks:
        row = index + sum(f < index for f in follows)
        placed.append(Insertion(row, index, len(graph.readers(row)), block_of(graph.rows[row].module)))
    return sorted(placed, key=lambda insertion: insertion.row)
