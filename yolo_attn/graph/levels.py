"""Rows that return several maps, and the rows of `Level` that select one of them.

`[[16, 19, 22], 1, DyHead, []]` in row 23 returns a map for each row that it reads, and `[23, 1, Level, [0]]` is the
first of them. Every other row thus has one map, one stride and one width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolo_attn.errors import RowError
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row
from yolo_attn.system.files import as_yaml

__all__ = [
    "LEVEL",
    "continued_row",
    "find_level_problem",
    "first_source",
    "insert_levels",
    "level_source",
    "returns_levels",
]

LEVEL = "Level"
"""The module of a row that selects a map."""


def returns_levels(graph: ModelGraph, index: int) -> bool:
    """Return whether a row returns several maps: rows of `Level` read it."""
    return graph.rows[index].several and any(graph.rows[i].module == LEVEL for i in graph.consumers(index))


def level_source(graph: ModelGraph, index: int) -> int:
    """Return the row that a row of `Level` is derived from: the one with the same number among the levels."""
    row = graph.rows[index]
    return graph.rows[row.sources[0]].sources[int(row.args[0])]


def first_source(graph: ModelGraph, index: int) -> int:
    """Return the row whose map an inserted row continues: the first that it reads, or that of a level."""
    row = graph.rows[index]
    is_level = row.module == LEVEL and find_level_problem(graph, index) is None
    return level_source(graph, index) if is_level else row.sources[0]


def continued_row(graph: ModelGraph, index: int, is_inserted: Callable[[int], bool]) -> int:
    """Return the row, or the image, whose map a row continues through inserted rows; itself if it is none of them.

    Args:
        graph: The model.
        index: Index of the row.
        is_inserted: Whether the row of an index is inserted.
    """
    while index != IMAGE and is_inserted(index):
        index = first_source(graph, index)
    return index


def find_level_problem(graph: ModelGraph, index: int) -> RowError | None:
    """Return the problem with a row of `Level`, or with a row that reads several maps without it."""
    row = graph.rows[index]
    if row.module != LEVEL:
        found = [s for s in row.sources if s >= 0 and graph.rows[s].module != LEVEL and returns_levels(graph, s)]
        problem = (
            f"{row.module} reads all maps of row {{}}; let it read a row of {LEVEL}, such as [{{}}, 1, {LEVEL}, [0]]"
        )
        return RowError(index, problem.format(found[0], found[0])) if found else None
    count = len(graph.rows[row.sources[0]].sources) if row.sources[0] >= 0 else 0
    given = row.args[0] if len(row.args) == 1 else None
    if row.several or row.repeats != 1 or isinstance(given, bool) or not isinstance(given, int):
        right = f"[{row.sources[0]}, 1, {LEVEL}, [0]]"
        return RowError(index, f"{LEVEL} reads one row and takes the number of its map: write {right}")
    if not 0 <= given < count:
        return RowError(index, f"{LEVEL}: row {row.sources[0]} returns {count} maps, so {as_yaml(given)} is not one")
    return None


def insert_levels(graph: ModelGraph, module: str, args: list[Any]) -> int:
    """Insert a row that reads all levels of the head, and a row of `Level` for each, which the head then reads.

    Returns:
        The index of the new row.
    """
    new, head = graph.head_index, graph.rows[graph.head_index]
    sources = list(head.sources)
    rows = [Row(sources, 1, module, args, [False] * len(sources), several=True)]
    rows += [Row([new], 1, LEVEL, [n], [False], several=False) for n in range(len(sources))]
    graph.rows[new:new] = rows
    head.sources = [new + 1 + n for n in range(len(sources))]
    head.relative = [False] * len(sources)
    return new
