"""`export=`: which candidates a format can carry, by the measurements of `yolo_attn.exports`."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.errors import UserError, counted, did_you_mean
from yolo_attn.exports import REASONS, TITLES, Cell, number_of, read_cells
from yolo_attn.graph.placed_layers import parse_placed_layers
from yolo_attn.selection.candidates import Candidate

__all__ = ["check_export", "parse_export"]

_OTHER_NAMES = {"tflite": "litert"}


def parse_export(text: str | None) -> str | None:
    """Return the format that a text names; None for an empty one.

    Raises:
        UserError: Layers are not measured in this format.
    """
    name = (text or "").strip().lower()
    if not name:
        return None
    name = _OTHER_NAMES.get(name, name)
    if name not in TITLES:
        known = ", ".join(TITLES)
        raise UserError(f"export={text}: layers are measured in {known}{did_you_mean(name, TITLES)}")
    return name


def check_export(candidates: Sequence[Candidate], form: str) -> tuple[dict[str, str], list[str]]:
    """Return the candidates with a layer that a format cannot carry, with reasons.

    A layer that is not measured, or not with its options, is kept, and so is one whose outputs differ slightly.

    Args:
        candidates: The candidates.
        form: The format, as `parse_export` returns it.

    Returns:
        The reasons by name of the candidate, and notes on the layers that are kept without being exact.
    """
    cells = {layer: cell for (other, layer), cell in read_cells().items() if other == form}
    reasons: dict[str, str] = {}
    unmeasured: set[str] = set()
    differing: dict[str, float] = {}
    for candidate in candidates:
        for placed in parse_placed_layers(candidate.name):
            cell = None if placed.options.keys() - {"init"} else cells.get(placed.layer)
            if cell is None:
                unmeasured.add(placed.layer)
            elif cell.verdict == "no":
                reasons.setdefault(candidate.name, _reason(form, placed.layer, cell))
            elif cell.verdict != "exact":
                differing[placed.layer] = cell.difference
    notes = []
    if unmeasured:
        notes.append(f"not measured in {TITLES[form]}: {counted(len(unmeasured), 'layer')}, kept")
    if differing:
        most = max(differing.values())
        notes.append(
            f"not exact in {TITLES[form]}, with differences up to {most:.0e}: {counted(len(differing), 'layer')}, kept"
        )
    return reasons, notes


def _reason(form: str, layer: str, cell: Cell) -> str:
    """Return why a format cannot carry a layer, in one line."""
    number = number_of(form, layer, cell)
    text = REASONS[number - 1].text.replace("**", "").replace("`", "") if number else cell.problem
    return f"{layer} in {TITLES[form]}: {text or 'its outputs differ'}"
