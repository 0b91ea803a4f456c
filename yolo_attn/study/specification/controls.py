"""Control arms: what a difference has to be told apart from.

`null` puts identity layers where the variants have theirs: what moves it is the insertion itself, not attention.
`width` is the base, widened until it has at least the parameters of the largest variant: what moves it is size alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from yolo_attn.errors import UserError

__all__ = ["null_model", "widened_model"]

_GRID = 64  # widths are tried in steps of 1/64 of the base's
_TRIES = 64
_MARGIN = 0.9


def null_model(base: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the base with an identity layer behind every row that a layer of any variant follows.

    Args:
        base: The base's model YAML.
        variants: The variants' model YAMLs.

    Raises:
        UserError: No variant has a row of ours, so there is no place for an identity.
    """
    from yolo_attn.graph import ModelGraph
    from yolo_attn.host.transfer import IDENTITY

    graph = ModelGraph(dict(base))
    rows = sorted({row for variant in variants for row in _followed_rows(graph, ModelGraph(dict(variant)))})
    if not rows:
        raise UserError("controls: null stands where the variants have rows of attention, and none of them has one")
    for shift, row in enumerate(rows):
        graph.insert_after(row + shift, IDENTITY, [])
    return graph.to_document()


def _followed_rows(base: Any, variant: Any) -> set[int]:
    """Return the rows of the base that rows of ours follow in a variant."""
    from yolo_attn.graph import IMAGE, align
    from yolo_attn.host.parser import is_our_row

    to_base = align(variant, base, is_our_row)
    followed = set()
    for row in variant:
        if not is_our_row(row):
            continue
        source = row.sources[0]
        while source != IMAGE and is_our_row(variant.rows[source]):
            source = variant.rows[source].sources[0]
        if source in to_base:
            followed.add(to_base[source])
    return followed


def widened_model(base: Mapping[str, Any], params: int) -> dict[str, Any]:
    """Return the narrowest widening of a base that has at least a number of parameters.

    Args:
        base: The base's model YAML.
        params: Parameters to reach.

    Raises:
        UserError: The base's width cannot be scaled that far.
    """
    # Parameters grow about with the square of the width: the search starts a little below that.
    least = math.sqrt(max(params / _count(base), 1.0)) * _MARGIN
    first = max(1, math.ceil((least - 1) * _GRID))
    for step in range(first, first + _TRIES):
        widened = _scaled(base, 1 + step / _GRID)
        try:
            if _count(widened) >= params:
                return widened
        except UserError:
            continue  # some blocks take certain widths only, such as those that their heads divide
    raise UserError(f"controls: width: the base cannot be widened to {params:,} parameters")


def _scaled(base: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return a model YAML with its width multiplied."""
    document = copy.deepcopy(dict(base))
    scales = document.get("scales")
    if scales:
        depth, width, most = scales[document.get("scale") or next(iter(scales))]
        document["scales"] = {"w": [depth, round(width * factor, 4), most]}
        document["scale"] = "w"
    else:
        document["width_multiple"] = round(float(document.get("width_multiple", 1.0)) * factor, 4)
    return document


def _count(document: Mapping[str, Any]) -> int:
    from yolo_attn.host.geometry import model_cost

    return model_cost(dict(document)).params
