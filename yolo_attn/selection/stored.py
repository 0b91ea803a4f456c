"""Reading and writing `search.json`."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.selection.files import RESULTS
from yolo_attn.selection.records import SCHEMA, SearchRecord
from yolo_attn.system.files import as_json, plain_value, read_json, write_atomically

__all__ = ["read_record", "to_json", "write_record"]

_AGAIN = "delete it, and the same command writes it again from the runs"
_LARGEST = 2**53  # integers up to it are exact as floating-point numbers


def to_json(record: SearchRecord) -> dict[str, object]:
    """Return the content of `search.json`."""
    return {"schema": SCHEMA, **typing.cast("dict[str, object]", plain_value(asdict(record)))}


def write_record(folder: Path, record: SearchRecord) -> None:
    """Write `search.json`.

    Raises:
        UserError: The disk is full or cannot be written.
    """
    write_atomically(folder / RESULTS, as_json(to_json(record)))


def read_record(folder: Path) -> SearchRecord | None:
    """Return the stored results of a search, None without any.

    Raises:
        UserError: They are damaged, or of another version.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except UserError:
        raise UserError(f"{path}: damaged; {_AGAIN}") from None
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: schema {content.get('schema')}, this yolo-attn reads {SCHEMA}; use the one that wrote it"
        )
    try:
        return typing.cast("SearchRecord", _read(SearchRecord, {k: v for k, v in content.items() if k != "schema"}))
    except (TypeError, ValueError) as problem:
        raise UserError(f"{path}: damaged ({problem}); {_AGAIN}") from None


def _read(kind: Any, value: object) -> Any:
    """Return a JSON value as a value of an annotated type.

    Raises:
        TypeError: It is of another type.
    """
    if is_dataclass(kind):
        return _read_record(kind, value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _read(arguments[0], value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in _checked(list, value))
    if kind in (int, float):
        return kind(_number(kind, value))
    return _checked(dict if origin is not None else kind, value)


def _read_record(kind: Any, value: object) -> Any:
    content, types_of = _checked(dict, value), typing.get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if unknown := content.keys() - names:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    if absent := [name for name in missing if name not in content]:
        raise ValueError(f"{absent[0]!r} is missing")
    return kind(**{name: _read(types_of[name], item) for name, item in content.items()})


def _number(kind: Any, value: object) -> Any:
    number = _checked(kind if kind is int else (int, float), value)
    if not abs(number) <= _LARGEST:  # not a number is not smaller either
        raise ValueError(f"the number {str(number)[:40]} is out of range")
    return number


def _checked(kind: Any, value: object) -> Any:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise TypeError(f"{str(value)[:40]!r} is not of type {getattr(kind, '__name__', 'number')}")
    return value
