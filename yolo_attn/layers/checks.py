"""Checks of layer arguments, with messages that name the layer, the argument, its value and the valid values.

The first argument of each check is the layer. A subclass of a layer is reported by its own name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from yolo_attn.system.files import as_yaml

__all__ = [
    "check",
    "check_at_least_one",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_odd",
    "check_odd_list",
    "check_positive",
    "is_positive_integer",
]


def check(layer: nn.Module, condition: bool, argument: str, value: Any, valid: str) -> None:
    """Raise ValueError unless a condition is true.

    Args:
        layer: The layer, named by its class in the message.
        condition: Whether the value is valid.
        argument: Name of the argument.
        value: Its value, printed as in a YAML file.
        valid: Description of valid values, which follows "use".

    Raises:
        ValueError: "Layer: argument=value; use valid".
    """
    if not condition:
        raise ValueError(f"{type(layer).__name__}: {argument}={as_yaml(value)}; use {valid}")


def check_choice(layer: nn.Module, argument: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError unless the value is one of the choices, and of its type: 4.0 is not a size of 4."""
    choices = tuple(choices)
    known = any(value == choice and type(value) in (type(choice), int) for choice in choices)
    check(layer, known, argument, value, " or ".join(map(as_yaml, choices)))


def check_positive(layer: nn.Module, **values: float) -> None:
    """Raise ValueError for the first value that is not a number above zero."""
    for argument, value in values.items():
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
        check(layer, good, argument, value, "a number above 0")


def check_at_least_one(layer: nn.Module, **values: float) -> None:
    """Raise ValueError for the first value that is not a number of at least 1."""
    for argument, value in values.items():
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and 1 <= value < math.inf
        check(layer, good, argument, value, "a number of at least 1")


def check_integer(layer: nn.Module, **values: int) -> None:
    """Raise ValueError for the first value that is not a positive integer."""
    for argument, value in values.items():
        check(layer, is_positive_integer(value), argument, value, "a positive integer")


def check_odd(layer: nn.Module, **values: int) -> None:
    """Raise ValueError for the first kernel size that is not odd (an even one would shift the map)."""
    for argument, value in values.items():
        check(layer, _is_odd(value), argument, value, "an odd integer, such as 3 or 7")


def check_odd_list(layer: nn.Module, example: Sequence[int], **values: Sequence[int]) -> None:
    """Raise ValueError for the first value that is not a list of odd kernel sizes; the message has the example."""
    for argument, value in values.items():
        good = isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_odd, value))
        check(layer, good, argument, value, f"a list of odd integers, such as {as_yaml(example)}")


def check_flag(layer: nn.Module, **values: bool) -> None:
    """Raise ValueError for the first value that is not true or false."""
    for argument, value in values.items():
        check(layer, isinstance(value, bool), argument, value, "true or false")


def is_positive_integer(value: Any) -> bool:
    """Return whether a value is an integer of at least 1; True is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_odd(value: Any) -> bool:
    return is_positive_integer(value) and value % 2 == 1
