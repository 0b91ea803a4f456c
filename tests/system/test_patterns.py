"""Regular expressions are matched within a time limit, in a process that ends itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from yolo_attn.system import patterns
from yolo_attn.system.patterns import find_all


def test_parts_that_match() -> None:
    assert find_all(r"(a\d)?_", ["xa1_1", "_", "b", "\udc80_é"]) == ["a1", "", None, ""]
    assert find_all(r"[é\n]+", ["né\n", "x"]) == ["é\n", None]
    assert find_all("a", []) == []


def test_a_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=r"longer than 0\.2 seconds"):
        find_all("(a+)+$", ["a" * 60 + "!"])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.stdin.read(); sys.stdout.write('[1'); raise MemoryError", "MemoryError"),
        ("import os, sys; sys.stdin.read(); os._exit(3)", "exit status 3"),
    ],
)
def test_another_failure_is_not_reported_as_a_slow_pattern(
    program: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "_PROGRAM", program)
    with pytest.raises(ChildProcessError, match=f"has failed: {words}$"):
        find_all("a", ["a"])


def test_the_process_ends_itself() -> None:
    """Nobody ends it after a kill of the process that started it."""
    content = json.dumps([0.2, "(a+)+$", ["a" * 60 + "!"]])
    command = [sys.executable, "-I", "-S", "-c", patterns._PROGRAM]
    ended = subprocess.run(command, input=content, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
