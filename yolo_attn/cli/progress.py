"""A progress counter on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ["progress_counter"]

_WIDTH = 40


def progress_counter(word: str) -> Callable[[int, int], None] | None:
    """Return a function that shows (done, total) on a terminal, or None if stderr is not a terminal.

    Args:
        word: The noun for the items, such as "image".
    """
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r{word} {done}/{total}" if done < total else "\r" + _WIDTH * " " + "\r")
        sys.stderr.flush()

    return show
