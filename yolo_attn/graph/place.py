"""Place layers in a base at sites.

A new row shifts the indices after it, and the rows that read its input read the layer instead. A layer inside a block
or in the place of a row moves no row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from yolo_attn.errors import RowError, UserError
from yolo_attn.graph.blocks import put_inside
from yolo_attn.graph.levels import insert_levels
from yolo_attn.graph.rows import ModelGraph, Row
from yolo_attn.graph.sites import Site, SiteRows, Strides, resolve_sites
from yolo_attn.system.files import as_yaml

__all__ = ["CONV", "Insertion", "conv_options", "insert_layer", "place"]

CONV = "Conv"
"""The stock module that a layer can replace."""
_CONV_DEFAULTS = {"out_channels": None, "kernel_size": 1, "stride": 1}  # of its first arguments, in their order


@dataclass(frozen=True)
class Insertion:
    """One layer inserted into a model: a new row, in the place of a row, or inside the block of an existing row.

    Args:
        row: Index of the layer's row, or of the row with the block.
        follows: Index of the row that it reads, replaces or is inside of, before the insertion.
        consumers: Number of rows that read it.
        block: Module of the row before, such as "C3k2", if the layer is inside its block; "" for a new row.
        replaced: Name of the module that it replaces, or "".
        levels: Number of rows of `Level` that follow it, one for each of its maps.
    """

    row: int
    follows: int
    consumers: int
    block: str = ""
    replaced: str = ""
    levels: int = 0

    @property
    def new(self) -> bool:
        """Whether it is a new row."""
        return not (self.block or self.replaced)


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
        UserError: The model does not have a site, a layer cannot go inside a row, or a row cannot be replaced.
    """
    return insert_layer(graph, layer, resolve_sites(graph, strides, sites), options)


def insert_layer(
    graph: ModelGraph, layer: str, rows: SiteRows, options: dict[str, Any] | None = None
) -> list[Insertion]:
    """Insert a layer after, inside and in the place of rows; the graph is changed in place.

    Args:
        graph: The model.
        layer: The layer's name.
        rows: The rows.
        options: The layer's options by name.

    Returns:
        The insertions, in order of rows.

    Raises:
        RowError: A layer cannot go inside a row, or a row cannot be replaced.
    """
    blocks = {index: graph.rows[index].module for index in rows.inside}
    for index in rows.inside:
        put_inside(graph, index, layer, options or {})
    for index in rows.replaced:
        _replace(graph, index, layer, options or {})
    args = [dict(options)] if options else []
    new_rows = [graph.insert_after(index + shift, layer, args) for shift, index in enumerate(rows.after)]
    inserted = [
        Insertion(new, index, len(graph.consumers(new))) for new, index in zip(new_rows, rows.after, strict=True)
    ]
    for index in (*rows.inside, *rows.replaced):
        row = index + sum(after < index for after in rows.after)
        replaced = index in rows.replaced
        block = "" if replaced else blocks[index]
        inserted.append(Insertion(row, index, len(graph.consumers(row)), block, CONV if replaced else ""))
    for head in rows.head:
        new = insert_levels(graph, layer, args)
        inserted.append(Insertion(new, head, levels=len(graph.rows[new].sources), consumers=len(graph.consumers(new))))
    return sorted(inserted, key=lambda insertion: insertion.row)


def _replace(graph: ModelGraph, index: int, layer: str, options: dict[str, Any]) -> None:
    """Replace a row of `Conv` by a layer of the same width, kernel size and stride.

    Another kernel size follows those of the row: `[256, 3, 2, {kernel_size: 5}]`.

    Args:
        graph: The model, which is changed in place.
        index: The row.
        layer: The layer's name.
        options: The layer's options by name.
    """
    row = graph.rows[index]
    if row.module != CONV:
        rows = ", ".join(str(i) for i, other in enumerate(graph) if other.module == CONV) or "none"
        raise RowError(index, f"{row.module} cannot be replaced by {layer}; the rows of {CONV} are {rows}")
    if not 1 <= len(row.args) <= len(_CONV_DEFAULTS):
        problem = f"{CONV} with {as_yaml(row.args)} has more than a width, a kernel size and a stride"
        raise RowError(index, f"{problem}; {layer} cannot take its place, write the row by hand")
    own = conv_options(row)
    for name in ("out_channels", "stride"):
        if name in options:
            problem = f"{name}={as_yaml(options[name])}, but row {index} has {as_yaml(own[name])}"
            raise UserError(f"{layer}: {problem}, which its consumers need; omit {name}")
    width = own.pop("out_channels")
    if options.get("kernel_size", own["kernel_size"]) == own["kernel_size"]:
        row.module, row.args = layer, [width, {**own, **options}]
    else:
        row.module, row.args = layer, [width, *own.values(), dict(options)]


def conv_options(row: Row) -> dict[str, Any]:
    """Return the width, kernel size and stride of a row of `Conv`, by the names of these options in layers."""
    return {**_CONV_DEFAULTS, **dict(zip(_CONV_DEFAULTS, row.args, strict=False))}
