"""Tables for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from unicodedata import combining, east_asian_width

__all__ = ["align", "html_notes", "html_table"]


def align(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return lines of cells as text in aligned columns.

    Args:
        lines: The cells, the same number in each line.
        left: Indices of the left-aligned columns; the others are right-aligned.
    """
    widths = [max(_width(line[column]) for line in lines) for column in range(len(lines[0]))]

    def padded(column: int, cell: str) -> str:
        space = " " * (widths[column] - _width(cell))
        return cell + space if column in left else space + cell

    return "\n".join("  ".join(padded(column, cell) for column, cell in enumerate(line)).rstrip() for line in lines)


def _width(text: str) -> int:
    """Return the columns of a terminal that text takes: Chinese, Japanese and Korean characters take two."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def html_table(lines: Sequence[Sequence[str]], left: Sequence[int], notes: Sequence[str] = ()) -> str:
    """Return lines of cells as an HTML table with the first line as heading.

    Args:
        lines: The cells, the same number in each line.
        left: Indices of the left-aligned columns; the others are right-aligned.
        notes: Sentences below the table.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        sides = ("left" if column in left else "right" for column in range(len(cells)))
        shown = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(shown)}</tr>"

    head, *body = lines
    rows = "".join(row(cells, "td") for cells in body)
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{rows}</tbody></table>{html_notes(notes)}"


def html_notes(notes: Sequence[str]) -> str:
    """Return sentences as HTML, each in a line."""
    return "".join(f"<div>{escape(note)}</div>" for note in notes)
