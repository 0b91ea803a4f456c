"""Checks for errors in hand-made model YAMLs that build anyway, or fail with an unclear error.

A row inserted by hand shifts every index after it. If the indices are not updated, another network is built. If they
are, a skip connection may bypass the new layer, or no row may read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from yolo_attn.errors import RowError
from yolo_attn.graph.levels import continued_row, first_source, returns_levels
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row, check_row, written_rows

__all__ = [
    "Finding",
    "compare_with_base",
    "find_bypasses",
    "find_dead_rows",
    "find_head_problems",
    "find_malformed_rows",
]


@dataclass(frozen=True)
class Finding:
    """A likely error in a model YAML.

    Args:
        row: Index of the row; None for a problem outside the rows.
        message: The problem and the fix.
        file: The model YAML's path or the model's name; "" if unknown.
        line: Line in the file; None for something missing, or a model without a file.
    """

    row: int | None
    message: str
    file: str = ""
    line: int | None = None

    @property
    def text(self) -> str:
        """The problem with its row."""
        return self.message if self.row is None else f"row {self.row}: {self.message}"

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.text}" if where else self.text

    def found_in(self, file: str, lines: Mapping[int | str, int]) -> Finding:
        """Return the finding with its file and line.

        Args:
            file: The file's name.
            lines: From `line_numbers`; {} for a model without a file.
        """
        parts = self.message.split(": ")
        keys: list[int | str] = [": ".join(parts[:2]), parts[0]] if self.row is None else [self.row]
        return replace(self, file=file, line=next((lines[key] for key in keys if key in lines), None))


def find_malformed_rows(document: Mapping[str, Any]) -> list[Finding]:
    """Return all rows that are malformed or whose `from` is invalid, whereas building stops at the first.

    Raises:
        UserError: The document has no lists of rows.
    """
    findings = []
    for i, written in enumerate(written_rows(document)):
        try:
            check_row(i, written)
        except RowError as error:
            findings.append(Finding(error.row, error.problem))
    return findings


def find_dead_rows(graph: ModelGraph, unread_by_design: Sequence[str] = ()) -> list[Finding]:
    """Return the rows whose output does not reach the head.

    Args:
        graph: The model.
        unread_by_design: Modules whose output Ultralytics passes on without a `from`.
    """
    return [
        Finding(
            i,
            f"{graph.rows[i].module} is not read by any row and has no effect; "
            f"let a later row or the head read row {i}, or remove it",
        )
        for i in graph.dead_rows()
        if graph.rows[i].module not in unread_by_design
    ]


def find_bypasses(graph: ModelGraph, is_attention: Callable[[Row], bool]) -> list[Finding]:
    """Return the rows that read the input of an attention row instead of its output.

    Args:
        graph: The model.
        is_attention: Whether a row is an attention layer.
    """
    findings = []
    for i, row in enumerate(graph):
        source = first_source(graph, i)
        if not is_attention(row) or returns_levels(graph, i) or source == IMAGE:
            continue
        for consumer in graph.consumers(source):
            if consumer > i and not is_attention(graph.rows[consumer]) and i not in graph.rows[consumer].sources:
                module = graph.rows[consumer].module
                message = f"{module} reads row {source}, past {row.module} in row {i}"
                findings.append(Finding(consumer, f"{message}; let it read row {i}, unless this is intended"))
    return findings


def find_head_problems(graph: ModelGraph, strides: Sequence[float | None]) -> list[Finding]:
    """Return the problems with the maps that a detection head reads: their strides must increase."""
    head = graph.rows[graph.head_index]
    read = [strides[s] for s in head.sources if s != IMAGE]
    known = [s for s in read if s is not None]
    if len(known) < 2 or len(known) < len(read) or all(a < b for a, b in pairwise(known)):  # noqa: PLR2004
        return []
    shown = ", ".join(f"row {s} at stride {strides[s]:g}" for s in head.sources)
    fix = "each stride has to be larger than the one before, such as 8, 16, 32"
    return [Finding(graph.head_index, f"{head.module} reads {shown}; {fix}")]


def compare_with_base(
    graph: ModelGraph, base: ModelGraph, name: str, is_attention: Callable[[Row], bool]
) -> list[Finding]:
    """Return the rows that read another row than in the base that the model was made from.

    Args:
        graph: The model.
        base: A model with the same rows except for attention rows.
        name: The base's name, for messages.
        is_attention: Whether a row is an attention layer.
    """
    stock = [i for i, row in enumerate(graph) if not is_attention(row)]
    number = {i: n for n, i in enumerate(stock)}

    findings = []
    for n, i in enumerate(stock):
        row = graph.rows[i]
        for source, base_source in zip(row.sources, base.rows[n].sources, strict=False):
            if number.get(continued_row(graph, source, lambda one: one not in number), IMAGE) != base_source:
                reads = f"{row.module} reads row {source} ({graph.rows[source].module})"
                module, right = base.rows[base_source].module, stock[base_source]
                hint = f"in {name} it reads the {module} that is row {right} here"
                findings.append(Finding(i, f"{reads}; {hint}: was the index shifted?"))
    return findings
