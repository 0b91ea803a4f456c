"""Checks of numbers, lists and names among Ultralytics' arguments, before anything runs.

Ultralytics checks the types of its arguments and the range of some. Other invalid values are replaced silently
(`imgsz=0` trains at 32 pixels), end in a traceback (`batch=0` in `predict`), or let the runs of every arm fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yolo_attn.errors import UserError, did_you_mean

__all__ = ["LARGEST_SIDE", "check_optimizer", "check_values", "is_integer"]

LARGEST_SIDE = 65536
"""Largest side of an image in pixels; a square image of that side takes 50 GB."""

_OPTIMIZERS = frozenset({"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SGD"})  # of all supported releases
_SHOWN = 40  # characters of a value in a message


def is_integer(value: Any, least: int, most: float = float("inf")) -> bool:
    """Return True for an integer within bounds, including 3.0 and excluding True and False."""
    number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return number and not isinstance(value, bool) and least <= value <= most


def check_values(values: Mapping[str, Any], mode: str = "train", where: str = "") -> None:
    """Raise UserError for a value that Ultralytics accepts but that is invalid for any run.

    Args:
        values: Ultralytics' arguments by name, as Python values; arguments without a check are ignored.
        mode: The command that they are for.
        where: Prefix of the message, such as "study.yaml, train: ".
    """
    for key, value in values.items():
        if key in _RULES and value is not None and (expected := _RULES[key](value, mode)):
            text = str(value)
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            raise UserError(f"{where}{key}={shown}: use {expected}")


def check_optimizer(name: str, where: str = "") -> None:
    """Raise UserError for an optimizer that the installed Ultralytics does not know.

    Args:
        name: The optimizer's name.
        where: Prefix of the message.
    """
    if name in _OPTIMIZERS:
        return
    from yolo_attn.host.training_arguments import known_optimizers  # whose import and test take seconds

    known = known_optimizers(name)
    if known is not None:
        names = sorted(known - {"auto"})
        raise UserError(
            f"{where}optimizer={name}: unknown to Ultralytics{did_you_mean(name, names)} ({', '.join(names)})"
        )


def _check_side(value: Any, mode: str) -> str:
    sides = value if isinstance(value, (list, tuple)) else [value]
    return "" if all(is_integer(side, 1, LARGEST_SIDE) for side in sides) else f"an integer from 1 to {LARGEST_SIDE}"


def _check_batch(value: Any, mode: str) -> str:
    if is_integer(value, 1):
        return ""
    if mode not in ("train", "tune"):
        return "an integer of at least 1"
    if is_integer(value, -1, -1) or (isinstance(value, float) and 0 < value < 1):
        return ""
    return (
        "an integer of at least 1, -1 for the largest batch that fits on the GPU, or a share of its memory, such as 0.7"
    )


def _at_least(least: int) -> Callable[[Any, str], str]:
    return lambda value, mode: "" if is_integer(value, least) else f"an integer of at least {least}"


def _integers(example: str) -> Callable[[Any, str], str]:
    def check(value: Any, mode: str) -> str:
        numbers = value if isinstance(value, (list, tuple)) else [value]
        return "" if all(is_integer(number, 0) for number in numbers) else f"integers of at least 0, such as {example}"

    return check


def _integer_list(example: str) -> Callable[[Any, str], str]:
    check = _integers(example)
    return lambda value, mode: check(value, mode) if isinstance(value, (list, tuple)) else f"a list, such as {example}"


# Each rule takes a value and the command, and returns the description of valid values, or "" for a valid one.
_RULES: dict[str, Callable[[Any, str], str]] = {
    "imgsz": _check_side,
    "batch": _check_batch,
    # Late releases check these themselves; in early ones epochs=0 means 100.
    **dict.fromkeys(("epochs", "nbs", "max_det", "mask_ratio", "vid_stride"), _at_least(1)),
    **dict.fromkeys(("workers", "close_mosaic", "patience", "seed"), _at_least(0)),
    "classes": _integers("classes=[0,2]"),
    "embed": _integer_list("embed=[10]"),
    "iterations": _at_least(1),
}
