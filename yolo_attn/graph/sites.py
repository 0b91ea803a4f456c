"""Sites: named places in a base where a layer can go.

`backbone.P3` is the last backbone row at stride 8, `backbone.end` the last backbone row, `neck.P4` the row at stride
16 that the head reads, `after:12` row 12. `backbone` and `neck` stand for all their levels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph.rows import ModelGraph

__all__ = ["list_sites", "resolve_sites"]


def list_sites(graph: ModelGraph, strides: Sequence[float | None]) -> dict[str, int]:
    """Return the named sites of a model, each with the row it follows.

    Args:
        graph: The model.
        strides: Stride of each row's output map relative to the image; None where the output is no single map.
    """
    sites: dict[str, int] = {}
    for level in range(1, 8):
        backbone = [i for i in range(min(graph.backbone_length, graph.head_index)) if strides[i] == 2**level]
        if backbone and level > 1:  # stride 2 is the stem: nothing stands there yet to attend to
            sites[f"backbone.P{level}"] = backbone[-1]
    if graph.backbone_length <= graph.head_index:
        sites["backbone.end"] = graph.backbone_length - 1
    for i in graph.rows[graph.head_index].sources:
        stride = strides[i]
        if stride is not None and stride >= 1 and float(stride).is_integer() and int(stride).bit_count() == 1:
            sites[f"neck.P{int(stride).bit_length() - 1}"] = i
    return sites


def resolve_sites(graph: ModelGraph, strides: Sequence[float | None], wanted: str) -> list[int]:
    """Return the rows that the wanted sites follow, in order, each once.

    Args:
        graph: The model.
        strides: As for `list_sites`.
        wanted: Sites with commas between them, such as "neck" or "backbone.P4,neck.P3".

    Raises:
        UserError: A site that this model does not have; the message lists those it has.
    """
    named = list_sites(graph, strides)
    rows: set[int] = set()
    for site in (s.strip() for s in wanted.split(",")):
        rows.update(_resolve_one(graph, named, site))
    return sorted(rows)


def _resolve_one(graph: ModelGraph, named: dict[str, int], site: str) -> list[int]:
    if site in named:
        return [named[site]]
    if site in ("backbone", "neck"):
        levels = [row for name, row in named.items() if re.fullmatch(rf"{site}\.P\d", name)]
        if levels:
            return levels
    if match := re.fullmatch(r"after:(\d+)", site):
        index = int(match[1])
        if index < graph.head_index:
            return [index]
        raise UserError(f"site {site!r}: this model's rows before the head are 0 to {graph.head_index - 1}")
    groups = [g for g in ("backbone", "neck") if any(name.startswith(f"{g}.P") for name in named)]
    known = [*groups, *named, "after:<row>"]
    raise UserError(f"no site {site!r} in this model{did_you_mean(site, known)}; it has {', '.join(known)}")
