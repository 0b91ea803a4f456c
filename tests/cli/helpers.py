"""Helpers that run commands."""

from __future__ import annotations

import pytest

from yolo_attn.cli import main

__all__ = ["refuse", "run"]


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command and return its exit status and its output."""
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def refuse(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command with invalid input and return its one-line message."""
    status, _, err = run(*words, capsys=capsys)
    assert status == 2, err
    lines = [line for line in err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]
