"""Align the rows of two models that may have inserted rows, such as attention layers, between their stock rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row

__all__ = ["Fit", "Overlap", "align"]

Fit = Callable[[int, int], "int | None"]
"""Takes a row of the target and one of the source. Returns the number of tensors of the source row that fit the target
row, or None if the rows are different kinds of layers or not all tensors fit."""
Overlap = Callable[[int, int], int]
"""Takes a row of the target and one of the source. Returns the number of their tensors with equal names and shapes."""


def align(
    target: ModelGraph,
    source: ModelGraph,
    is_inserted: Callable[[Row], bool],
    fit: Fit | None = None,
    is_replacement: Callable[[Row], bool] = lambda row: False,
    *,
    overlap: Overlap = lambda row, given: 0,
) -> dict[int, int]:
    """Map row indices of the target to the rows of the source that are the same layer.

    Stock rows are numbered without the inserted rows, and layers inside blocks are ignored:

    - If both models have the same sequence of stock modules, row n is row n.
    - If the sequences differ, rows of the same number that fit are paired, as in the stock `load()`: a variant gets
      what its base would get. Between these rows and after the last one, more rows are paired in order, so that as many
      tensors as possible are transferred. Rows of different numbers are paired only if all their tensors fit; rows of
      the same number also if some do.
    - If this pairs only rows of the same number, or no row of the same number fits (as between two scales), row n is
      row n, as in the stock `load()`.

    A replacement is numbered like the stock row in whose place it is, and can be in that of any. It is paired with a
    row of the same module alone.

    Inserted rows are paired by name if they follow the same stock row. The checkpoint of a variant therefore also
    provides its attention layers.

    Args:
        target: The model that receives weights.
        source: The model that provides them.
        is_inserted: Whether a row is not a stock row.
        fit: Counts the tensors of two stock rows that fit; called only if the sequences of stock modules differ. By
            default rows of the same module fit.
        is_replacement: Whether a row is in the place of a stock row.
        overlap: Counts the tensors of two stock rows that the stock `load()` copies if they have the same number.

    Returns:
        Target index to source index, for every row that has a counterpart.
    """
    rows = [i for i, row in enumerate(target) if not is_inserted(row)]
    source_rows = [i for i, row in enumerate(source) if not is_inserted(row)]
    names = [block_of(target.rows[i].module) for i in rows]
    source_names = [block_of(source.rows[i].module) for i in source_rows]
    replaced = {n for n, i in enumerate(rows) if is_replacement(target.rows[i])}
    replaced |= {n for n, i in enumerate(source_rows) if is_replacement(source.rows[i])}

    def fit_by_number(a: int, b: int) -> int | None:
        if fit is not None:
            return fit(rows[a], source_rows[b])
        return 1 if names[a] == source_names[b] else None

    def overlap_by_number(n: int) -> int:
        return overlap(rows[n], source_rows[n])

    numbers = range(min(len(rows), len(source_rows)))
    pairs = {n: n for n in numbers}
    same_length = len(rows) == len(source_rows)
    if not same_length or any(names[n] != source_names[n] for n in numbers if n not in replaced):
        pairs = _pair(len(rows), len(source_rows), fit_by_number, overlap_by_number) or pairs
    mapping = {rows[a]: source_rows[b] for a, b in pairs.items()}
    mapping.update(_pair_inserted(target, source, mapping, is_inserted))
    return {i: j for i, j in mapping.items() if _is_same_layer(target.rows[i], source.rows[j], is_replacement)}


def _is_same_layer(row: Row, source: Row, is_replacement: Callable[[Row], bool]) -> bool:
    """Return whether a pair of rows shares tensors: a replacement shares none with the row that it replaces."""
    return row.module == source.module or not (is_replacement(row) or is_replacement(source))


def _pair(length: int, source_length: int, fit: Fit, overlap: Callable[[int], int]) -> dict[int, int]:
    """Pair the rows of two different sequences; return {} if only rows of the same number can be paired.

    Args:
        length: Number of rows of the target.
        source_length: Number of rows of the source.
        fit: As for `align`, by the numbers of the rows.
        overlap: Likewise, for the two rows of a number.
    """
    kept = [n for n in range(min(length, source_length)) if fit(n, n)]
    if not kept:
        return {}  # models of two widths: other rows fit only by chance
    pairs = {n: n for n in kept}
    ends = [(-1, -1), *((n, n) for n in kept), (length, source_length)]
    for (first, source_first), (last, source_last) in pairwise(ends):
        between = range(first + 1, last), range(source_first + 1, source_last)
        pairs.update(_best_pairs(*between, fit, overlap))
    return pairs if any(fit(a, b) for a, b in pairs.items() if a != b) else {}


def _best_pairs(
    target: Sequence[int], source: Sequence[int], fit: Fit, overlap: Callable[[int], int]
) -> dict[int, int]:
    """Pair rows in order with the largest number of fitting tensors, and among equal choices of rows that fit."""

    def score(a: int, b: int) -> tuple[int, int]:
        """Return the tensors of a pair, and whether all fit; (-1, -1) if the rows cannot be paired."""
        tensors = fit(a, b)
        if tensors is not None:
            return tensors, 1
        shared = overlap(a) if a == b else 0
        return shared or -1, -1

    best: list[list[tuple[int, int]]] = [[(0, 0)] * (len(source) + 1) for _ in range(len(target) + 1)]
    for i in reversed(range(len(target))):
        for j in reversed(range(len(source))):
            tensors, rows = score(target[i], source[j])
            with_pair = (tensors + best[i + 1][j + 1][0], rows + best[i + 1][j + 1][1])
            best[i][j] = max(with_pair, best[i + 1][j], best[i][j + 1])
    pairs, i, j = {}, 0, 0
    while i < len(target) and j < len(source):
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs[target[i]] = source[j]
            i, j = i + 1, j + 1
    return pairs


def _pair_inserted(
    target: ModelGraph, source: ModelGraph, stock: dict[int, int], is_inserted: Callable[[Row], bool]
) -> dict[int, int]:
    """Pair inserted rows that follow the same stock row, by name and in order."""
    source_groups = _group_inserted(source, is_inserted)
    mapping = {}
    for before, rows in _group_inserted(target, is_inserted).items():
        if before not in stock and before != IMAGE:
            continue
        candidates = source_groups.get(stock.get(before, IMAGE), [])
        names = ([target.rows[i].module for i in rows], [source.rows[i].module for i in candidates])
        blocks = SequenceMatcher(None, *names, autojunk=False).get_matching_blocks()
        mapping.update({rows[m.a + k]: candidates[m.b + k] for m in blocks for k in range(m.size)})
    return mapping


def _group_inserted(graph: ModelGraph, is_inserted: Callable[[Row], bool]) -> dict[int, list[int]]:
    """Group the indices of inserted rows by the stock row, or the image, that precedes them."""
    groups: dict[int, list[int]] = {}
    before = IMAGE
    for i, row in enumerate(graph):
        if is_inserted(row):
            groups.setdefault(before, []).append(i)
        else:
            before = i
    return groups
