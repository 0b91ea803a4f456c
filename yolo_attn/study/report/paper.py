"""Sentences for a paper: what was compared, found, and how."""

from __future__ import annotations

from collections.abc import Iterator

from yolo_attn.errors import counted
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.verdicts import ALPHA
from yolo_attn.study.report.formats import enumerated, percent, signed, signed_ends, size, typeset
from yolo_attn.study.results.judging import is_overruled, more_failures
from yolo_attn.study.results.looks import list_seeds, unplanned_rate
from yolo_attn.study.results.records import ArmSummary, StudyResults

__all__ = ["paper_sentences"]


def paper_sentences(study: StudyResults) -> list[str]:
    """Return a sentence for each variant with a verdict, and some about the method; nothing without a verdict."""
    arms = [arm for arm in study.variants if arm.verdict and arm.difference().interval]
    if not arms:
        return []
    method = " ".join([_setup(study), _statistics(study), *_sequence(study)])
    return [*(_finding(study, arm) for arm in arms), method]


def _finding(study: StudyResults, arm: ArmSummary) -> str:
    found = arm.difference()
    low, high = (typeset(end) for end in signed_ends(*(found.interval or (None, None))))
    level = f"{percent(found.level or 1 - ALPHA)} interval {low} to {high}"
    several = f", corrected for {len(study.variants)} variants" if len(study.variants) > 1 else ""
    return (
        f"Over {counted(found.seeds or 0, 'seed')}{_lost(arm)}, {arm.name} changed {study.main} by "
        f"{typeset(signed(found.mean))} points ({level}; Behrens-Fisher{several}), {_conclusion(study, arm)}."
    )


def _lost(arm: ArmSummary) -> str:
    """Return how many runs of an arm failed or have not learned, as a clause."""
    clauses = [
        f"{len(runs)} of {counted(len(of), 'run')} {what}"
        for runs, of, what in ((arm.failed, arm.runs, "failed"), (arm.unlearned, arm.done, "learned nothing"))
        if runs
    ]
    return f" ({enumerated(clauses)})" if clauses else ""


def _conclusion(study: StudyResults, arm: ArmSummary) -> str:
    margin = f"{size(study.info.margin)} points"
    low, high = arm.difference().interval or (0.0, 0.0)
    if arm.verdict == "equivalent":
        sign = ", although the difference is not zero" if low > 0 or high < 0 else ""
        return f"and is equivalent to the baseline within ±{margin}{sign}"
    if arm.verdict == "no worse":
        return f"and is not worse than the baseline by {margin} or more"
    if arm.verdict in ("better", "worse"):
        return f"and is {arm.verdict} than the baseline"
    if is_overruled(arm, study.info):
        more = more_failures(arm.runs, study.baseline.runs) > 0
        failed = "more of its runs failed than of the baseline's" if more else "more of the baseline's runs failed"
        return f"which is inconclusive because {failed}"
    no_worse = ", nor that it is no worse" if study.info.no_worse else ""
    return f"which is inconclusive: it shows neither a difference nor equivalence within ±{margin}{no_worse}"


def _setup(study: StudyResults) -> str:
    """Return what all arms start from, and how they are trained and evaluated."""
    info = study.info
    epochs = info.recipe.get("epochs")
    length = f" for {counted(epochs, 'epoch')}" if isinstance(epochs, int) else ""
    data = f" on {info.data}" if info.data else ""
    attention = (
        f", with {info.lr_attention:g} times the learning rate for attention layers" if info.lr_attention else ""
    )
    device = f" on {enumerated(study.gpus)}" if study.gpus else ""
    return f"All arms were {_start(study, length)}{data}{device}{attention}, with common seeds and order of the data."


def _start(study: StudyResults, length: str) -> str:
    info, bases = study.info, study.common_bases
    if info.pretrain:
        many = study.has_several_bases
        which = f"{len(bases)} checkpoints of {study.baseline.name} in turn" if many else "one checkpoint"
        own = f"{'each ' if many else ''}trained for {counted(info.pretrain, 'epoch')}"
        of = "" if many else f" of {study.baseline.name}"
        return f"fine-tuned{length} from {which}{of} ({own})"
    if info.untrained:
        return f"trained{length} from scratch"
    return f"fine-tuned{length} from {info.weights or info.recipe.get('pretrained')}"


def _statistics(study: StudyResults) -> str:
    """Return how the intervals are computed."""
    info = study.info
    grouped = f" over {counted(info.group_count, 'group')}" if info.groups and info.group_count else ""
    images = f"{counted(info.images, 'test image')}" if info.images is not None else "test images"
    units = "bases" if study.has_several_bases else "seeds"
    several = len(study.variants) > 1
    together = f", and hold for all {len(study.variants)} variants together with {percent(1 - ALPHA)} (Bonferroni)"
    return (
        f"Differences are paired by seed; their intervals combine the variation over {units} with that of {images} "
        f"(bootstrap{grouped}){together if several else ''}."
    )


def _sequence(study: StudyResults) -> Iterator[str]:
    if study.info.max_seeds:
        yield (
            f"Seeds were added until a variant was decided, from {MIN_SEEDS} to at most {study.info.max_seeds}; the "
            "intervals hold at all looks together (alpha spending)."
        )
    rate = unplanned_rate(study)
    if rate is not None:
        yield (
            f"Verdicts were read after {list_seeds(study.looks)} seeds without a plan for it, so false alarms occur in "
            f"up to {percent(rate)} of such studies instead of {percent(ALPHA)}."
        )
