"""Mistakes in a hand-made model YAML that build without an error, or with a puzzling one.

A row put in by hand moves every index behind it. Where the numbers were not changed with it, the network still builds,
and is another one; where they were, a skip connection may read past the new layer, or nobody read it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from yolo_attn.errors import RowError
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row, check_row

__all__ = ["Finding", "compare_with_base", "find_bypasses", "find_dead_rows", "find_head_faults", "find_malformed_rows"]


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    Args:
        row: Index of the row; None for what is wrong with the file, beside its rows.
        message: What is wrong, and the fix.
        file: The model YAML, or the name that stands for it; "" where nobody has said.
        line: Where in the file; None where it stands in no line, as what is missing, or a layer of a shorthand.
    """

    row: int | None
    message: str
    file: str = ""
    line: int | None = None

    @property
    def text(self) -> str:
        """What is wrong, with its row."""
        return self.message if self.row is None else f"row {self.row}: {self.message}"

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.text}" if where else self.text

    def found_in(self, file: str, lines: Mapping[int | str, int]) -> Finding:
        """Return the finding with its file and line.

        Args:
            file: The file's name.
            lines: From `line_numbers`; {} for what is no file.
        """
        parts = self.message.split(": ")
        keys: list[int | str] = [": ".join(parts[:2]), parts[0]] if self.row is None else [self.row]
        return replace(self, file=file, line=next((lines[key] for key in keys if key in lines), None))


def find_malformed_rows(document: Mapping[str, Any]) -> list[Finding]:
    """Return the rows that are no rows, dangle or point forward: all of them, where building stops at the first."""
    findings = []
    for i, written in enumerate([*(document.get("backbone") or []), *(document.get("head") or [])]):
        try:
            check_row(i, written)
        except RowError as error:
            findings.append(Finding(error.row, error.problem))
    return findings


def find_dead_rows(graph: ModelGraph, unread_by_design: Sequence[str] = ()) -> list[Finding]:
    """Return the rows whose output reaches no one.

    Args:
        graph: The model.
        unread_by_design: Modules whose output the host hands on by itself.
    """
    return [
        Finding(
            i,
            f"{graph.rows[i].module} is read by nobody, so it would do nothing; "
            f"let a later row or the head read row {i}, or remove it",
        )
        for i in graph.dead_rows()
        if graph.rows[i].module not in unread_by_design
    ]


def find_bypasses(graph: ModelGraph, is_ours: Callable[[Row], bool]) -> list[Finding]:
    """Return the rows that read what a layer of ours attends to, and not the layer."""
    findings = []
    for i, row in enumerate(graph):
        if not is_ours(row) or row.sources[0] == IMAGE:
            continue
        source = row.sources[0]
        for reader in graph.consumers(source):
            if reader > i and not is_ours(graph.rows[reader]) and i not in graph.rows[reader].sources:
                module = graph.rows[reader].module
                cure = f"let it read row {i}, unless that is meant"
                findings.append(Finding(reader, f"{module} reads row {source}, past {row.module} in row {i}; {cure}"))
    return findings


def find_head_faults(graph: ModelGraph, strides: Sequence[float | None]) -> list[Finding]:
    """Return what is wrong with the maps that a detection head reads: each has to be coarser than the one before."""
    head = graph.rows[graph.head_index]
    read = [strides[s] for s in head.sources if s != IMAGE]
    known = [s for s in read if s is not None]
    if len(known) < 2 or len(known) < len(read) or all(a < b for a, b in pairwise(known)):  # noqa: PLR2004
        return []
    shown = ", ".join(f"row {s} at stride {strides[s]:g}" for s in head.sources)
    cure = "each has to be coarser than the one before, such as 8, 16, 32"
    return [Finding(graph.head_index, f"{head.module} reads {shown}; {cure}")]


def compare_with_base(graph: ModelGraph, base: ModelGraph, name: str, is_ours: Callable[[Row], bool]) -> list[Finding]:
    """Return the rows that read another row than they do in the base that the model was made from.

    Args:
        graph: The model.
        base: A model with the same rows, ours left out.
        name: The base's name, for messages.
        is_ours: Whether a row is one of our layers.
    """
    stock = [i for i, row in enumerate(graph) if not is_ours(row)]
    place = {i: n for n, i in enumerate(stock)}

    def through(source: int) -> int:
        """Follow our layers back to the stock row that they attend to."""
        while source != IMAGE and source not in place:
            source = graph.rows[source].sources[0]
        return IMAGE if source == IMAGE else place[source]

    findings = []
    for n, i in enumerate(stock):
        row = graph.rows[i]
        for source, wanted in zip(row.sources, base.rows[n].sources, strict=False):
            if through(source) != wanted:
                right = stock[wanted]
                cure = f"in {name} it reads the {base.rows[wanted].module} that is row {right} here"
                reads = f"{row.module} reads row {source} ({graph.rows[source].module})"
                findings.append(Finding(i, f"{reads}; {cure}: was the index shifted?"))
    return findings
