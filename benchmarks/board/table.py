"""The tables of docs/leaderboard.md, between its markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.board.text import LIMITS, board_facts, board_title, costs, interval, summary
from yolo_attn.leaderboard import Board, Row
from yolo_attn.study.report import formats

__all__ = ["DOCUMENT", "with_tables"]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"
START, END = "<!-- leaderboard -->\n", "<!-- end of leaderboard -->"
_HEAD = ("layer", "site", "difference", "interval", "verdict", "latency", "parameters", "GFLOPs")
_RULE = ("---", "---", "---:", "---:", "---", "---:", "---:", "---:")


def with_tables(text: str, boards: Mapping[str, Board]) -> str:
    """Return a document with the tables of all boards between its markers."""
    before, rest = text.split(START)  # an error unless there is one of each
    _, after = rest.split(END)
    inside = "\n".join(_lines(boards))
    return f"{before}{START}\n{inside}\n\n{END}{after}"


def _lines(boards: Mapping[str, Board]) -> Iterator[str]:
    if not boards:
        yield "Nothing has been measured yet."
        return
    yield "What the tables do not show:"
    yield ""
    yield from (f"- {limit}" for limit in LIMITS)
    for board in boards.values():
        yield from _board_lines(board)


def _board_lines(board: Board) -> Iterator[str]:
    yield from ("", f"## {board_title(board)}", "", summary(board), "")
    yield from (f"- *{name}.* {text}" for name, text in board_facts(board))
    yield ""
    for cells in (_HEAD, _RULE, *(_cells(board, row) for row in board.by_difference)):
        yield f"| {' | '.join(cells)} |"
    yield from _failures(board)
    if board.rows:
        example = next(iter(board.by_difference or board.rows))
        yield from ("", f"The command that measures {example.placement} alone; other rows differ in `variants=`:", "")
        yield from ("```text", example.command, "```")


def _cells(board: Board, row: Row) -> tuple[str, ...]:
    verdict = board.verdict(row) or formats.NONE
    return (row.layer, row.site, formats.signed(row.mean), interval(board, row), verdict, *costs(row))


def _failures(board: Board) -> Iterator[str]:
    if board.failed:
        yield from ("", "Without a result:", "")
        yield from (f"- {row.placement}: {row.problem}" for row in board.failed)
