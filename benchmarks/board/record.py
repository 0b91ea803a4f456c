"""Reads and writes the record of the leaderboard, and finds what is missing in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.board.placements import code_of
from yolo_attn.errors import UserError, counted
from yolo_attn.leaderboard import VERSION, Board, Row, Setup, stored_boards
from yolo_attn.selection.candidates import Candidate
from yolo_attn.system.files import write_atomically

__all__ = ["as_text", "check_setup", "due", "store"]

_SHOWN = 5  # names in a message


def as_text(boards: Mapping[str, Board]) -> str:
    """Return a record as JSON with one row a line."""
    parts = []
    for name, board in sorted(boards.items()):
        rows = ",\n".join(f"   {json.dumps(row.to_json())}" for row in board.rows)
        setup = json.dumps(board.setup.to_json())
        parts.append(f'  {json.dumps(name)}: {{\n   "setup": {setup},\n   "rows": [\n{rows}\n   ]\n  }}')
    inside = ",\n".join(parts)
    return f'{{\n "version": {VERSION},\n "boards": {{' + (f"\n{inside}\n " if parts else "") + "}\n}\n"


def store(path: Path, setup: Setup, rows: Sequence[Row]) -> Board:
    """Add rows to a record, and return the board that they are in.

    A board of another setup is replaced, which `check_setup` has asked for.

    Args:
        path: The record.
        setup: Their setup.
        rows: The rows.
    """
    boards = stored_boards(path)
    board = boards.get(setup.data)
    if board is None or board.setup.changes(setup):
        board = Board(setup)
    boards[setup.data] = board.with_rows(rows)
    write_atomically(path, as_text(boards), key="record=FILE")
    return boards[setup.data]


def check_setup(board: Board | None, setup: Setup, *, again: bool) -> list[str]:
    """Return a line if the rows of a board are outdated.

    Args:
        board: The board; None without one.
        setup: The setup of now.
        again: Whether they may be replaced.

    Raises:
        UserError: They are outdated and may not be replaced.
    """
    changes = board.setup.changes(setup) if board else []
    if not board or not changes:
        return []
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    line = f"{setup.data}: {counted(len(board.rows), 'row')} outdated: {'; '.join(changes[:_SHOWN])}{more}"
    if not again:
        raise UserError(f"{line}; give again=True to replace them, or record=FILE for another record")
    return [f"{line}; replaced when the first part ends"]


def due(
    board: Board | None, setup: Setup, placements: Sequence[Candidate], *, again: bool = False
) -> tuple[list[Candidate], list[str]]:
    """Return the placements to measure, and a line about outdated rows.

    A row is outdated if the code of its layer has changed since.

    Args:
        board: The board; None without one.
        setup: The setup of now.
        placements: What may be measured.
        again: Whether to measure also what has a row.
    """
    if board is None or again or board.setup.changes(setup):
        return list(placements), []
    rows = {one: board.find(one.layers[0], one.sites[0]) for one in placements}
    outdated = [one for one, row in rows.items() if row and row.code != code_of(row.layer)]
    lines = []
    if outdated:
        names = ", ".join(one.label for one in outdated[:_SHOWN]) + (", ..." if len(outdated) > _SHOWN else "")
        lines.append(f"{setup.data}: {counted(len(outdated), 'row')} outdated, the code of the layer changed: {names}")
    return [one for one, row in rows.items() if row is None or one in outdated], lines
