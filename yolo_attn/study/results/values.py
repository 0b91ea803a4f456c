"""Conversion between JSON values and typed values.

A value that is null, missing, not finite or of another type is read as None, or as an empty mapping or sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = [
    "as_boolean",
    "as_integer",
    "as_interval",
    "as_items",
    "as_mapping",
    "as_number",
    "as_numbers",
    "as_records",
    "as_text",
    "null_if_empty",
]

_T = TypeVar("_T")


# --- reading --------------------------------------------------------------------------------------------------------


def as_number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def as_integer(value: object) -> int | None:
    """Return a finite number as an integer, None for anything else."""
    number = as_number(value)
    return None if number is None else int(number)


def as_boolean(value: object) -> bool | None:
    """Return a boolean, None for anything else."""
    return value if isinstance(value, bool) else None


def as_text(value: object) -> str | None:
    """Return a value as text, None for null and for an empty string."""
    return None if value is None or value == "" else str(value)


def as_mapping(value: object) -> Mapping[str, object]:
    """Return a mapping, empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def as_items(value: object) -> Sequence[object]:
    """Return a list, empty for anything else."""
    return value if isinstance(value, (list, tuple)) else ()


def as_numbers(value: object) -> dict[str, float | None]:
    """Return a mapping of numbers, empty for anything else."""
    return {str(key): as_number(item) for key, item in as_mapping(value).items()}


def as_records(value: object, read: Callable[[object], _T]) -> dict[str, _T]:
    """Return a mapping with its values read by a function, empty for anything else."""
    return {str(key): read(item) for key, item in as_mapping(value).items()}


def as_interval(value: object) -> tuple[float, float] | None:
    """Return a pair of numbers, None for anything else."""
    ends = [end for item in as_items(value) if (end := as_number(item)) is not None]
    return (ends[0], ends[1]) if len(ends) == len(as_items(value)) == 2 else None  # noqa: PLR2004 (two ends)


# --- writing --------------------------------------------------------------------------------------------------------


def null_if_empty(stored: dict[str, object], *names: str) -> dict[str, object]:
    """Return fields with None in place of the named ones that are empty."""
    return stored | {name: stored[name] or None for name in names}
