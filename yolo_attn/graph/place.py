"""Put layers into a base at sites: indices shift, readers follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yolo_attn.graph.rows import ModelGraph
from yolo_attn.graph.sites import resolve_sites

__all__ = ["Insertion", "place"]


@dataclass(frozen=True)
class Insertion:
    """One layer put into a model.

    Args:
        row: Index of the new row.
        follows: Index of the row it reads, in the model it was put into.
        readers: How many rows read it.
    """

    row: int
    follows: int
    readers: int


def place(
    graph: ModelGraph, strides: Sequence[float | None], layer: str, sites: str, options: dict[str, Any] | None = None
) -> list[Insertion]:
    """Put a layer behind every wanted site; the graph is changed in place.

    Args:
        graph: The model, without the layer.
        strides: Stride of each row's output; None where it is no single map.
        layer: The layer's name.
        sites: Sites with commas between them.
        options: The layer's options by name.

    Returns:
        What was inserted, in order of rows.

    Raises:
        UserError: A site that the model does not have.
    """
    args = [dict(options)] if options else []
    targets = resolve_sites(graph, strides, sites)
    new_rows = [graph.insert_after(index + shift, layer, args) for shift, index in enumerate(targets)]
    return [
        Insertion(row=new, follows=index, readers=len(graph.readers(new)))
        for new, index in zip(new_rows, targets, strict=True)
    ]
