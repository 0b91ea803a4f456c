"""Mistakes that a user can make, told in one line each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["RowError", "UserError", "counted", "did_you_mean", "one_line", "plain"]

# ECMA-48: CSI (colours, cursor), OSC (titles, links; ended by BEL or ST), the other escapes of two or three characters.
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")


class UserError(ValueError):
    """A mistake in what the user gave: the message names what is wrong, where, and the cure.

    The command line prints it as one line and exits with status 2.
    """


class RowError(UserError):
    """A mistake in one row of a model YAML, told as "row 5: fault".

    Args:
        row: Index of the row.
        fault: What is wrong with it, and the cure.
    """

    def __init__(self, row: int, fault: str) -> None:
        super().__init__(row, fault)
        self.row = row
        self.fault = fault

    def __str__(self) -> str:
        return f"row {self.row}: {self.fault}"


def one_line(error: BaseException) -> str:
    """Return what went wrong in one line."""
    text = plain(str(error)) or "no message"
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:500]


def plain(text: str) -> str:
    """Return a text in one line, without colour codes and other signs that steer a terminal."""
    shown = _ESCAPES.sub("", text)
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def counted(number: int, word: str) -> str:
    """Return "1 row" or "2 rows"."""
    return f"{number} {word}{'s' * (number != 1)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" when one of the known words is close to the given one, else "".

    Args:
        word: What the user wrote.
        known: The words that would have been right.
    """
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.7)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""
