"""Commands as text that the user's shell reads back as the same words."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

__all__ = ["join_words", "quote_word"]

_IS_WINDOWS = os.name == "nt"


def quote_word(word: str) -> str:
    """Return a word with the quotes that it needs; those of Windows are double, which cmd.exe reads too."""
    return subprocess.list2cmdline([word]) if _IS_WINDOWS else shlex.quote(word)


def join_words(words: Sequence[str]) -> str:
    """Return a command of some words."""
    return " ".join(map(quote_word, words))
