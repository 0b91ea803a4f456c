"""The leaderboard as a page that sorts: one HTML file that works offline, in the style of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.board.text import LIMITS, board_facts, board_title, costs, summary
from yolo_attn.leaderboard import Board, Row
from yolo_attn.study.report.environment import make_environment, shared_parts
from yolo_attn.study.results.records import PlainEstimate

__all__ = ["as_html"]


@dataclass(frozen=True)
class _Section:
    """A board on the page.

    Args:
        ident: Its anchor.
        title: Its heading.
        board: The board.
    """

    ident: str
    title: str
    board: Board

    def difference(self, row: Row) -> PlainEstimate:
        """Return the difference of a row with its interval."""
        return PlainEstimate(row.mean, self.board.interval(row))


def as_html(boards: Mapping[str, Board]) -> str:
    """Return the page.

    Args:
        boards: The boards by the name of their dataset.
    """
    environment = make_environment("benchmarks.board")
    sections = [_Section(f"board-{n}", board_title(board), board) for n, board in enumerate(boards.values(), 1)]
    page: str = environment.get_template("leaderboard.html").render(
        sections=sections,
        limits=LIMITS,
        facts=board_facts,
        summary=summary,
        costs=costs,
        reload=None,
        **shared_parts(environment),
    )
    return page
