"""Edits of the rows in a model YAML's text; comments, spaces, style and line ends around them are kept."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from yolo_attn.errors import RowError
from yolo_attn.graph.document import to_flow
from yolo_attn.graph.rows import ModelGraph

__all__ = ["Edited", "Hunk", "edit_rows"]

_NUMBER = re.compile(r"[^\S\n]*\]?[^\S\n]*#[^\S\n]*(\d+)\b")  # a comment that begins with the row's number


@dataclass(frozen=True)
class Hunk:
    """Neighboring lines that an edit changed; as text, a hunk of a unified diff without context.

    Args:
        line: Number of the first line in the old text.
        new_line: Its number in the new text.
        old: The lines in the old text.
        new: The lines in the new text.
        reason: The changed rows with the reasons.
    """

    line: int
    new_line: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        head = f"@@ -{_span(self.line, self.old)} +{_span(self.new_line, self.new)} @@ {self.reason}"
        return "\n".join([head, *(f"-{line}" for line in self.old), *(f"+{line}" for line in self.new)])


@dataclass(frozen=True)
class Edited:
    """An edited text.

    Args:
        text: The new text.
        hunks: The changed lines, in order.
    """

    text: str
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True)
class _Edit:
    row: int
    start: int
    end: int
    new: str


def edit_rows(text: str, after: ModelGraph, reasons: Mapping[int, Iterable[str]], numbers: Mapping[int, int]) -> Edited:
    """Return the text of a model YAML with changed rows.

    Args:
        text: The text.
        after: The graph of the text, with other sources, repeats, modules and arguments.
        reasons: The reasons of the changes, by row.
        numbers: Former numbers of rows, which are replaced where the comment of a row begins with them.

    Raises:
        RowError: A row to change is not written out but refers to another one (`*name`), or another one refers to it.
    """
    rows = _rows(text)
    before = ModelGraph(yaml.safe_load(text))
    nodes = {id(part): part for row in rows for part in _parts(row)}
    written = Counter(id(part) for row in rows for part in _parts(row))
    shared = [(nodes[part].start_mark.index, _end(nodes[part])) for part, count in written.items() if count > 1]
    edits: list[_Edit] = []
    for i, row in enumerate(rows):
        changed = [*_changes(i, row, before, after)]
        if any(edit.start < end and start < edit.end for edit in changed for start, end in shared):
            raise RowError(i, "the row shares a value with another one by a reference (*name); write both values")
        edits += changed
        comment = _NUMBER.match(text, _end(row))
        if comment and i != int(comment[1]) == numbers.get(i):
            edits.append(_Edit(i, comment.start(1), comment.end(1), str(i)))
    return _apply(text, edits, reasons)


def _changes(i: int, row: yaml.Node, before: ModelGraph, after: ModelGraph) -> Iterator[_Edit]:
    """Yield the edits of one row, without its comment."""
    old, new = before.rows[i], after.rows[i]
    written, *others = row.value
    nodes = written.value if old.several else [written]
    for node, was, source, relative in zip(nodes, old.sources, new.sources, old.relative, strict=True):
        if was != source:
            yield _replace(i, node, -1 if relative and source == i - 1 else source)
    values = ((old.repeats, new.repeats), (old.module, new.module), (old.args, new.args))
    for node, (former, value) in zip(others, values, strict=True):
        if former != value:
            yield _replace(i, node, value)


def _replace(row: int, node: yaml.Node, value: Any) -> _Edit:
    return _Edit(row, node.start_mark.index, _end(node), to_flow(value))


def _apply(text: str, edits: Iterable[_Edit], reasons: Mapping[int, Iterable[str]]) -> Edited:
    """Make edits; those that share a line are in one hunk."""
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text) + 1]
    groups: list[list[_Edit]] = []
    for edit in sorted(edits, key=lambda edit: edit.start):
        if groups and _line(starts, edit.start) <= _line(starts, groups[-1][-1].end):
            groups[-1].append(edit)
        else:
            groups.append([edit])
    parts: list[str] = []
    hunks: list[Hunk] = []
    done = more = 0
    for group in groups:
        first, last = _line(starts, group[0].start), _line(starts, group[-1].end)
        begin, end = starts[first], starts[last + 1] - 1  # without the line's end
        points = [begin, *(point for edit in group for point in (edit.start, edit.end)), end]
        kept = [text[a:b] for a, b in list(pairwise(points))[::2]]
        new = kept[0] + "".join(edit.new + rest for edit, rest in zip(group, kept[1:], strict=True))
        why = [
            f"row {i}: {', '.join(reasons.get(i, ['its number in the comment']))}"
            for i in dict.fromkeys(e.row for e in group)
        ]
        hunk = Hunk(first + 1, first + 1 + more, _lines(text[begin:end]), _lines(new), "; ".join(why))
        hunks.append(hunk)
        more += len(hunk.new) - len(hunk.old)
        parts += [text[done:begin], new]
        done = end
    return Edited("".join([*parts, text[done:]]), tuple(hunks))


def _rows(text: str) -> list[Any]:
    """Return the nodes of a model YAML's rows."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    sections = {key.value: node.value for key, node in root.value}
    return [*sections["backbone"], *sections["head"]]


def _parts(node: Any) -> Iterator[yaml.Node]:
    """Yield a node and all nodes in it."""
    yield node
    if isinstance(node, yaml.CollectionNode):
        for part in node.value:
            for child in part if isinstance(part, tuple) else (part,):
                yield from _parts(child)


def _end(node: Any) -> int:
    """Return where a node ends. One in block style ends with its last value, before the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[-1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line(starts: list[int], position: int) -> int:
    return bisect_right(starts, position) - 1


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.removesuffix("\r") for line in text.split("\n"))


def _span(line: int, lines: tuple[str, ...]) -> str:
    return str(line) if len(lines) == 1 else f"{line},{len(lines)}"
