"""The table of docs/export.md: the measurements in yolo_attn/exports.json, and the reasons of those that differ."""

from __future__ import annotations

from tests.conftest import SOURCE
from yolo_attn.exports import REASONS, TITLES, Cell, Reason, number_of, read_cells, read_record
from yolo_attn.registry import list_layers

__all__ = ["DOCUMENT", "LAYERS", "measured_formats", "with_table"]

DOCUMENT = SOURCE / "docs" / "export.md"
START, END = "<!-- exports -->\n", "<!-- end of exports -->"
LAYERS = sorted((spec.name for spec in list_layers() if spec.built_in), key=str.lower)


def measured_formats() -> list[str]:
    """Return the formats in which layers are measured: the columns of the table."""
    forms = {form for form, _ in read_cells()}
    return [form for form in TITLES if form in forms]


def with_table(text: str) -> str:
    """Return a document with the table and the reasons between their markers."""
    formats, cells = measured_formats(), read_cells()
    head = ["layer", *(TITLES[form] for form in formats)]
    rows = [[layer, *(_in_words(form, layer, cells.get((form, layer))) for form in formats)] for layer in LAYERS]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    reasons = "\n".join(f"- ({n}) {_titles(reason)}: {reason.text}" for n, reason in enumerate(REASONS, 1))
    measured = "\n".join(f"- {TITLES[form]}: {_versions(form)}" for form in read_record()["cells"])
    before, rest = text.split(START)  # an error unless there is one of each
    _, after = rest.split(END)
    table = "\n".join(lines)
    return f"{before}{START}\n{table}\n\n{reasons}\n\nMeasured with:\n\n{measured}\n\n{END}{after}"


def _titles(reason: Reason) -> str:
    """Return the names of a reason's formats."""
    return ", ".join(TITLES[form] for form in reason.forms)


def _versions(form: str) -> str:
    """Return the versions of a format's packages."""
    return ", ".join(f"{name} {version}" for name, version in read_record()["versions"][form].items())


def _in_words(form: str, layer: str, cell: Cell | None) -> str:
    """Return the text of a cell: exact, the difference or "no" with the number of the reason, or - if unmeasured."""
    if cell is None:
        return "-"
    if cell.verdict == "exact":
        return "exact"
    words = f"{cell.difference:.0e}".replace("e-0", "e-") if cell.verdict == "tolerance" else "no"
    number = number_of(form, layer, cell)
    return f"{words} ({number})" if number else words
