"""User-facing errors and their formatting as one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["RowError", "UserError", "counted", "did_you_mean", "first_line", "one_line", "plain"]

# ECMA-48: CSI (colors, cursor), OSC (titles, links; ended by BEL or ST), other escapes of two or three characters.
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")
_MARKS = "❌\ufe0f "  # Ultralytics puts them before some messages


class UserError(ValueError):
    """Invalid input; the message states the problem, its location, and the fix.

    The command line prints the message as one line and exits with status 2.
    """


class RowError(UserError):
    """Invalid row of a model YAML, formatted as "row 5: problem".

    Args:
        row: Index of the row.
        problem: The problem and the fix.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(row, problem)
        self.row = row
        self.problem = problem

    def __str__(self) -> str:
        return f"row {self.row}: {self.problem}"


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line, after its class name unless it is a `UserError`."""
    text = plain(str(error)) or "no message"
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:500]


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an exception's message, or its class name if the message is empty."""
    lines = (plain(line).lstrip(_MARKS) for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def plain(text: str) -> str:
    """Return text in one line, without terminal escape sequences and unprintable characters."""
    shown = _ESCAPES.sub("", text)
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def counted(number: int, word: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 row" or "1,200 rows".

    Args:
        number: The count.
        word: The noun.
        plural: Its plural if that is not formed with an s.
    """
    return f"{number:,} {word if number == 1 else plural or f'{word}s'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word closest to a given one, or "" if none is close.

    Args:
        word: The unknown word.
        known: The valid words.
    """
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.7)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""
