"""Numbers that a command or a recipe is given: what fits, said before anything runs.

Ultralytics checks the types of its arguments and the range of some. What it lets through becomes another value in
silence (`imgsz=0` trains at 32 pixels), a traceback (`batch=0` in `predict`), or a failed run of every arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yolo_attn.errors import UserError

__all__ = ["LARGEST_SIDE", "check_values", "is_whole"]

LARGEST_SIDE = 65536
"""Pixels of the longest side of an image; a square one of that side takes 50 GB."""

_SHOWN = 40  # characters of a value in a message


def is_whole(value: Any, least: int, most: float = float("inf")) -> bool:
    """Return True for a whole number within bounds, 3.0 included; True and False are no numbers."""
    number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return number and not isinstance(value, bool) and least <= value <= most


def check_values(values: Mapping[str, Any], mode: str = "train", where: str = "") -> None:
    """Raise UserError for a value that Ultralytics would let through and that fits no run.

    Args:
        values: Ultralytics' arguments by name, as Python values; those that are not checked here are passed over.
        mode: The verb that they are for.
        where: What to put before an error, such as "study.yaml, train: ".
    """
    for key, value in values.items():
        if key in _RULES and value is not None and (right := _RULES[key](value, mode)):
            text = str(value)
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            raise UserError(f"{where}{key}={shown}: use {right}")


def _side(value: Any, mode: str) -> str:
    sides = value if isinstance(value, (list, tuple)) else [value]
    return "" if all(is_whole(side, 1, LARGEST_SIDE) for side in sides) else f"a whole number from 1 to {LARGEST_SIDE}"


def _batch(value: Any, mode: str) -> str:
    if is_whole(value, 1):
        return ""
    if mode not in ("train", "tune"):
        return "a whole number of at least 1"
    if is_whole(value, -1, -1) or (isinstance(value, float) and 0 < value < 1):
        return ""
    return "a whole number of at least 1, -1 for what fits on the GPU, or a share of its memory, such as 0.7"


def _from(least: int) -> Callable[[Any, str], str]:
    return lambda value, mode: "" if is_whole(value, least) else f"a whole number of at least {least}"


def _numbers(example: str) -> Callable[[Any, str], str]:
    def check(value: Any, mode: str) -> str:
        numbers = value if isinstance(value, (list, tuple)) else [value]
        return (
            "" if all(is_whole(number, 0) for number in numbers) else f"whole numbers of at least 0, such as {example}"
        )

    return check


def _list(example: str) -> Callable[[Any, str], str]:
    numbers = _numbers(example)
    return lambda value, mode: (
        numbers(value, mode) if isinstance(value, (list, tuple)) else f"a list, such as {example}"
    )


_RULES: dict[str, Callable[[Any, str], str]] = {
    "imgsz": _side,
    "batch": _batch,
    # Late releases check these themselves; in early ones epochs=0 means 100.
    **dict.fromkeys(("epochs", "nbs", "max_det", "mask_ratio", "vid_stride"), _from(1)),
    **dict.fromkeys(("workers", "close_mosaic", "patience", "seed"), _from(0)),
    "classes": _numbers("classes=[0,2]"),
    "embed": _list("embed=[10]"),
    "iterations": _from(1),
}
