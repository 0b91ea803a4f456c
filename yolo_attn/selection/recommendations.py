"""What to use after a search: layers, why, and the commands that place and train them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.placed_layers import PlacedLayer, parse_placed_layers
from yolo_attn.selection.records import CandidateRecord, Confirmed, Costs, SearchRecord
from yolo_attn.selection.wording import (
    base_name,
    by_difference,
    candidate_of,
    confirmed_text,
    latency_change,
    verdict_of,
)
from yolo_attn.study.report.formats import enumerated, size, typeset
from yolo_attn.system.files import as_yaml, shortened
from yolo_attn.system.shell import join_words

__all__ = ["Recommendation", "recommendations"]

_NOT_WORSE = ("better", "equivalent")
"""Verdicts of a candidate that may be used in the place of the base."""
_CHEAPER = 0.98  # a latency ratio above it may be noise
_OF_STUDIES = frozenset({"val", "plots"})  # keys of a recipe that only save a study's time
_ROW_NUMBER = re.compile(r"(?:after|inside|replace):(\d+)")


@dataclass(frozen=True)
class Recommendation:
    """What to use, and how.

    Args:
        title: What is recommended, in a few words.
        candidate: Label of the candidate, or the name of the base.
        why: Why, in sentences.
        rows: Rows of the model YAML that contain the layers, with their numbers; empty for the base.
        commands: Command lines that make the model YAML and train it; empty if its name cannot be read.
    """

    title: str
    candidate: str
    why: str
    rows: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def recommendations(record: SearchRecord) -> list[Recommendation]:
    """Return what to use: the best confirmed candidate, and the cheapest one that is not worse than the base.

    The base itself is recommended if no candidate is confirmed better: an inconclusive verdict is no reason for a
    layer. A candidate that is only not worse is recommended if it is cheaper than the base.

    Args:
        record: The results; those of an unfinished search, or of one without finalists, recommend nothing.
    """
    if not record.finished or not record.confirmed:
        return []
    better = by_difference(one for one in record.confirmed if one.verdict == "better")
    not_worse = [one for one in record.confirmed if one.verdict in _NOT_WORSE]
    useful = [one for one in not_worse if one.verdict == "better" or _is_cheaper_than_base(record, one)]
    cheapest = _cheapest(record, useful)
    is_cheapest = bool(better) and better[0] == cheapest == _cheapest(record, not_worse)
    found = [_most_accurate(record, better[0], is_cheapest=is_cheapest) if better else _keep_base(record)]
    if cheapest and cheapest not in better[:1]:
        found.append(_cheap(record, cheapest))
    return found


def _cheapest(record: SearchRecord, finalists: Sequence[Confirmed]) -> Confirmed | None:
    """Return the finalist with the lowest latency or, if none is known, the fewest parameters."""
    costs = [(candidate_of(record, one.name).costs, one) for one in finalists]
    latencies = [(cost.latency_ratio, one) for cost, one in costs if cost.latency_ratio is not None]
    if latencies:
        return min(latencies, key=lambda known: known[0])[1]
    params = [(cost.params, one) for cost, one in costs if cost.params is not None]
    return min(params, key=lambda known: known[0])[1] if params else None


def _is_cheaper_than_base(record: SearchRecord, one: Confirmed) -> bool:
    return _is_cheaper(candidate_of(record, one.name).costs, record.base)


def _is_cheaper(costs: Costs, base: Costs) -> bool:
    if costs.latency_ratio is not None:
        return costs.latency_ratio < _CHEAPER
    return costs.params is not None and base.params is not None and costs.params < base.params


def _most_accurate(record: SearchRecord, one: Confirmed, *, is_cheapest: bool) -> Recommendation:
    candidate = candidate_of(record, one.name)
    cheapest = " It is also the cheapest finalist that is not worse than the base." if is_cheapest else ""
    why = f"Confirmed better: {confirmed_text(record, one)}{_cost_text(record, candidate)}.{cheapest}"
    return _recommended(record, "The most accurate", candidate, one, why)


def _cheap(record: SearchRecord, one: Confirmed) -> Recommendation:
    candidate = candidate_of(record, one.name)
    verdicts = {
        "better": "Confirmed better",
        "equivalent": f"Confirmed equivalent to the base within ±{size(record.info.margin)} points",
    }
    why = f"{verdicts[str(one.verdict)]}: {confirmed_text(record, one)}{_cost_text(record, candidate)}."
    return _recommended(record, "The cheapest that is not worse", candidate, one, why)


def _recommended(
    record: SearchRecord, title: str, candidate: CandidateRecord, one: Confirmed, why: str
) -> Recommendation:
    return Recommendation(title, candidate.label, why, one.rows, tuple(_commands(record, candidate)))


def _keep_base(record: SearchRecord) -> Recommendation:
    name, verdicts = base_name(record), [verdict_of(one) for one in record.confirmed]
    why = f"No candidate is confirmed better than {name}."
    if "inconclusive" in verdicts:
        why += " An inconclusive verdict does not mean equal: a comparison with more seeds can decide."
    return Recommendation("Keep the base", name, why, (), (_train_command(record, record.info.base, given=True),))


def _cost_text(record: SearchRecord, candidate: CandidateRecord) -> str:
    """Return the costs of a candidate as a clause."""
    parts = []
    if change := latency_change(candidate.costs):
        parts.append(f"{change} latency")
    if candidate.costs.params is not None and record.base.params is not None:
        parts.append(typeset(f"{candidate.costs.params - record.base.params:+,} parameters"))
    return f", for {enumerated(parts)}" if parts else ""


# --- commands -------------------------------------------------------------------------------------------------------


def _commands(record: SearchRecord, candidate: CandidateRecord) -> Iterator[str]:
    """Yield the commands that place a candidate's layers one after the other, and train the result."""
    try:
        placed = _in_order(parse_placed_layers(candidate.name))
    except UserError:
        return
    model, stem = record.info.base, _file_stem(record, candidate)
    for number, layer in enumerate(placed, 1):
        out = f"{stem}.yaml" if number == len(placed) else f"{stem}-{number}.yaml"
        yield _place_command(record, model, layer, out)
        model = out
    yield _train_command(record, model, given=False)


def _in_order(placed: Sequence[PlacedLayer]) -> list[PlacedLayer]:
    """Return layers in an order in which placing one shifts no row that another one names.

    Rows are numbered as in the base, so the last row is the first to be changed; of two layers at one row, the second
    one comes first, because it follows the other. Sites without a number are found in any model.
    """
    numbered = [layer for layer in placed if _rows_named(layer)]
    named = [layer for layer in placed if not _rows_named(layer)]
    return [*sorted(numbered, key=_rows_named)[::-1], *named]


def _rows_named(layer: PlacedLayer) -> list[int]:
    numbers = (_ROW_NUMBER.fullmatch(str(site)) for site in layer.sites)
    return sorted((int(match[1]) for match in numbers if match), reverse=True)


def _place_command(record: SearchRecord, model: str, layer: PlacedLayer, out: str) -> str:
    words = [f"model={model}", f"layer={layer.layer}", f"at={','.join(map(str, layer.sites))}", f"out={out}"]
    words += [f"{key}={as_yaml(value)}" for key, value in layer.options.items()]
    return _line("place", [*words, *_layer_files(record)])


def _train_command(record: SearchRecord, model: str, *, given: bool) -> str:
    """Return the command that trains a model with the search's recipe.

    Args:
        record: The results.
        model: The model.
        given: Whether it is the base itself, not a file with layers.
    """
    from yolo_attn.study.specification.recipe import recipe_keys

    info, known = record.info, recipe_keys() - _OF_STUDIES  # another key of a received search could be any argument
    words = [f"model={model}", f"data={_data(record)}", *_weights(record, given=given)]
    words += [f"{key}={value}" for key, value in info.recipe.items() if key in known]
    if info.lr_attention is not None and not given:
        words.append(f"lr_attention={info.lr_attention:g}")
    return _line("train", [*words, *([] if given else _layer_files(record))])


def _weights(record: SearchRecord, *, given: bool) -> list[str]:
    """Return `pretrained=` with the checkpoint that the candidates start from, if any."""
    is_checkpoint = ModelRef.parse(record.info.base).kind is ModelKind.CHECKPOINT
    if given and is_checkpoint:
        return []
    weights = record.info.weights or (ModelRef.parse(record.info.base).base if is_checkpoint else None)
    return [f"pretrained={weights}"] if weights else []


def _data(record: SearchRecord) -> str:
    """Return the dataset as given, or its name if it was given with an absolute path."""
    given = record.info.given_data
    return given if given and "…" not in given else record.info.data


def _layer_files(record: SearchRecord) -> list[str]:
    """Return `layers=` with the files of custom layers."""
    files = record.info.layer_files
    return [f"layers={','.join(files)}"] if files else []


def _file_stem(record: SearchRecord, candidate: CandidateRecord) -> str:
    """Return the stem of a new model YAML; "found" keeps it apart from the ready configs."""
    text = f"{Path(base_name(record)).name}-{candidate.label}".lower()
    return shortened(f"{re.sub(r'[^a-z0-9]+', '-', text).strip('-')}-found")


def _line(command: str, words: Sequence[str]) -> str:
    return join_words(["yolo-attn", command, *words])
