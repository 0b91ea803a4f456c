"""The answer of a search in a few sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from yolo_attn.errors import counted
from yolo_attn.selection.records import (
    EXPORT,
    FAILED,
    FINALIST,
    LIMIT,
    UNTRIED,
    CandidateRecord,
    Confirmed,
    SearchRecord,
)
from yolo_attn.selection.wording import (
    base_name,
    by_difference,
    candidate_of,
    confirmed_text,
    difference_text,
    verdict_of,
)
from yolo_attn.study.report.formats import enumerated, p_value, points, points_range

__all__ = ["conclusion", "expected_shrinkage"]


def conclusion(record: SearchRecord) -> list[str]:
    """Return the answer of a search in one to four sentences.

    Args:
        record: The results, of an unfinished search too.
    """
    if not record.finished:
        return list(_unfinished(record))
    if not record.confirmed:
        return list(_without_finalists(record))
    better = by_difference(one for one in record.confirmed if one.verdict == "better")
    return list(_found(record, better) if better else _nothing_found(record))


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
            f"So far {best.label} has the largest estimate, {difference_text(last.mean, last.low, last.high)} points "
            f"of {record.info.metric} in rung {last.rung}; it is selected, so it is too large on average, and nothing "
            "is confirmed yet."
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
        f"{candidate.label} is better than {base_name(record)} on {record.info.data}: {confirmed_text(record, best)}"
        f"{_seeds_text(best)}."
    )
    yield from _estimated(candidate, best)
    if len(better) > 1:
        others = [f"{candidate_of(record, one.name).label} ({difference_text(one.mean)})" for one in better[1:]]
        yield f"{enumerated(others)} {'is' if len(others) == 1 else 'are'} better than the base as well."
    rest = [one for one in record.confirmed if one.verdict != "better"]
    if rest:
        yield f"{enumerated([f'{candidate_of(record, one.name).label}: {verdict_of(one)}' for one in rest])}."


def _nothing_found(record: SearchRecord) -> Iterator[str]:
    best = by_difference(record.confirmed)[0]
    candidate = candidate_of(record, best.name)
    yield f"No layer was found that is better than {base_name(record)} on {record.info.data}."
    tried, confirmed = counted(len(record.candidates), "candidate"), len(record.confirmed)
    yield (
        f"Of {tried}, {confirmed} came to the confirmation; the best of them, {candidate.label}, has "
        f"{confirmed_text(record, best)}{_seeds_text(best)}: {verdict_of(best)}."
    )
    yield from _estimated(candidate, best)
    yield from _detectable(record)


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
    yield f"The search had estimated {difference_text(last.mean)} in rung {last.rung}{luck}."


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
