"""Model YAMLs as graphs of rows.

`[from, repeats, module, args]` rows refer to each other by number, so a row inserted by hand silently rewires the
network. In a `ModelGraph` every row has the absolute indices of the rows it reads. Inserting a row shifts the indices
and redirects the consumers, and the graph is written as an ordinary model YAML.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yolo_attn.errors import RowError, UserError
from yolo_attn.system.files import as_yaml

__all__ = ["IMAGE", "ROW_LENGTH", "SECTIONS", "ModelGraph", "Row", "check_row", "written_rows"]

IMAGE = -1
"""The source of the first row: the input image."""

SECTIONS = ("backbone", "head")
"""The keys of the lists of rows, in order."""

ROW_LENGTH = 4
"""Number of entries of a row: from, repeats, module, args."""


@dataclass
class Row:
    """One row of a model YAML.

    Args:
        sources: Absolute indices of the rows it reads; `IMAGE` for the input.
        repeats: Number of repetitions of the module, before depth scaling.
        module: Name of the module.
        args: The module's arguments as written.
        relative: For each source, whether it was written relative to the row (-1 for the row before).
        several: Whether `from` is a list.
    """

    sources: list[int]
    repeats: int
    module: str
    args: list[Any]
    relative: list[bool]
    several: bool


class ModelGraph:
    """The rows of a model YAML, backbone and head in one sequence.

    Args:
        document: The model YAML as a mapping, which is not changed.

    Raises:
        UserError: It is not a model YAML, or a row is malformed, dangles or points forward.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        if not isinstance(document, dict):
            raise UserError("not a model YAML: it is not a mapping with backbone and head")
        written = written_rows(document)
        self.document = {k: copy.deepcopy(v) for k, v in document.items() if k not in SECTIONS}
        self.backbone_length = len(document["backbone"])
        self.rows = [check_row(i, row) for i, row in enumerate(written)]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def head_index(self) -> int:
        """Index of the last row: the detection head, classifier or decoder."""
        return len(self.rows) - 1

    def consumers(self, index: int) -> list[int]:
        """Return the indices of the rows that read row `index`."""
        return [i for i, row in enumerate(self.rows) if index in row.sources]

    def dead_rows(self) -> list[int]:
        """Return the rows whose output does not reach the head."""
        alive = {self.head_index}
        for i in reversed(range(len(self.rows))):
            if i in alive:
                alive.update(self.rows[i].sources)
        return [i for i in range(len(self.rows)) if i not in alive]

    def insert_after(self, index: int, module: str, args: list[Any], *, redirect: bool = True) -> int:
        """Insert a row directly after row `index`, which it reads.

        Args:
            index: The row to follow; `IMAGE` inserts the new row first.
            module: Name of the new row's module.
            args: Its arguments.
            redirect: Whether the consumers of row `index` read the new row instead. Otherwise no row reads the new
                row.

        Returns:
            The index of the new row.
        """
        if not IMAGE <= index < self.head_index:
            raise UserError(f"no row can follow row {index}; choose one from 0 to {self.head_index - 1}")
        new = index + 1
        for row in self.rows:
            row.sources = [s + (s >= new or (redirect and s == index)) for s in row.sources]
        self.rows.insert(new, Row([index], 1, module, copy.deepcopy(args), [True], several=False))
        self.backbone_length += new <= self.backbone_length
        return new

    def froms(self) -> list[int | list[int]]:
        """Return the `from` of each row: -1 if it was relative and the row still reads the one before it."""
        return [_written_from(i, row) for i, row in enumerate(self.rows)]

    def to_document(self) -> dict[str, Any]:
        """Return the model YAML as a mapping that the parser can read."""
        written = [
            [source, row.repeats, row.module, copy.deepcopy(row.args)]
            for source, row in zip(self.froms(), self.rows, strict=True)
        ]
        return {
            **copy.deepcopy(self.document),
            "backbone": written[: self.backbone_length],
            "head": written[self.backbone_length :],
        }


def written_rows(document: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a document as written.

    Raises:
        UserError: A section is empty or not a list.
    """
    for section in SECTIONS:
        if not isinstance(document.get(section), (list, tuple)) or not document[section]:
            raise UserError(f"not a model YAML: it has no list of rows {section!r}")
    return [row for section in SECTIONS for row in document[section]]


def check_row(index: int, written: Any) -> Row:
    """Check one row of a document and resolve its `from`.

    Raises:
        RowError: It is not a row, or its `from` is invalid or points forward.
    """
    if not isinstance(written, (list, tuple)) or len(written) != ROW_LENGTH:
        raise RowError(index, f"expected [from, repeats, module, args], got {as_yaml(written)}")
    source, repeats, module, args = written
    if not isinstance(module, str):
        raise RowError(index, f"the module must be a name, got {as_yaml(module)}")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise RowError(index, f"{module}: repeats must be a positive integer, got {as_yaml(repeats)}")
    if not isinstance(args, (list, tuple)):
        right = [] if args is None else [args]
        raise RowError(index, f"{module}: args must be a list; write {as_yaml(right)}, not {as_yaml(args)}")
    several = isinstance(source, (list, tuple))
    written_sources = list(source) if several else [source]
    if not written_sources:
        raise RowError(index, f"{module}: from is an empty list; write the rows that it reads, such as [-1, 6]")
    return Row(
        sources=[_resolve(index, module, s) for s in written_sources],
        repeats=repeats,
        module=module,
        args=list(args),
        relative=[isinstance(s, int) and s < 0 for s in written_sources],
        several=several,
    )


def _resolve(index: int, module: str, source: Any) -> int:
    """Resolve one entry of `from` to an absolute index."""
    if isinstance(source, bool) or not isinstance(source, int):
        raise RowError(index, f"{module}: from must be row numbers, got {as_yaml(source)}")
    absolute = index + source if source < 0 else source
    if index == 0 and source == -1:
        return IMAGE
    if absolute < 0:
        raise RowError(index, f"{module}: from {source} points to a row before the first")
    if absolute >= index:
        where = "to itself" if absolute == index else "forward"
        fix = f"a row can read rows 0 to {index - 1}, or -1 for the one before it"
        raise RowError(index, f"{module}: from {source} points {where}; {fix}")
    return absolute


def _written_from(index: int, row: Row) -> int | list[int]:
    """Return the `from` of a row as written in a YAML."""
    written = [
        -1 if s == IMAGE or (rel and s == index - 1) else s for s, rel in zip(row.sources, row.relative, strict=True)
    ]
    return written if row.several else written[0]
