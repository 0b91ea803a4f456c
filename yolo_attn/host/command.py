"""Run Ultralytics commands in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ultralytics import cfg, utils

__all__ = ["run_stock"]


def run_stock(words: Sequence[str]) -> None:
    """Run `yolo WORDS`, which Ultralytics reads from the process's arguments."""
    with _arguments(["yolo", *words]):
        cfg.entrypoint("")


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Replace the content of every list that Ultralytics made from sys.argv."""
    lists = list({id(arguments): arguments for arguments in (sys.argv, cfg.ARGV, utils.ARGV)}.values())
    before = [list(arguments) for arguments in lists]
    for arguments in lists:
        arguments[:] = argv
    try:
        yield
    finally:
        for arguments, words in zip(lists, before, strict=True):
            arguments[:] = words
