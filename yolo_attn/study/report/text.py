"""Results in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from yolo_attn.study.report.notes import reading_notes, warnings
from yolo_attn.study.report.summary import summarize
from yolo_attn.study.report.view import StudyView

__all__ = ["cells_and_notes", "columns", "shorten", "text_table"]

_WIDTH = 120
_LEAST_NAME = 16
_GAP = "  "


def text_table(data: Mapping[str, Any]) -> str:
    """Return results as aligned text, with what must be known to read them and what was not as planned.

    Args:
        data: The content of `results.json`.
    """
    rows, notes = cells_and_notes(data)
    numbers = [max(columns(row[index]) for row in rows) for index in range(1, len(rows[0]))]
    room = max(_LEAST_NAME, _WIDTH - sum(numbers) - len(_GAP) * len(numbers))
    names = _fit([row[0] for row in rows], room)
    widths = [max(map(columns, names)), *numbers]
    lines = [_align([name, *row[1:]], widths) for name, row in zip(names, rows, strict=True)]
    return "\n".join([*lines, *notes])


def cells_and_notes(data: Mapping[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Return the cells of the table of results, its heading first, and the sentences below it.

    Args:
        data: The content of `results.json`.
    """
    study = StudyView.read(data)
    table = summarize(study)
    cells = [[_printable(cell) for cell in row] for row in (table.heading, *table.rows)]
    return cells, [_printable(note) for note in (*reading_notes(study), *warnings(study))]


def _fit(names: Sequence[str], room: int) -> list[str]:
    """Shorten names that are too long for their column, unless two would become the same."""
    short = [shorten(name, room) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def shorten(name: str, room: int) -> str:
    """Return a name with its middle left out where it takes more columns than there is room for."""
    if columns(name) <= room:
        return name
    front, back = (room - 1) - (room - 1) // 2, (room - 1) // 2
    return f"{_head(name, front)}…{_head(name[::-1], back)[::-1]}"


def _head(text: str, room: int) -> str:
    while columns(text) > room:
        text = text[:-1]
    return text


def columns(text: str) -> int:
    """Return how many columns a text takes: two for a Chinese character, none for a combining accent."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _printable(text: str) -> str:
    """Return text without characters that would steer the terminal or break the line."""
    return "".join(c if c.isprintable() else " " for c in text)


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Set names to the left and numbers to the right."""
    pads = [" " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)]
    cells = [row[0] + pads[0], *(pad + cell for pad, cell in zip(pads[1:], row[1:], strict=True))]
    return _GAP.join(cells).rstrip()
