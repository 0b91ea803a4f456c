"""Parsing of a command's words: `key=value`, `--key value`, flags and integers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.host.values import LARGEST_SIDE

__all__ = ["parse_flag", "parse_format", "parse_integer", "parse_keys", "parse_share", "require_keys", "without_dashes"]

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_FORMATS = ("text", "json")


def without_dashes(words: Sequence[str]) -> list[str]:
    """Return words with `--key value` and `--key=value` as key=value, and `--key` alone as key=True."""
    converted: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.match(r"--\w", word):
            converted.append(word)
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            # A value may contain "=", such as yolo11n.yaml+SE[reduction=8]@neck.
            has_value = bool(rest) and not rest[0].startswith("--") and not re.match(r"[A-Za-z_]\w*=", rest[0])
            value = rest.pop(0) if has_value else "True"
        converted.append(f"{key.replace('-', '_')}={value}")
    return converted


def parse_keys(words: Sequence[str], known: Sequence[str] | None = None) -> dict[str, str]:
    """Parse key=value words.

    Args:
        words: The words.
        known: The valid keys; None if the caller checks them.

    Raises:
        UserError: A word is not key=value, a key is given twice, or a key is unknown.
    """
    keys: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            hint = f"; did you mean {word}=...?" if word in (known or ()) else ""
            raise UserError(f"{word!r} is not key=value{hint}")
        if known is not None and key not in known:
            raise UserError(f"unknown key {key!r}{did_you_mean(key, known) or '; known: ' + ', '.join(known)}")
        if key in keys:
            raise UserError(f"{key} is given twice ({keys[key]!r} and {value!r})")
        keys[key] = value
    return keys


def require_keys(command: str, keys: Mapping[str, str], required: Sequence[str], example: str) -> None:
    """Raise UserError if a required key is missing or empty.

    Args:
        command: The command's name.
        keys: The keys given.
        required: The keys that must have a value.
        example: A complete command, without "yolo-attn".
    """
    for key in required:
        if not keys.get(key):
            raise UserError(f"{command} requires {key}=; for example: yolo-attn {example}")


def parse_flag(keys: Mapping[str, str], key: str) -> bool:
    """Return the value of a key that is True or False; False if it is not given."""
    value = keys.get(key, "False").lower()
    if value not in _FLAGS:
        raise UserError(f"{key}={keys[key]}: must be True or False")
    return _FLAGS[value]


def parse_integer(keys: Mapping[str, str], key: str, default: int, most: int = LARGEST_SIDE) -> int:
    """Return the integer value of a key, from 1 to a maximum.

    Args:
        keys: The keys given.
        key: The key.
        default: The value if the key is not given.
        most: The largest valid value.
    """
    text = keys.get(key)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise UserError(f"{key}={text[:40]}: use an integer from 1 to {most}")
    return int(text)


def parse_share(keys: Mapping[str, str], key: str, default: float) -> float:
    """Return the value of a key that is a number from 0 to 1."""
    text = keys.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{key}={text[:40]}: use a number from 0 to 1")
    return value


def parse_format(keys: Mapping[str, str]) -> str:
    """Return the output format: "text" or "json"."""
    chosen = keys.get("format", _FORMATS[0])
    if chosen not in _FORMATS:
        raise UserError(f"format={chosen!r}: use text or json")
    return chosen
