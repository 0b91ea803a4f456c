"""Results as a text table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.study.report.formats import columns, shorten
from yolo_attn.study.report.noise import noise_lines
from yolo_attn.study.report.notes import reading_notes, units_note, warnings
from yolo_attn.study.report.pairs import pair_lines
from yolo_attn.study.report.summary import ranked, summarize
from yolo_attn.study.results.records import StudyResults

__all__ = ["cells_and_notes", "text_table"]

_WIDTH = 120
_MIN_NAME = 16
_GAP = "  "


def text_table(study: StudyResults) -> str:
    """Return results as aligned text, followed by the notes needed to read them and the warnings."""
    rows, notes = cells_and_notes(study)
    numbers = [max(columns(row[index]) for row in rows) for index in range(1, len(rows[0]))]
    room = max(_MIN_NAME, _WIDTH - sum(numbers) - len(_GAP) * len(numbers))
    names = _fit([row[0] for row in rows], room)
    widths = [max(map(columns, names)), *numbers]
    lines = [_align([name, *row[1:]], widths) for name, row in zip(names, rows, strict=True)]
    return "\n".join([*lines, *notes])


def cells_and_notes(study: StudyResults) -> tuple[list[list[str]], list[str]]:
    """Return the cells of the table of results, its heading first, and the sentences below it."""
    study = ranked(study)
    table = summarize(study)
    cells = [[_printable(cell) for cell in row] for row in (table.heading, *table.rows)]
    notes = (
        units_note(study),
        *reading_notes(study),
        *pair_lines(study),
        *noise_lines(study),
        *warnings(study),
    )
    return cells, [_printable(note) for note in notes]


def _fit(names: Sequence[str], room: int) -> list[str]:
    """Shorten names that are too long for their column, unless two would become equal."""
    short = [shorten(name, room) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def _printable(text: str) -> str:
    """Return text without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Align names to the left and numbers to the right."""
    pads = [" " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)]
    cells = [row[0] + pads[0], *(pad + cell for pad, cell in zip(pads[1:], row[1:], strict=True))]
    return _GAP.join(cells).rstrip()
