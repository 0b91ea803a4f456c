"""Commands as text."""

from __future__ import annotations

import shlex

import pytest

from yolo_attn.system import shell
from yolo_attn.system.shell import join_words, quote_word

WORDS = ["yolo-attn", "train", "model=my runs/last.pt", "variants=SE[init=identity]@neck", "a'b"]


def test_a_shell_reads_the_words_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_IS_WINDOWS", False)
    assert shlex.split(join_words(WORDS)) == WORDS


def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_IS_WINDOWS", True)
    assert quote_word(r"C:\runs\last.pt") == r"C:\runs\last.pt"
    assert quote_word(r"model=C:\my runs\last.pt") == r'"model=C:\my runs\last.pt"'
