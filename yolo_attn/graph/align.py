"""Which row of one model is which row of another, when rows of ours stand between the stock rows."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher

from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.rows import ModelGraph, Row

__all__ = ["align"]


def align(target: ModelGraph, source: ModelGraph, is_ours: Callable[[Row], bool]) -> dict[int, int]:
    """Map row indices of the target to the rows of the source that are the same layer.

    Stock rows are matched in order, whatever layer is inside them; when both models have the same sequence of stock
    modules, one to one. Rows of ours are matched when they stand between the same stock rows and have the same name,
    so that a variant's own checkpoint, or another variant's, brings its attention layers along.

    Args:
        target: The model that receives.
        source: The model that gives.
        is_ours: Whether a row is one of our layers.

    Returns:
        Target index to source index, for every row that has a counterpart.
    """
    target_stock = [i for i, row in enumerate(target) if not is_ours(row)]
    source_stock = [i for i, row in enumerate(source) if not is_ours(row)]
    pairs = _match(
        [block_of(target.rows[i].module) for i in target_stock],
        [block_of(source.rows[i].module) for i in source_stock],
    )
    mapping = {target_stock[a]: source_stock[b] for a, b in pairs}
    if target.head_index not in mapping and source.head_index not in mapping.values():
        mapping[target.head_index] = source.head_index  # heads of two tasks: what both have goes by one name in them
    mapping.update(_match_ours(target, source, mapping, is_ours))
    return mapping


def _match(target: list[str], source: list[str]) -> list[tuple[int, int]]:
    """Pair equal entries of two sequences in order: all of them when the sequences are equal."""
    if target == source:
        return [(i, i) for i in range(len(target))]
    blocks = SequenceMatcher(None, target, source, autojunk=False).get_matching_blocks()
    return [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]


def _match_ours(
    target: ModelGraph, source: ModelGraph, stock: dict[int, int], is_ours: Callable[[Row], bool]
) -> dict[int, int]:
    """Pair our rows that follow the same stock row, by name and in order."""
    followers = _our_followers(source, is_ours)
    mapping = {}
    for before, rows in _our_followers(target, is_ours).items():
        candidates = followers.get(stock.get(before, before), [])
        names = ([target.rows[i].module for i in rows], [source.rows[i].module for i in candidates])
        mapping.update({rows[a]: candidates[b] for a, b in _match(*names)})
    return mapping


def _our_followers(graph: ModelGraph, is_ours: Callable[[Row], bool]) -> dict[int, list[int]]:
    """Group the indices of our rows by the stock row (or the image, -1) that stands before them."""
    groups: dict[int, list[int]] = {}
    before = -1
    for i, row in enumerate(graph):
        if is_ours(row):
            groups.setdefault(before, []).append(i)
        else:
            before = i
    return groups
