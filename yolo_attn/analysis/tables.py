"""Tables to read."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["align"]


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
