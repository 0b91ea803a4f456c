"""Layers to place in a base, written `Layer[option=value,...]@site,site` and joined with "+".

A layer without sites has those of the next one, `SE+CBAM@neck`: the two follow one another at each site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from yolo_attn.errors import UserError
from yolo_attn.graph.sites import Site, parse_sites
from yolo_attn.system.files import EXPONENT

__all__ = [
    "PlacedLayer",
    "are_placed_layers",
    "parse_layer",
    "parse_placed_layers",
    "parse_value",
    "split_outside_brackets",
]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_EXAMPLE = "write Layer@site or Layer[option=value]@site, such as CBAM@neck"
_PLACED_LAYER = re.compile(r"(?P<layer>\w+)(?:\[(?P<options>.*)\])?(?:@(?P<sites>.*))?")


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


def are_placed_layers(parts: Sequence[str]) -> bool:
    """Return whether texts have the form of placed layers, of which the last has sites."""
    matches = [_PLACED_LAYER.fullmatch(part) for part in parts]
    if not all(match and not match["layer"][0].isdecimal() and "@" not in (match["sites"] or "") for match in matches):
        return False
    sites = [match["sites"] for match in matches if match]
    return bool(sites) and sites[-1] is not None and all(text is None or text.strip(", ") for text in sites)


def parse_placed_layers(text: str) -> list[PlacedLayer]:
    """Parse `SE[reduction=8]@neck+CBAM@backbone.P5`, and `SE+CBAM@neck` as `SE@neck+CBAM@neck`.

    Raises:
        UserError: A part that is not Layer@site, or an option that is not option=value or is given twice.
    """
    placed: list[PlacedLayer] = []
    sites: tuple[Site, ...] | None = None
    for part in reversed(list(split_outside_brackets(text, "+"))):
        match = _PLACED_LAYER.fullmatch(part)
        written = match["sites"] if match else None
        if match is None or (written is None and sites is None) or (written is not None and not written.strip(", ")):
            raise UserError(f"variant {part!r}: {_EXAMPLE}")
        sites = sites if written is None else parse_sites(written)
        placed.insert(0, PlacedLayer(match["layer"], sites or (), _parse_options(part, match["options"])))
    return placed


def parse_layer(text: str) -> PlacedLayer:
    """Parse `SE[reduction=8]`, a layer without sites.

    Raises:
        UserError: The text is not a layer, or an option is not option=value or is given twice.
    """
    match = _PLACED_LAYER.fullmatch(text)
    if match is None or match["sites"] is not None:
        raise UserError(f"layer {text!r}: write Layer or Layer[option=value], such as SE[reduction=8]")
    return PlacedLayer(match["layer"], (), _parse_options(text, match["options"]))


def _parse_options(part: str, text: str | None) -> dict[str, Any]:
    """Parse the options of one layer, `reduction=8,init=identity`."""
    options: dict[str, Any] = {}
    for option in split_outside_brackets(text, ",") if text else ():
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UserError(f"variant {part!r}: {option!r} is not option=value")
        if key.strip() in options:
            raise UserError(f"variant {part!r}: {key.strip()} is given twice; write it once")
        options[key.strip()] = parse_value(value)
    return options


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
