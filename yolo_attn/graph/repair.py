"""Indices of a hand-made model YAML that were not shifted, put right by comparison with a stock model.

A row inserted by hand shifts every index after it. Which stock row a forgotten index means is known from the base: the
stock row of the same number in it reads that row. An index that no forgotten shift explains is a change by the user,
or an error of another kind; it is reported and not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.levels import LEVEL, continued_row, first_source, returns_levels
from yolo_attn.graph.lint import Finding
from yolo_attn.graph.rows import IMAGE, ModelGraph, Row

__all__ = ["Repair", "nearest_base", "repair_sources"]


@dataclass
class Repair:
    """Changes of the rows that rows read.

    Args:
        reasons: The reasons of the changes, by row.
        unknown: The sources that differ from the base for another reason than a forgotten shift.
    """

    reasons: dict[int, list[str]] = field(default_factory=dict)
    unknown: list[Finding] = field(default_factory=list)

    def explain(self, row: int, sources: Iterable[tuple[int, int]], reason: str) -> None:
        """Add the reason why a row reads other rows than before: pairs of the former row and the new one."""
        changes = ", ".join(f"{before} -> {after}" for before, after in sources)
        self.reasons.setdefault(row, []).append(f"{changes}: {reason}")


def nearest_base(
    graph: ModelGraph, bases: Iterable[tuple[str, ModelGraph]], is_attention: Callable[[Row], bool]
) -> tuple[str, ModelGraph] | None:
    """Return the stock model, with its name, that a model was derived from; None if there is none.

    It has the same number of stock rows, and the same modules where rows are joined or resized. Of several, it is the
    one with the most equal modules, and then with the most equal sources.

    Args:
        graph: The model.
        bases: The stock models with their names.
        is_attention: Whether a row is an attention layer.
    """
    stock = _stock_rows(graph, is_attention)
    fitting = [(name, base) for name, base in bases if _has_structure(graph, stock, base)]

    def difference(named: tuple[str, ModelGraph]) -> tuple[int, int]:
        base = named[1]
        modules = sum(block_of(graph.rows[i].module) != base.rows[n].module for n, i in enumerate(stock))
        return modules, _Wiring(graph, base, is_attention).disagreements()

    return min(fitting, key=difference, default=None)


def repair_sources(graph: ModelGraph, base: ModelGraph, name: str, is_attention: Callable[[Row], bool]) -> Repair:
    """Let every stock row read the stock row that it reads in the base, through the attention rows after it.

    Args:
        graph: The model, which is changed in place.
        base: The stock model from which it was derived.
        name: The base's name, for messages.
        is_attention: Whether a row is an attention layer.
    """
    repair, wiring = Repair(), _Wiring(graph, base, is_attention)
    _repair_attention_rows(wiring, name, repair)
    right = [_right_sources(wiring, n, name, repair) for n in range(len(base))]
    for i, sources in zip(wiring.stock, right, strict=True):
        graph.rows[i].sources = sources
    return repair


def _right_sources(wiring: _Wiring, n: int, name: str, repair: Repair) -> list[int]:
    """Return the sources that stock row n should have, and add the reasons."""
    graph, i = wiring.graph, wiring.stock[n]
    row, sources = graph.rows[i], list(graph.rows[i].sources)
    shifted: list[tuple[int, int]] = []
    through: list[tuple[int, int]] = []
    for k, source in enumerate(row.sources):
        target = wiring.right(n, k)
        if target == source:
            continue
        if wiring.agrees(n, k) or wiring.is_forgotten(n, k):
            sources[k] = target
            (through if wiring.agrees(n, k) else shifted).append((source, target))
        else:
            problem = (
                f"{row.module} reads row {source} ({graph.rows[source].module}), which no forgotten shift explains"
            )
            fix = f"write the row that is meant; as in {name}, it is row {target} ({graph.rows[target].module})"
            repair.unknown.append(Finding(i, f"{problem}; {fix}"))
    if shifted:
        repair.explain(i, shifted, f"not shifted; {row.module} reads {_modules(graph, shifted)} in {name}")
    if through:
        repair.explain(i, through, f"through {_modules(graph, through)}, not past it")
    return sources


def _repair_attention_rows(wiring: _Wiring, name: str, repair: Repair) -> None:
    """Shift the absolute sources of attention rows if no index of the file was shifted."""
    if not wiring.disagreements():
        return
    unshifted = wiring.is_unshifted()
    for i, row in enumerate(wiring.graph):
        for k, source in enumerate(row.sources):
            if i in wiring.number or row.module == LEVEL or row.relative[k] or source >= len(wiring.stock):
                continue
            target = wiring.stock[source]
            if target == source:
                continue
            if unshifted and target < i:
                row.sources[k] = target
                repair.explain(i, [(source, target)], f"the row of {name} that is row {target} here")
            else:
                problem = f"{row.module} reads row {source}, and other indices of the file were not shifted"
                repair.unknown.append(Finding(i, f"{problem}; write the row that is meant"))


class _Wiring:
    """The sources of a model's stock rows beside those of a base with the same rows."""

    def __init__(self, graph: ModelGraph, base: ModelGraph, is_attention: Callable[[Row], bool]) -> None:
        self.graph = graph
        self.base = base
        self.stock = _stock_rows(graph, is_attention)
        self.number = {i: n for n, i in enumerate(self.stock)}
        self.inserted = len(graph) - len(self.stock)

    def agrees(self, n: int, k: int) -> bool:
        """Return whether stock row n reads the same stock row as in the base, directly or through attention rows."""
        source = self.graph.rows[self.stock[n]].sources[k]
        stock = continued_row(self.graph, source, lambda row: row not in self.number)
        return self.number.get(stock, IMAGE) == self.base.rows[n].sources[k]

    def disagreements(self) -> int:
        """Return the number of sources that differ from the base."""
        return sum(not self.agrees(n, k) for n in range(len(self.base)) for k in range(len(self.base.rows[n].sources)))

    def is_forgotten(self, n: int, k: int) -> bool:
        """Return whether a source is the base's, shifted too little or too much, or not at all."""
        i, right = self.stock[n], self.base.rows[n].sources[k]
        source = self.graph.rows[i].sources[k]
        return right <= source <= right + self.inserted or source - i == right - n

    def is_unshifted(self) -> bool:
        """Return whether all absolute sources of stock rows are those of the base, of which some should be shifted."""
        absolute = [
            (source, self.base.rows[n].sources[k])
            for n, i in enumerate(self.stock)
            for k, source in enumerate(self.graph.rows[i].sources)
            if not self.graph.rows[i].relative[k]
        ]
        return all(source == right for source, right in absolute)

    def right(self, n: int, k: int) -> int:
        """Return the row that stock row n should read: the layer on the output of the row that it reads in the base."""
        i, source = self.stock[n], self.graph.rows[self.stock[n]].sources[k]
        if not self.agrees(n, k):
            source = self.stock[self.base.rows[n].sources[k]]
        if source == IMAGE:
            return source
        while layers := self._layers_on(source, i):
            source = layers[0]
        return source

    def _layers_on(self, index: int, consumer: int) -> list[int]:
        """Return the attention rows before a consumer that continue the map of a row."""
        return [
            i
            for i in range(index + 1, consumer)
            if i not in self.number and not returns_levels(self.graph, i) and first_source(self.graph, i) == index
        ]


def _modules(graph: ModelGraph, sources: Iterable[tuple[int, int]]) -> str:
    return ", ".join(dict.fromkeys(graph.rows[after].module for _, after in sources))


def _stock_rows(graph: ModelGraph, is_attention: Callable[[Row], bool]) -> list[int]:
    return [i for i, row in enumerate(graph) if not is_attention(row)]


def _has_structure(graph: ModelGraph, stock: list[int], base: ModelGraph) -> bool:
    """Return whether a base has the same number of rows, which are joined and resized at the same places."""

    def joint(row: Row) -> tuple[int, str]:
        return len(row.sources), row.module if len(row.sources) > 1 or "." in row.module else ""

    return len(stock) == len(base) and all(joint(graph.rows[i]) == joint(base.rows[n]) for n, i in enumerate(stock))
