"""Which row of one model is which row of another, when rows of ours stand between the stock rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row

__all__ = ["Fit", "align"]

Fit = Callable[[int, int], "int | None"]
"""Takes a row of the target and one of the source; returns how many tensors of the source's row fit into the target's,
or None when the two are not the same kind of layer or not all of them fit."""


def align(
    target: ModelGraph, source: ModelGraph, is_ours: Callable[[Row], bool], fit: Fit | None = None
) -> dict[int, int]:
    """Map row indices of the target to the rows of the source that are the same layer.

    Stock rows are counted without the rows of ours, and what is inside a block does not matter. Then:

    - When both models have the same sequence of stock modules, row n is row n.
    - When they differ, rows of the same number that fit belong together, as for the stock `load()`: a variant gets
      whatever its own base would get. Between them, and behind the last one, further rows are paired in order, so that
      as many tensors as possible arrive; a row is paired with one of another number only when all of it fits.
    - When this finds nothing beyond the rows of the same number, or none of those fits (as between two scales), row n
      is row n: what the stock `load()` does.

    Rows of ours are matched when they stand behind the same stock row and have the same name, so that a variant's own
    checkpoint, or another variant's, brings its attention layers along.

    Args:
        target: The model that receives.
        source: The model that gives.
        is_ours: Whether a row is one of our layers.
        fit: How well two stock rows fit; asked only when the sequences of stock modules differ. Without it rows of the
            same module fit.

    Returns:
        Target index to source index, for every row that has a counterpart.
    """
    rows = [i for i, row in enumerate(target) if not is_ours(row)]
    given = [i for i, row in enumerate(source) if not is_ours(row)]
    names = [block_of(target.rows[i].module) for i in rows]
    source_names = [block_of(source.rows[i].module) for i in given]

    def fit_by_number(a: int, b: int) -> int | None:
        if fit is not None:
            return fit(rows[a], given[b])
        return 1 if names[a] == source_names[b] else None

    numbers = range(min(len(rows), len(given)))
    pairs = {n: n for n in numbers}
    if names != source_names:
        pairs = _pair(len(rows), len(given), fit_by_number) or pairs
    mapping = {rows[a]: given[b] for a, b in pairs.items()}
    mapping.update(_match_ours(target, source, mapping, is_ours))
    return mapping


def _pair(length: int, source_length: int, fit: Fit) -> dict[int, int]:
    """Pair the rows of two different sequences; nothing when no rows but those of the same number have tensors to give.

    Args:
        length: How many rows the target has.
        source_length: How many rows the source has.
        fit: How well two rows fit, by their numbers.
    """
    kept = [n for n in range(min(length, source_length)) if fit(n, n)]
    if not kept:
        return {}  # models of two widths: what fits elsewhere, fits by chance
    pairs = {n: n for n in kept}
    ends = [(-1, -1), *((n, n) for n in kept), (length, source_length)]
    for (start, source_start), (stop, source_stop) in pairwise(ends):
        pairs.update(_heaviest(range(start + 1, stop), range(source_start + 1, source_stop), fit))
    return pairs if any(fit(a, b) for a, b in pairs.items() if a != b) else {}


def _heaviest(target: Sequence[int], source: Sequence[int], fit: Fit) -> dict[int, int]:
    """Pair rows in order so that the most tensors arrive, and of equal choices the most rows."""
    best: list[list[tuple[int, int]]] = [[(0, 0)] * (len(source) + 1) for _ in range(len(target) + 1)]
    fits = [[fit(a, b) for b in source] for a in target]
    for i in reversed(range(len(target))):
        for j in reversed(range(len(source))):
            paired, (tensors, rows) = fits[i][j], best[i + 1][j + 1]
            with_pair = (-1, -1) if paired is None else (tensors + paired, rows + 1)
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


def _match_ours(
    target: ModelGraph, source: ModelGraph, stock: dict[int, int], is_ours: Callable[[Row], bool]
) -> dict[int, int]:
    """Pair our rows that follow the same stock row, by name and in order."""
    followers = _our_followers(source, is_ours)
    mapping = {}
    for before, rows in _our_followers(target, is_ours).items():
        if before not in stock and before != IMAGE:
            continue
        candidates = followers.get(stock.get(before, IMAGE), [])
        names = ([target.rows[i].module for i in rows], [source.rows[i].module for i in candidates])
        blocks = SequenceMatcher(None, *names, autojunk=False).get_matching_blocks()
        mapping.update({rows[m.a + k]: candidates[m.b + k] for m in blocks for k in range(m.size)})
    return mapping


def _our_followers(graph: ModelGraph, is_ours: Callable[[Row], bool]) -> dict[int, list[int]]:
    """Group the indices of our rows by the stock row (or the image) that stands before them."""
    groups: dict[int, list[int]] = {}
    before = IMAGE
    for i, row in enumerate(graph):
        if is_ours(row):
            groups.setdefault(before, []).append(i)
        else:
            before = i
    return groups
