"""Read and write model YAMLs in the style of Ultralytics' own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from yolo_attn.errors import UserError
from yolo_attn.graph.rows import SECTIONS, ModelGraph, written_rows
from yolo_attn.system.files import compose_yaml, read_text, read_yaml

__all__ = ["dump_model", "line_numbers", "read_model", "to_flow"]


def read_model(path: str | Path) -> dict[str, Any]:
    """Read a model YAML as leniently as Ultralytics, ignoring bytes that are not UTF-8.

    Raises:
        UserError: The file is missing, not text, not YAML (with line and column) or not a mapping with lists of rows.
    """
    document = read_yaml(path, lenient=True)
    if not isinstance(document, dict) or "backbone" not in document or "head" not in document:
        raise UserError(f"{path}: not a model YAML: it has no backbone and head")
    try:
        written_rows(document)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return document


def line_numbers(path: str | Path) -> dict[int | str, int]:
    """Return the line numbers of a model YAML's rows, by index, and keys.

    A nested key has both names: the line `n: [0.5, 0.25, 1024]` of the scales is "scales: n".

    Args:
        path: A file that `read_model` can read.
    """
    lines: dict[int | str, int] = {}
    rows: dict[str, list[int]] = {section: [] for section in SECTIONS}
    for key, value in _entries(compose_yaml(read_text(path, lenient=True))):
        lines[key.value] = _line(key)
        lines.update({f"{key.value}: {inner.value}": _line(inner) for inner, _ in _entries(value)})
        if key.value in rows and isinstance(value, yaml.SequenceNode):
            rows[key.value] = [_line(row) for row in value.value]
    return lines | dict(enumerate([*rows["backbone"], *rows["head"]]))


def _entries(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the entries of a mapping, or [] for any other node."""
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def dump_model(document: dict[str, Any], header: str = "", notes: dict[int, str] | None = None) -> str:
    """Return a model YAML as text, with one row per line and its index as a comment.

    Args:
        document: The model YAML as a mapping.
        header: Comment lines at the top, without "#".
        notes: Comments for rows, by index.
    """
    graph = ModelGraph(document)
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    if lines:
        lines.append("")
    for key, value in graph.document.items():
        if isinstance(value, dict) and value:
            lines += [f"{to_flow(key)}:", *(f"  {to_flow(k)}: {to_flow(v)}" for k, v in value.items())]
        else:
            lines.append(f"{to_flow(key)}: {to_flow(value)}")
    written = graph.to_document()
    first = 0
    for section in ("backbone", "head"):
        lines += ["", f"{section}:", "  # [from, repeats, module, args]"]
        lines += [_row_line(first + i, row, (notes or {}).get(first + i, "")) for i, row in enumerate(written[section])]
        first += len(written[section])
    return "\n".join(lines) + "\n"


def _row_line(index: int, row: list[Any], note: str) -> str:
    return f"  - {to_flow(row)} # {index}{' ' + note if note else ''}"


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes booleans as Ultralytics does."""


_Dumper.add_representer(bool, lambda d, value: d.represent_scalar("tag:yaml.org,2002:bool", str(value)))


def to_flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
