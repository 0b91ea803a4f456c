"""The lines that a search prints before training and after each rung."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_attn.errors import counted
from yolo_attn.selection.budget import ERROR_RATE, Budget
from yolo_attn.selection.files import CONFIRM
from yolo_attn.selection.racing import Rung
from yolo_attn.selection.records import RACING, CandidateRecord, RungRecord
from yolo_attn.selection.specification import Search
from yolo_attn.stats.power import minimum_detectable
from yolo_attn.study.earlier import MeasuredNoise, read_earlier_results
from yolo_attn.study.planning import Plan
from yolo_attn.study.report.formats import points, signed
from yolo_attn.study.running.progress import clock
from yolo_attn.study.specification.study import DEFAULT_PROJECT

__all__ = ["describe_rung", "preview_lines"]

_BEST = 3  # candidates that are named after a rung


def preview_lines(
    search: Search,
    rungs: Sequence[Rung],
    candidates: Sequence[CandidateRecord],
    *,
    budget: Budget,
    confirmation: Plan,
) -> Iterator[str]:
    """Yield the lines before training.

    Args:
        search: The search.
        rungs: Its rungs.
        candidates: Its candidates.
        budget: Its budget.
        confirmation: The plan of the confirming study.
    """
    states = Counter(one.status for one in candidates)
    out = states.total() - states[RACING]
    yield (
        f"search: {counted(states.total(), 'candidate')}, {states[RACING]} of them to train"
        f"{f', {out} not' if out else ''}; folder {search.folder.path}"
    )
    for number, rung in enumerate(rungs, 1):
        with_pairs = f" and {counted(rung.pairs, 'pair')} of the best" if rung.pairs else ""
        yield (
            f"rung {number}: {counted(rung.candidates, 'candidate')}{with_pairs}, {counted(rung.seeds, 'seed')}, "
            f"{counted(rung.epochs, 'epoch')}"
        )
    yield (
        f"confirmation: up to {counted(budget.finalists, 'finalist')} and the base, "
        f"{_seeds_text(search, budget)}, {counted(confirmation.dataset.images or 0, 'image')}"
    )
    yield _detectable_line(search, budget, confirmation)
    seconds = budget.expected_seconds(rungs)
    yield (
        f"up to {counted(budget.total_runs(rungs), 'run')}"
        + (f", about {clock(seconds)}, {budget.workers} at a time" if seconds else "")
        + "; candidates that are certainly worse are dropped earlier"
    )


def _seeds_text(search: Search, budget: Budget) -> str:
    """Return how many seeds the confirmation has."""
    fewest, most = search.seed_counts[0], budget.confirm_seeds
    return counted(most, "seed") if fewest >= most else f"{fewest} to {most} seeds, depending on the noise of the rungs"


def _detectable_line(search: Search, budget: Budget, confirmation: Plan) -> str:
    """Return a line with the smallest difference that the confirmation can be expected to detect."""
    noise = _earlier_noise(search, confirmation)
    if noise is None:
        return (
            "detectable in the confirmation: unknown until a study on this dataset has measured its noise; the report "
            "states it"
        )
    smallest = minimum_detectable(
        budget.seeds_for(noise.noise.training),
        noise.noise.training,
        noise.noise.images,
        alpha=ERROR_RATE / budget.finalists,
        image_df=noise.noise.image_df,
    )
    return (
        f"detectable in the confirmation: {points(smallest)} points at 80% power (noise: training "
        f"{points(noise.noise.training)}, test images {points(noise.noise.images)} points, in {noise})"
    )


def _earlier_noise(search: Search, confirmation: Plan) -> MeasuredNoise | None:
    """Return the noise that a confirmation of this project's searches or a study in the usual folder has measured."""
    own, others = search.folder.path / CONFIRM, search.folder.path.parent.glob(f"*/{CONFIRM}")
    folders = (own, *sorted(others), Path(DEFAULT_PROJECT) / CONFIRM)
    found = (read_earlier_results(folder, confirmation).noise for folder in folders)
    return next((noise for noise in found if noise is not None), None)


def describe_rung(rung: RungRecord, candidates: Sequence[CandidateRecord]) -> str:
    """Return a line about a finished rung.

    Args:
        rung: The rung.
        candidates: All candidates.
    """
    best = sorted(
        (one for one in candidates if one.last and one.last.rung == rung.number),
        key=lambda one: -(one.last.mean if one.last else 0.0),
    )
    named = ", ".join(f"{one.label} {signed(one.last.mean)}" for one in best[:_BEST] if one.last)
    out = [
        f"{number} {what}"
        for number, what in ((rung.worse, "certainly worse"), (rung.beyond, "without a place"), (rung.failed, "failed"))
        if number
    ]
    known = f"; differences are known to ± {points(rung.resolution)}" if rung.resolution else ""
    largest = f"; best {named}" if named else ""
    return f"rung {rung.number}: {rung.kept} continue{''.join(f', {text}' for text in out)}{largest}{known}"
