"""Layers to place in a base, written `Layer[option=value,...]@site,site` and joined with "+"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from yolo_attn.errors import UserError
from yolo_attn.graph.sites import Site, parse_sites
from yolo_attn.system.files import EXPONENT

__all__ = ["PlacedLayer", "is_placed_layer", "parse_placed_layers", "parse_value", "split_outside_brackets"]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_EXAMPLE = "write Layer@site or Layer[option=value]@site, such as CBAM@neck"
_PLACED_LAYER = re.compile(r"(?P<layer>\w+)(?:\[(?P<options>.*)\])?@(?P<sites>.*)")


class _Loader(yaml.SafeLoader):
    """YAML loader that reads 1e-4 as a number; YAML 1.1 requires 1.0e-4."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-.0123456789"))


@dataclass(frozen=True)
class PlacedLayer:
    """A layer and the sites where it is placed.

    Args:
        layer: The layer's name or an alias.
        sites: The sites.
        options: The layer's options by name.
    """

    layer: str
    sites: tuple[Site, ...]
    options: dict[str, Any]


def is_placed_layer(text: str) -> bool:
    """Return whether a text has the form of a placed layer."""
    match = _PLACED_LAYER.fullmatch(text)
    if not match or match["layer"][0].isdecimal():
        return False
    return bool(match["sites"].strip(", ")) and "@" not in match["sites"]


def parse_placed_layers(text: str) -> list[PlacedLayer]:
    """Parse `SE[reduction=8]@neck+CBAM@backbone.P5`.

    Raises:
        UserError: A part that is not Layer@site, or an option that is not option=value.
    """
    return [_parse_placed_layer(part) for part in split_outside_brackets(text, "+")]


def _parse_placed_layer(part: str) -> PlacedLayer:
    match = _PLACED_LAYER.fullmatch(part)
    if not match or not match["sites"].strip(", "):
        raise UserError(f"variant {part!r}: {_EXAMPLE}")
    options = {}
    for option in split_outside_brackets(match["options"], ",") if match["options"] else ():
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UserError(f"variant {part!r}: {option!r} is not option=value")
        options[key.strip()] = parse_value(value)
    return PlacedLayer(match["layer"], parse_sites(match["sites"]), options)


def parse_value(text: str) -> Any:
    """Parse an option's value as YAML, with 1e-4 as a number.

    Raises:
        UserError: The text is not a YAML value.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{text!r} is not a valid YAML value") from error


def split_outside_brackets(text: str, separator: str) -> Iterator[str]:
    """Split a text at the separators that are not inside brackets."""
    start, closing = 0, []
    for i, character in enumerate(text):
        if character in _BRACKETS:
            closing.append(_BRACKETS[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == separator and not closing:
            yield text[start:i]
            start = i + 1
    yield text[start:]
