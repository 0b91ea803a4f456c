"""The order in which candidates are tried, which decides if the budget is too small for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from yolo_attn.leaderboard import layer_scores
from yolo_attn.selection.candidates import Candidate

__all__ = ["leaderboard_order"]


def leaderboard_order(
    candidates: Sequence[Candidate], named: Collection[str] = (), scores: Mapping[str, float] | None = None
) -> list[Candidate]:
    """Return candidates in the order of the leaderboard.

    Layers that the user named come first, in their order, because naming them is a choice. The others follow by their
    score at the neck. A layer that is not on the leaderboard counts as an average one, and equal ones keep their
    order, so an empty leaderboard changes nothing.

    Args:
        candidates: The candidates, all sites of a layer together.
        named: Names of the layers that the user named one by one.
        scores: Scores of the layers, by default `leaderboard.layer_scores`.
    """
    known = layer_scores() if scores is None else scores

    def key(one: Candidate) -> tuple[bool, float]:
        if set(one.layers) <= set(named):
            return False, 0.0
        return True, -sum(known.get(layer, 0.0) for layer in one.layers)

    return sorted(candidates, key=key)
