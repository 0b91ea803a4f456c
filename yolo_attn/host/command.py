"""Run a stock `yolo` command in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ultralytics import cfg, utils

from yolo_attn.errors import UserError, did_you_mean

__all__ = ["read_words", "run_stock"]

BARE_FLAGS = ("half", "int8", "end2end", "nms")
ACCEPTED_BESIDE_THE_DEFAULTS = ("augmentations", "save_dir", "session")


def read_words(words: Sequence[str]) -> list[str]:
    """Return a command's words as `key=value` and bare ones, every key a known one.

    Raises:
        UserError: A key or word that `yolo` would not understand.
    """
    merged: list[str] = cfg.merge_equals_args(list(words))
    known = (*cfg.DEFAULT_CFG_DICT, *ACCEPTED_BESIDE_THE_DEFAULTS)
    for word in merged:
        key, equals, _ = word.removeprefix("--").partition("=")
        if equals and key not in known and not _was_known(key):
            raise UserError(f"unknown key {key!r}{did_you_mean(key, known) or '; yolo-attn cfg lists them'}")
        if not equals and key not in (*cfg.TASKS, *cfg.MODES, *known, *BARE_FLAGS):
            raise UserError(f"{word!r} is not key=value{did_you_mean(key, (*cfg.TASKS, *cfg.MODES))}")
    return merged


def _was_known(key: str) -> bool:
    """Whether Ultralytics still takes a key of earlier versions."""
    current: dict[str, str] = cfg._handle_deprecation({key: "1"})
    return current != {key: "1"}


def run_stock(words: Sequence[str]) -> None:
    """Run `yolo WORDS`; Ultralytics reads them, and the program's name, from the process's arguments."""
    with _arguments(["yolo", *words]):
        cfg.entrypoint("")


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Let every list that Ultralytics took from sys.argv hold these words."""
    lists = list({id(held): held for held in (sys.argv, cfg.ARGV, utils.ARGV)}.values())
    before = [list(held) for held in lists]
    for held in lists:
        held[:] = argv
    try:
        yield
    finally:
        for held, words in zip(lists, before, strict=True):
            held[:] = words
