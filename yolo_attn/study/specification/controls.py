"""Control arms, which separate the effect of attention from other effects.

`null` has identity layers where the variants have attention layers and shows the effect of the insertion alone. `width`
is the base, widened to at least the number of parameters of the largest variant, and shows the effect of size alone.
`aa` is the base with other seeds, and shows how far two trainings of one model differ. Each control is one entry of
`CONTROLS`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph

__all__ = ["CONTROLS", "Control", "null_model", "same_model", "widened_model", "width_model"]

Model = Mapping[str, object]

_WIDTH_STEPS = 64  # steps per doubling of the base's width
_MAX_STEPS = 64
_MARGIN = 0.9
_OTHER_SEEDS = 1000  # more than the seeds of any usual study, so that no run is its own control


def null_model(base: Model, variants: Sequence[Model]) -> dict[str, object]:
    """Return the base with an identity layer after every row after which a variant has an inserted attention row.

    Args:
        base: The base's model YAML.
        variants: The variants' model YAMLs.

    Raises:
        UserError: No variant has such a row, which leaves no position for an identity layer.
    """
    from yolo_attn.host.transfer import IDENTITY

    graph = ModelGraph(dict(base))
    rows = sorted({row for variant in variants for row in _followed_rows(graph, ModelGraph(dict(variant)))})
    if not rows:
        raise UserError("controls: null needs a variant with a new row of attention, and none of the variants has one")
    for shift, row in enumerate(rows):
        graph.insert_after(row + shift, IDENTITY, [])
    return graph.to_document()


def _followed_rows(base: ModelGraph, variant: ModelGraph) -> set[int]:
    """Return the rows of the base that are followed by inserted attention rows in a variant.

    A row that returns several maps follows each row that it reads.
    """
    from yolo_attn.graph.levels import continued_row, returns_levels
    from yolo_attn.host.parser import is_attention_row
    from yolo_attn.host.transfer import align_rows, is_inserted_row

    to_base = align_rows(variant, base)
    followed = set()
    for i, row in enumerate(variant):
        if not is_attention_row(row) or not is_inserted_row(row):
            continue
        for read in row.sources if returns_levels(variant, i) else row.sources[:1]:
            source = continued_row(variant, read, lambda row: is_inserted_row(variant.rows[row]))
            if source in to_base:
                followed.add(to_base[source])
    return followed


def width_model(base: Model, variants: Sequence[Model]) -> dict[str, object]:
    """Return the base, widened to at least the parameters of the largest variant.

    Args:
        base: The base's model YAML.
        variants: The variants' model YAMLs.

    Raises:
        UserError: The base's width cannot be scaled that far.
    """
    return widened_model(base, max(map(_count_params, variants), default=0))


def widened_model(base: Model, params: int) -> dict[str, object]:
    """Return the narrowest widening of a base that has at least a number of parameters.

    Args:
        base: The base's model YAML.
        params: Parameters to reach.

    Raises:
        UserError: The base's width cannot be scaled that far.
    """
    # Parameters grow roughly with the square of the width; the search starts slightly below that estimate.
    factor = math.sqrt(max(params / _count_params(base), 1.0)) * _MARGIN
    first = max(1, math.ceil((factor - 1) * _WIDTH_STEPS))
    for step in range(first, first + _MAX_STEPS):
        widened = _scale_width(base, 1 + step / _WIDTH_STEPS)
        try:
            if _count_params(widened) >= params:
                _run(widened)
                return widened
        except UserError:
            continue  # some blocks accept certain widths only, such as multiples of their heads
    raise UserError(f"controls: width: the base cannot be widened to {params:,} parameters")


def same_model(base: Model, variants: Sequence[Model]) -> dict[str, object]:
    """Return the base itself.

    Args:
        base: The base's model YAML.
        variants: The variants' model YAMLs, which do not matter.
    """
    return dict(base)


def _scale_width(base: Model, factor: float) -> dict[str, object]:
    """Return a model YAML with its width multiplied by a factor."""
    document = copy.deepcopy(dict(base))
    scales = document.get("scales")
    if isinstance(scales, dict) and scales:
        depth, width, max_channels = scales[document.get("scale") or next(iter(scales))]
        document["scales"] = {"w": [depth, round(width * factor, 4), max_channels]}
        document["scale"] = "w"
    else:
        multiple = document.get("width_multiple")
        document["width_multiple"] = round((multiple if isinstance(multiple, (int, float)) else 1.0) * factor, 4)
    return document


def _run(model: Model) -> None:
    """Run a model on an image without data; a block that does not accept its width raises UserError."""
    from yolo_attn.host.geometry import run_on_meta

    run_on_meta(dict(model), 640, with_head=True)


def _count_params(model: Model) -> int:
    from yolo_attn.host.geometry import build_on_meta

    return sum(parameter.numel() for parameter in build_on_meta(dict(model)).parameters())


@dataclass(frozen=True)
class Control:
    """A kind of control arm.

    Args:
        build: Called with the base's model YAML and those of the variants; returns the control's.
        summary: The control's model, for the help page.
        seed_offset: Added to each seed of the study.
        own_base: Whether it cannot start from the weights of the study's base, and needs a trained base of its own.
    """

    build: Callable[[Model, Sequence[Model]], dict[str, object]]
    summary: str
    seed_offset: int = 0
    own_base: bool = False


CONTROLS = {
    "null": Control(null_model, "identity layers at the variants' sites"),
    "width": Control(width_model, "the base, widened to the parameters of the largest variant", own_base=True),
    "aa": Control(same_model, "the base with other seeds", seed_offset=_OTHER_SEEDS),
}
"""The controls by name."""
