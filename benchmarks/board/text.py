"""The leaderboard in words and numbers, as the table of docs/leaderboard.md and the page that sorts show it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from yolo_attn.errors import counted
from yolo_attn.leaderboard import MARGIN, Board, Row
from yolo_attn.stats.verdicts import VERDICTS
from yolo_attn.study.report import formats

__all__ = ["LIMITS", "board_facts", "board_title", "costs", "interval", "summary"]

LIMITS = (
    "One base on each dataset: another base can have another best layer.",
    "Small datasets. A layer that is better or worse here need not be so on your data.",
    "One recipe: a short fine-tuning of a trained base, in which every layer begins as the identity. Training from "
    "scratch, or for longer, can favor layers that this recipe does not.",
    "Default options of every layer.",
    "Many comparisons: intervals hold together, so they are wider than those of a study with three variants. The "
    "largest difference of a table is too large on average, because it is the largest of many.",
)
"""What the leaderboard does not show."""
_AS_GOOD_AS_KNOWN = 100  # degrees of freedom


def board_title(board: Board) -> str:
    """Return the heading of a board."""
    return board.setup.data


def summary(board: Board) -> str:
    """Return how many verdicts of each kind a board has."""
    verdicts = Counter(board.verdict(row) for row in board.by_difference)
    known = [f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict]]
    known += [f"{verdicts[None]} without a verdict"] * bool(verdicts[None])
    failed = [f"{len(board.failed)} without a result"] * bool(board.failed)
    return f"{counted(len(board.rows), 'row')}: {', '.join([*known, *failed])}."


def board_facts(board: Board) -> list[tuple[str, str]]:
    """Return how a board was measured, as names and texts."""
    setup, rows = board.setup, board.rows
    start = f"{setup.base}, trained first" if setup.pretraining else setup.base
    trained = {row.start for row in rows if row.start}
    if len(trained) > 1:
        start += f" ({len(trained)} times, on different machines or versions)"
    facts = [
        ("Base", start),
        ("Weights", ", ".join(sorted(f"{weights[:12]}" for weights in trained))),
        ("Groups of images" if setup.groups else "Images", f"{setup.images:,}" if setup.images else ""),
        ("Grouped by", setup.groups or ""),
        ("Seeds", str(len(setup.seeds))),
        ("Metric", f"{setup.metric}, in points; margin ±{formats.size(MARGIN)}"),
        ("Noise", _noise(board)),
        ("Differences between layers", _spread(board)),
        ("Intervals", f"{formats.percent(board.level)} each, 95% for all {board.comparisons} together"),
        ("Recipe", " ".join(f"{key}={value}" for key, value in setup.recipe.items())),
        ("Recipe of the base", " ".join(f"{key}={value}" for key, value in setup.pretraining.items())),
        ("Learning rate of the layers", f"{setup.lr_attention:g} times" if setup.lr_attention else ""),
        ("Hardware", "; ".join(_different(_hardware(row) for row in rows))),
        ("Versions", "; ".join(_different(_versions(row) for row in rows))),
        ("Dates", _dates(rows)),
        ("Dataset hash", setup.digest[:12]),
    ]
    return [(name, text) for name, text in facts if text]


def _noise(board: Board) -> str:
    """Return the noise that the rows have in common, by which that of each is moderated."""
    if board.moderated is None:
        return ""
    common = board.moderated.common
    deviation = formats.points(math.sqrt(common.variance))
    return f"{deviation} points of standard deviation of a run, over seeds, {_weight(common.df)}"


def _weight(df: float) -> str:
    """Return how much the noise in common counts in that of a row."""
    if df > _AS_GOOD_AS_KNOWN:
        return "the same in all rows"
    return f"in common, which counts as much as {counted(1 + round(df), 'seed')} of each row"


def _spread(board: Board) -> str:
    """Return whether the layers differ from each other more than by chance."""
    found = board.spread
    if found is None:
        return ""
    chance = "" if found.p is None else f" (p {formats.p_value(found.p)})"
    return (
        f"a standard deviation of {formats.points(found.found)} points over {found.arms} layers at the neck, "
        f"{formats.points(found.expected)} expected from the noise of training alone{chance}"
    )


def _different(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))


def _hardware(row: Row) -> str:
    return f"{row.hardware}, {counted(row.threads, 'thread')}" if row.hardware and row.threads else row.hardware


def _versions(row: Row) -> str:
    return ", ".join(f"{package} {version}" for package, version in row.versions.items())


def _dates(rows: Iterable[Row]) -> str:
    dates = sorted({row.date for row in rows if row.date})
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""


def interval(board: Board, row: Row) -> str:
    """Return the interval of a row as text, "-" without one."""
    found = board.interval(row)
    return formats.NONE if found is None else "[{}, {}]".format(*formats.signed_ends(*found))


def costs(row: Row) -> tuple[str, str, str]:
    """Return latency relative to the base, added parameters and added GFLOPs of a row as texts."""
    return (
        formats.NONE if row.latency is None else f"{row.latency:.2f}",
        formats.NONE if row.params is None else f"{row.params:+,}",
        formats.NONE if row.gflops is None else f"{row.gflops + 0.0:+.3g}",
    )
