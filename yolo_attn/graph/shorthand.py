"""Models by shorthand: `yolo11n.yaml+CBAM@neck` is a base with layers placed in it, without a file.

    BASE+Layer@sites                       yolo11n.yaml+CBAM@neck, best.pt+SE@neck.P4,neck.P5
    BASE+Layer[option=value,...]@sites     yolo11n.yaml+SE[reduction=8,init=identity]@neck
    BASE+Layer@sites+Layer@sites           yolo11n.yaml+SE@neck+CBAM@backbone.P5

A variant is also known by a name that ends like a model YAML's, `yolo11n+CBAM@neck.yaml`: whatever asks for a model
YAML takes it, and it says all that is needed to build the variant again in another process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.errors import UserError
from yolo_attn.files import EXPONENT, is_file, shortened

__all__ = ["PlacedLayer", "Shorthand", "base_of", "read_placed_layers", "read_shorthand", "read_value", "stem_of"]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_EXAMPLE = "write Layer@site or Layer[option=value]@site, such as CBAM@neck"
_FILE = re.compile(r"\.(yaml|yml|pt)\+")  # where the base ends
_PART = r"[A-Za-z_]\w*(?:\[[^@]*\])?@[^+@]+"
_NAME = re.compile(rf"(?P<base>[^@]+?)\+(?P<parts>{_PART}(?:\+{_PART})*)\.yaml")
_FOLDER = re.compile(r".*[/\\]")


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, as it is meant; YAML 1.1 wants 1.0e-4."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-.0123456789"))


@dataclass(frozen=True)
class PlacedLayer:
    """One layer to be placed.

    Args:
        layer: Its name or an alias.
        sites: Where, with commas between.
        options: Its options by name.
    """

    layer: str
    sites: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Shorthand:
    """A base with layers to be placed in it.

    Args:
        base: A model YAML's name or a checkpoint's.
        text: What follows the base and its "+", as written.
    """

    base: str
    text: str

    @property
    def name(self) -> str:
        """The variant's name in the form of a model YAML's: `yolo11n+CBAM@neck.yaml`."""
        return f"{self.base.removesuffix('.yaml')}+{self.text}.yaml"

    @property
    def layers(self) -> list[PlacedLayer]:
        """The layers to be placed, in order.

        Raises:
            UserError: Something that is not Layer@site.
        """
        return read_placed_layers(self.text)


def read_shorthand(name: str | Path) -> Shorthand | None:
    """Return what a model's name says if it is a shorthand; None for any other name, and for a file that exists."""
    text = str(name).strip()
    if "+" not in text or "://" in text or is_file(text):
        return None
    folder = match[0] if (match := _FOLDER.match(text)) else ""  # which may hold any sign
    name = text[len(folder) :]
    if match := _FILE.search(name):
        return Shorthand(folder + name[: match.end() - 1], name[match.end() :].removesuffix(".yaml"))
    if match := _NAME.fullmatch(name):
        return Shorthand(f"{folder}{match['base']}.yaml", match["parts"])
    return None


def base_of(model: str) -> str:
    """Return the file that a model starts from: best.pt for best.pt+SE@neck, and any other name as it is."""
    shorthand = read_shorthand(model)
    return shorthand.base if shorthand else model


def stem_of(model: str) -> str:
    """Return a model's name without folder and ending, such as "yolo11n", or "yolo11n-se" for yolo11n.yaml+SE@neck."""
    shorthand = read_shorthand(model)
    if shorthand is None:
        return Path(model).stem
    return shortened("-".join([Path(shorthand.base).stem, *(placed.layer.lower() for placed in shorthand.layers)]))


def read_placed_layers(text: str) -> list[PlacedLayer]:
    """Read `SE[reduction=8]@neck+CBAM@backbone.P5`.

    Raises:
        UserError: Something that is not Layer@site, or an option that is not option=value.
    """
    return [_read_placed_layer(part) for part in _split(text, "+")]


def _read_placed_layer(part: str) -> PlacedLayer:
    match = re.fullmatch(r"(?P<layer>\w+)(?:\[(?P<options>.*)\])?@(?P<sites>.*)", part)
    if not match or not match["sites"].strip(", "):
        raise UserError(f"variant {part!r}: {_EXAMPLE}")
    options = {}
    for option in _split(match["options"] or "", ",") if match["options"] else ():
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UserError(f"variant {part!r}: {option!r} is not option=value")
        options[key.strip()] = read_value(value)
    return PlacedLayer(match["layer"], match["sites"], options)


def read_value(text: str) -> Any:
    """Return an option's value as a YAML would read it, and 1e-4 as the number that it is.

    Raises:
        UserError: The text is no YAML value.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{text!r} is not a value that a YAML can hold") from error


def _split(text: str, separator: str) -> Iterator[str]:
    """Split at the separators that stand outside of brackets."""
    start, closing = 0, []
    for i, sign in enumerate(text):
        if sign in _BRACKETS:
            closing.append(_BRACKETS[sign])
        elif closing and sign == closing[-1]:
            closing.pop()
        elif sign == separator and not closing:
            yield text[start:i]
            start = i + 1
    yield text[start:]
