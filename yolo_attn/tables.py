"""Tables to read, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["align", "html_table"]


def align(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return lines of cells as text in columns, numbers to the right.

    Args:
        lines: The cells, as many in each line.
        left: The columns that stand to the left.
    """
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def html_table(lines: Sequence[Sequence[str]], left: Sequence[int], notes: Sequence[str] = ()) -> str:
    """Return lines of cells as a table for a notebook, the first line as its heading.

    Args:
        lines: The cells, as many in each line.
        left: The columns that are set to the left; numbers are set to the right.
        notes: Sentences below it.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        sides = ("left" if column in left else "right" for column in range(len(cells)))
        shown = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(shown)}</tr>"

    head, *body = lines
    rows = "".join(row(cells, "td") for cells in body)
    below = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{rows}</tbody></table>{below}"
