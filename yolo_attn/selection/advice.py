"""The answer of a search in a few sentences, and what to do next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.errors import UserError, counted
from yolo_attn.graph import layers_in, read_model
from yolo_attn.graph.document import to_flow
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.placed_layers import PlacedLayer, parse_placed_layers
from yolo_attn.registry import get_layer
from yolo_attn.selection.records import (
    EXPORT,
    FAILED,
    FINALIST,
    LIMIT,
    UNTRIED,
    CandidateRecord,
    Confirmed,
    Costs,
    SearchRecord,
)
from yolo_attn.study.report.formats import enumerated, p_value, points, points_range, signed, signed_ends, size, typeset
from yolo_attn.system.files import as_yaml, shortened
from yolo_attn.system.shell import join_words

__all__ = [
    "Recommendation",
    "base_name",
    "candidate_of",
    "conclusion",
    "expected_shrinkage",
    "latency_change",
    "placed_rows",
    "recommendations",
]

_NOT_WORSE = ("better", "equivalent")
"""Verdicts of a candidate that may be used in the place of the base."""
_CHEAPER = 0.98  # a latency ratio above it may be noise
_OF_STUDIES = frozenset({"val", "plots"})  # keys of a recipe that only save a study's time
_ROW_NUMBER = re.compile(r"(?:after|inside|replace):(\d+)")


# --- the answer -----------------------------------------------------------------------------------------------------


def conclusion(record: SearchRecord) -> list[str]:
    """Return the answer of a search in one to four sentences.

    Args:
        record: The results, of an unfinished search too.
    """
    if not record.finished:
        return list(_unfinished(record))
    if not record.confirmed:
        return list(_without_finalists(record))
    better = _by_difference(one for one in record.confirmed if one.verdict == "better")
    return list(_found(record, better) if better else _nothing_found(record))


def base_name(record: SearchRecord) -> str:
    """Return the base's name without folder and suffix."""
    try:
        return ModelRef.parse(record.info.base).stem
    except UserError:
        return record.info.base


def latency_change(costs: Costs) -> str | None:
    """Return the latency relative to the base, such as "+3.1%"; None if it was not measured."""
    if costs.latency_ratio is None:
        return None
    return typeset(f"{100 * (costs.latency_ratio - 1):+.1f}%")


def expected_shrinkage(record: SearchRecord) -> str | None:
    """Return why the search's estimates of the finalists are larger than confirmed ones; None without finalists."""
    compared = [(one, last) for one in record.confirmed if (last := candidate_of(record, one.name).last)]
    known = [(one.mean, last.mean) for one, last in compared if one.mean is not None]
    if not known:
        return None
    tried = sum(bool(one.estimates) for one in record.candidates)
    smaller = sum(confirmed < estimated for confirmed, estimated in known)
    new = "seeds" if record.info.shared_images else "images and seeds"
    return (
        f"The finalists were selected as the best of {counted(tried, 'candidate')} on the same images and seeds, so "
        f"their estimates contain luck and are too large on average. The confirmation has {new} that nothing "
        f"was selected on; its difference is smaller for {smaller} of {counted(len(known), 'finalist')}."
    )


def _unfinished(record: SearchRecord) -> Iterator[str]:
    rungs = record.rungs
    running = next((rung for rung in rungs if rung.kept is None), None)
    if running is None:
        finalists = [one.label for one in record.candidates if one.status == FINALIST]
        rest = f" of {enumerated(finalists)}" if finalists else ""
        done = counted(len(rungs), "rung")
        yield f"The search is not finished: the {done} are done, and the confirmation{rest} is not."
    else:
        runs = f", {running.done} of {counted(running.runs, 'run')} are done" if running.runs else " has not begun"
        yield f"The search is not finished: rung {running.number} of {len(rungs)}{runs}."
    best = _best_so_far(record)
    if best and (last := best.last):
        yield (
            f"So far {best.label} has the largest estimate, {_difference(last.mean, last.low, last.high)} points of "
            f"{record.info.metric} in rung {last.rung}; it is selected, so it is too large on average, and nothing is "
            "confirmed yet."
        )


def _best_so_far(record: SearchRecord) -> CandidateRecord | None:
    """Return the candidate with the largest estimate of those that came furthest."""
    tried = [one for one in record.candidates if one.last]
    return max(tried, key=lambda one: (one.last.rung, one.last.mean) if one.last else (0, 0.0), default=None)


def _without_finalists(record: SearchRecord) -> Iterator[str]:
    candidates = record.candidates
    if not candidates:
        yield f"There is no candidate for {base_name(record)}, so nothing was searched."
        return
    if not any(one.estimates or (one.status == FAILED and not one.costs.error) for one in candidates):
        reasons = Counter(_why_untrained(one) for one in candidates)
        listed = enumerated([f"{count} {reason}" for reason, count in reasons.most_common()])
        yield f"Nothing was trained: of {counted(len(candidates), 'candidate')}, {listed}."
        yield _advice_on_limits(reasons)
        return
    yield f"No candidate for {base_name(record)} is left to confirm: {_failures(candidates)}."


def _why_untrained(one: CandidateRecord) -> str:
    if one.costs.error or one.status == FAILED:
        return "cannot be built"
    return {LIMIT: "over a limit", EXPORT: "cannot be exported", UNTRIED: "beyond the budget"}.get(
        one.status, "not tried yet"
    )


def _advice_on_limits(reasons: Counter[str]) -> str:
    most = reasons.most_common(1)[0][0]
    return {
        "over a limit": "Wider limits or other sites leave more candidates.",
        "beyond the budget": "A larger budget, or fewer layers and sites, leaves candidates.",
        "cannot be exported": "Another format, or other layers, leave more candidates.",
    }.get(most, "The table of candidates has the reasons.")


def _failures(candidates: Sequence[CandidateRecord]) -> str:
    failed = sum(one.status == FAILED for one in candidates)
    return f"the runs of {counted(failed, 'candidate')} failed" if failed else "all of them were dropped"


def _found(record: SearchRecord, better: Sequence[Confirmed]) -> Iterator[str]:
    best = better[0]
    candidate = candidate_of(record, best.name)
    yield (
        f"{candidate.label} is better than {base_name(record)} on {record.info.data}: {_confirmed_text(record, best)}"
        f"{_seeds_text(best)}."
    )
    yield from _estimated(candidate, best)
    if len(better) > 1:
        others = [f"{candidate_of(record, one.name).label} ({_difference(one.mean)})" for one in better[1:]]
        yield f"{enumerated(others)} {'is' if len(others) == 1 else 'are'} better than the base as well."
    rest = [one for one in record.confirmed if one.verdict != "better"]
    if rest:
        yield f"{enumerated([f'{candidate_of(record, one.name).label}: {_verdict(one)}' for one in rest])}."


def _nothing_found(record: SearchRecord) -> Iterator[str]:
    best = _by_difference(record.confirmed)[0]
    candidate = candidate_of(record, best.name)
    yield f"No layer was found that is better than {base_name(record)} on {record.info.data}."
    tried, confirmed = counted(len(record.candidates), "candidate"), len(record.confirmed)
    yield (
        f"Of {tried}, {confirmed} came to the confirmation; the best of them, {candidate.label}, has "
        f"{_confirmed_text(record, best)}{_seeds_text(best)}: {_verdict(best)}."
    )
    yield from _estimated(candidate, best)
    yield from _detectable(record)


def _confirmed_text(record: SearchRecord, one: Confirmed) -> str:
    if one.mean is None:
        return "no difference"
    return f"{_difference(one.mean, one.low, one.high)} points of {record.info.metric}"


def _seeds_text(one: Confirmed) -> str:
    parts = [counted(one.seeds, "seed")] if one.seeds else []
    parts += [f"p {_p_text(one.p)}"] if one.p is not None else []
    return f" in the confirmation ({', '.join(parts)})" if parts else " in the confirmation"


def _p_text(value: float) -> str:
    text = p_value(value)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _estimated(candidate: CandidateRecord, one: Confirmed) -> Iterator[str]:
    """Yield what the search had estimated."""
    last = candidate.last
    if last is None or one.mean is None:
        return
    luck = ", which contains the luck of having been selected" if last.mean > one.mean else ""
    yield f"The search had estimated {_difference(last.mean)} in rung {last.rung}{luck}."


def _detectable(record: SearchRecord) -> Iterator[str]:
    """Yield the size of a gain that would have been found."""
    found = record.confirm_detectable
    if found:
        shown = points_range((found[0], found[-1]))
        yield (
            f"The confirmation finds a true gain of {shown} points with a probability of 80%; smaller ones are not "
            "excluded."
        )
    elif resolution := next((rung.resolution for rung in reversed(record.rungs) if rung.resolution is not None), None):
        yield f"The last rung resolves differences of ±{points(resolution)} points; smaller gains are not excluded."


def _verdict(one: Confirmed) -> str:
    return one.verdict or "no verdict"


def _difference(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return "+1.20 [+0.40, +2.00]"."""
    interval = "" if low is None or high is None else " [{}, {}]".format(*signed_ends(low, high))
    return typeset(f"{signed(mean)}{interval}")


def _by_difference(found: Iterator[Confirmed] | Sequence[Confirmed]) -> list[Confirmed]:
    """Return finalists with the largest difference first; those without one are last."""
    return sorted(found, key=lambda one: (one.mean is None, -(one.mean or 0.0)))


def candidate_of(record: SearchRecord, name: str) -> CandidateRecord:
    """Return a candidate by its name."""
    found = next((one for one in record.candidates if one.name == name), None)
    return found or CandidateRecord(name, name, (), (), FINALIST)


# --- what to do next ------------------------------------------------------------------------------------------------


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
    better = _by_difference(one for one in record.confirmed if one.verdict == "better")
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
    why = f"Confirmed better: {_confirmed_text(record, one)}{_cost_text(record, candidate)}.{cheapest}"
    return _recommended(record, "The most accurate", candidate, one, why)


def _cheap(record: SearchRecord, one: Confirmed) -> Recommendation:
    candidate = candidate_of(record, one.name)
    verdicts = {
        "better": "Confirmed better",
        "equivalent": f"Confirmed equivalent to the base within ±{size(record.info.margin)} points",
    }
    why = f"{verdicts[str(one.verdict)]}: {_confirmed_text(record, one)}{_cost_text(record, candidate)}."
    return _recommended(record, "The cheapest that is not worse", candidate, one, why)


def _recommended(
    record: SearchRecord, title: str, candidate: CandidateRecord, one: Confirmed, why: str
) -> Recommendation:
    return Recommendation(title, candidate.label, why, one.rows, tuple(_commands(record, candidate)))


def _keep_base(record: SearchRecord) -> Recommendation:
    name, verdicts = base_name(record), [_verdict(one) for one in record.confirmed]
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


# --- rows ---------------------------------------------------------------------------------------------------------


def placed_rows(file: Path, name: str) -> tuple[str, ...]:
    """Return the rows of a variant's model YAML that contain its layers, as text with their numbers.

    Args:
        file: The model YAML.
        name: The variant, such as "SE[init=identity]@neck.P4".

    Raises:
        UserError: The file or the name cannot be read.
    """
    layers = {get_layer(placed.layer).name for placed in parse_placed_layers(name)}
    document = read_model(file)
    return tuple(
        f"- {to_flow(row)} # {number}"
        for number, row in enumerate([*document["backbone"], *document["head"]])
        if layers & {row[2], *layers_in(row[2])}
    )
