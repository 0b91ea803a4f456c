"""Parsing of single arguments of a study, given as text from the command line or as Python values."""

from __future__ import annotations

import ast
import contextlib
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph.placed_layers import split_outside_brackets
from yolo_attn.stats.groups import compile_pattern

__all__ = [
    "AUTO",
    "is_auto",
    "parse_controls",
    "parse_count",
    "parse_flag",
    "parse_groups",
    "parse_points",
    "parse_positive",
    "parse_required",
    "parse_seeds",
    "parse_text",
    "parse_threads",
    "parse_value",
    "parse_variants",
    "split_list",
]

AUTO = "auto"
_WORDS = {"true": True, "false": False, "none": None, "null": None}
_MAX_SEED = 2**31
_MAX_SEEDS = 1000
_MAX_COUNT = 100_000
_MAX_POINTS = 100
_MAX_THREADS = 256  # or the number of cores; PyTorch crashes if it cannot start its threads


def parse_value(value: object) -> object:
    """Return the Python value of a text: "0.01" is a number, "True" a bool, "SGD" remains text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    with contextlib.suppress(ValueError, SyntaxError):
        parsed: object = ast.literal_eval(text)
        return list(parsed) if isinstance(parsed, tuple) else parsed
    return text


def parse_required(key: str, value: object, example: object) -> str:
    """Return a text that must not be empty."""
    text = "" if value is None else str(value).strip()
    if not text:
        raise UserError(f"{key}= is empty; {key}={example} is an example")
    return text


def parse_text(settings: Mapping[str, object], key: str) -> str | None:
    """Return a text, None for an empty one."""
    value = settings.get(key)
    if value is None or str(value).strip().lower() in {"", "none", "null"}:
        return None
    return str(value).strip()


def parse_count(settings: Mapping[str, object], key: str, least: int = 1) -> int | None:
    """Return an integer of at least a number, None if it is not given."""
    parsed, largest = parse_value(settings.get(key)), max(os.cpu_count() or 1, _MAX_COUNT)
    if parsed is None:
        return None
    if isinstance(parsed, int) and not isinstance(parsed, bool) and least <= parsed <= largest:
        return parsed
    raise UserError(f"{key}={settings[key]}: must be an integer from {least} to {largest}")


def parse_threads(settings: Mapping[str, object], key: str) -> int | None:
    """Return a number of threads or processes, None if it is not given."""
    count, largest = parse_count(settings, key), max(os.cpu_count() or 1, _MAX_THREADS)
    if count is not None and count > largest:
        raise UserError(f"{key}={settings[key]}: must be an integer from 1 to {largest}")
    return count


def parse_positive(settings: Mapping[str, object], key: str) -> float | None:
    """Return a positive finite number, None if it is not given."""
    parsed = parse_value(settings.get(key))
    if parsed is None:
        return None
    if isinstance(parsed, (int, float)) and not isinstance(parsed, bool) and 0 < parsed < math.inf:
        return float(parsed)
    raise UserError(f"{key}={settings[key]}: must be a number above 0")


def parse_points(settings: Mapping[str, object], key: str) -> float | None:
    """Return a positive difference in points of a metric, which is at most 100; None if it is not given."""
    points = parse_positive(settings, key)
    if points is not None and points >= _MAX_POINTS:
        raise UserError(f"{key}={settings[key]}: must be a number of points below {_MAX_POINTS}")
    return points


def parse_groups(value: object) -> str | None:
    """Return how images are grouped: "folder", or a regular expression for their names; None without groups."""
    text = parse_text({"groups": value}, "groups")
    if text is None:
        return None
    compile_pattern(text)
    return text


def is_auto(seeds: object) -> bool:
    """Whether undecided arms get more seeds (`seeds=auto`)."""
    return isinstance(seeds, str) and seeds.strip().lower() == AUTO


def parse_flag(settings: Mapping[str, object], key: str) -> bool:
    """Return True or False, False if it is not given."""
    parsed = parse_value(settings.get(key, False))
    if not isinstance(parsed, bool):
        raise UserError(f"{key}={settings[key]}: must be True or False")
    return parsed


def parse_variants(value: object) -> tuple[str, ...]:
    """Return the variants, given as a list or as text with commas."""
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise UserError(f"variants={value}: must be a list, such as variants=SE@neck,CBAM@neck")
    names = [str(item).strip() for item in items]
    if not names or not all(names):
        raise UserError("variants= is empty or has an empty item; variants=SE@neck,CBAM@neck is an example")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"variants: {name} is listed twice; a variant is compared once")
    return tuple(names)


def split_list(text: str) -> list[str]:
    """Split a text at commas outside brackets: "SE@neck,X[a=1,b=2]@neck" has two items."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    return [item.strip().strip("'\"") for item in split_outside_brackets(inner, ",")]


def parse_controls(value: object, known: Collection[str]) -> tuple[str, ...]:
    """Return the controls, given as a list or as text with commas.

    Args:
        value: The value.
        known: Names of all controls.
    """
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise UserError(f"controls={value}: must be a list of {' and '.join(known)}")
    # YAML reads an unquoted null, which is the name of a control here, as None.
    names = ["null" if item is None else str(item).strip() for item in items]
    names = [name for name in names if name]
    for name in names:
        if name not in known:
            raise UserError(f"controls: unknown control '{name}'{did_you_mean(name, known)} ({', '.join(known)})")
        if names.count(name) > 1:
            raise UserError(f"controls: {name} is listed twice")
    return tuple(names)


def parse_seeds(value: object) -> tuple[int, ...]:
    """Return the seeds, given as a count or as a list."""
    parsed = parse_value(value)
    if isinstance(parsed, int) and not isinstance(parsed, bool):
        if parsed < 1:
            raise UserError(f"seeds={value}: at least 1; seeds=3 runs each arm with the seeds 0, 1 and 2")
        if parsed > _MAX_SEEDS:
            raise UserError(f"seeds={value}: at most {_MAX_SEEDS}; seeds={value}, (with a comma) runs that one seed")
        return tuple(range(parsed))
    if not isinstance(parsed, Sequence) or isinstance(parsed, str) or not parsed:
        raise UserError(f"seeds={value}: must be a count, a list, or auto, such as seeds=3 or seeds=0,1,2")
    seeds = []
    for seed in parsed:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _MAX_SEED:
            raise UserError(f"seeds={value}: {seed} is not a seed; seeds are integers from 0 to {_MAX_SEED - 1}")
        if seed in seeds:
            raise UserError(f"seeds={value}: {seed} is listed twice; the same seed gives the same run")
        seeds.append(seed)
    return tuple(seeds)
