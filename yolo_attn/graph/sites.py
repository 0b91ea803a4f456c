"""Sites: named places in a base where a layer can go.

Behind a row: `backbone.P3` is the last backbone row at stride 8, `backbone.end` the last backbone row, `neck.P4` the
row at stride 16 that the head reads, `after:12` row 12. `backbone` and `neck` stand for all their levels.

Inside a block: `inside:C3k2` is every row of that block, `inside:backbone.C3k2` and `inside:neck.C3k2` those before
and after the end of the backbone, `inside:8` the block that is row 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.rows import ModelGraph

__all__ = ["INSIDE", "list_blocks", "list_sites", "resolve_inside", "resolve_sites", "split_sites"]

INSIDE = "inside:"


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


def list_blocks(graph: ModelGraph) -> dict[str, list[int]]:
    """Return the blocks of a model that a layer can go inside, each with its rows."""
    blocks: dict[str, list[int]] = {}
    for i, row in enumerate(graph.rows[: graph.head_index]):
        if "." not in row.module:  # a bare operation, such as nn.Upsample
            blocks.setdefault(block_of(row.module), []).append(i)
    return blocks


def split_sites(wanted: str) -> tuple[list[str], list[str]]:
    """Return the sites of a comma list: those behind rows, and those inside blocks."""
    sites = [site.strip() for site in wanted.split(",")]
    return [s for s in sites if not s.startswith(INSIDE)], [s for s in sites if s.startswith(INSIDE)]


def resolve_sites(graph: ModelGraph, strides: Sequence[float | None], wanted: str | Iterable[str]) -> list[int]:
    """Return the rows that the wanted sites follow, in order, each once.

    Args:
        graph: The model.
        strides: As for `list_sites`.
        wanted: Sites behind rows, with commas between them, such as "neck" or "backbone.P4,neck.P3", or one by one.

    Raises:
        UserError: A site that this model does not have; the message lists those it has.
    """
    named = list_sites(graph, strides)
    sites = wanted.split(",") if isinstance(wanted, str) else wanted
    rows: set[int] = set()
    for site in sites:
        rows.update(_resolve_one(graph, named, site.strip()))
    return sorted(rows)


def resolve_inside(graph: ModelGraph, wanted: Iterable[str]) -> list[int]:
    """Return the rows whose blocks the wanted sites mean, in order, each once.

    Args:
        graph: The model.
        wanted: Sites inside blocks, such as "inside:C3k2" or "inside:8".

    Raises:
        UserError: A block or row that this model does not have; the message lists the blocks it has.
    """
    rows: set[int] = set()
    for site in wanted:
        rows.update(_resolve_block(graph, site))
    return sorted(rows)


def _resolve_one(graph: ModelGraph, named: dict[str, int], site: str) -> list[int]:
    if site in named:
        return [named[site]]
    if site in ("backbone", "neck"):
        levels = [row for name, row in named.items() if re.fullmatch(rf"{site}\.P\d", name)]
        if levels:
            return levels
    if match := re.fullmatch(r"after:(\d+)", site):
        return [_row_before_head(graph, site, int(match[1]))]
    groups = [g for g in ("backbone", "neck") if any(name.startswith(f"{g}.P") for name in named)]
    known = [*groups, *named, "after:<row>", f"{INSIDE}<block>"]
    raise UserError(f"no site {site!r} in this model{did_you_mean(site, known)}; it has {', '.join(known)}")


def _resolve_block(graph: ModelGraph, site: str) -> list[int]:
    wanted = site.removeprefix(INSIDE).strip()
    if wanted.isdecimal():
        return [_row_before_head(graph, site, int(wanted))]
    section, dot, name = wanted.rpartition(".")
    blocks = list_blocks(graph)
    if name in blocks and section in ("", "backbone", "neck"):
        rows = [i for i in blocks[name] if not dot or (i < graph.backbone_length) == (section == "backbone")]
        if rows:
            return rows
    known = [*(f"{INSIDE}{block}" for block in blocks), f"{INSIDE}<row>"]
    hint = did_you_mean(site, known[:-1])
    raise UserError(f"no site {site!r} in this model{hint}; it has {', '.join(known)}")


def _row_before_head(graph: ModelGraph, site: str, index: int) -> int:
    if index >= graph.head_index:
        raise UserError(f"site {site!r}: this model's rows before the head are 0 to {graph.head_index - 1}")
    return index
