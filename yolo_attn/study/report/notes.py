"""Remarks of the report: how to read the results, the answer, and deviations from the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from yolo_attn.errors import counted
from yolo_attn.study.report.formats import points, signed, typeset
from yolo_attn.study.results.records import MIN_SEEDS, ArmSummary, RunSummary, StudyResults

__all__ = ["answer", "deviations", "reading_notes", "warnings"]


def reading_notes(study: StudyResults) -> list[str]:
    """Return how to read the table, and what this study can detect."""
    done = max(len(arm.done) for arm in study.arms)
    return [_units(study), *_power(study, done), *study.notes]


def _units(study: StudyResults) -> str:
    intervals = any(arm.metric().half is not None for arm in study.arms)
    half = ", mean ± half of its 95% interval" if intervals else ""
    return f"Metrics in points{half}, of last.pt. vs base: difference in {study.main} over common seeds."


def _power(study: StudyResults, done: int) -> list[str]:
    if study.unfinished:
        return []
    if done == 1:
        return ["Single runs: differences of this size are usually noise. Use more seeds, such as seeds=3."]
    if 1 < done < MIN_SEEDS:
        return [f"{counted(done, 'seed')}: too few for a verdict. Use more, such as seeds=3."]
    lines = []
    if any(arm.verdict for arm in study.others):
        lines.append(
            "Verdict: better or worse if the interval excludes 0, equivalent if it is within "
            f"±{points(study.info.margin)} points; inconclusive does not mean equal."
        )
    detectable = study.minimum_detectable.get(study.main)
    if detectable:
        lines.append(
            f"A true difference of {points(detectable)} points in one variant would be detected with a probability of "
            "80%."
        )
    return lines


def answer(study: StudyResults) -> str:
    """Return the conclusion about the variants in a few sentences."""
    if not study.variants:
        return "There is no variant to compare."
    if study.unfinished:
        return f"Interim results: {_finished(study)}. Verdicts follow when all runs are finished."
    without = [arm for arm in study.variants if arm.verdict is None]
    untrained = [arm for arm in without if arm.learnt is False]
    groups = [
        ("Better than the baseline: {}.", _with_verdict(study, "better"), True),
        ("Worse than the baseline: {}.", _with_verdict(study, "worse"), True),
        ("Inconclusive: {}.", _with_verdict(study, "inconclusive"), False),
        ("No verdict, because nothing was learned: {}.", untrained, False),
        ("No verdict: {}.", [arm for arm in without if arm not in untrained], False),
    ]
    sentences = [text.format(_listed(arms, difference=shown)) for text, arms, shown in groups if arms]
    done = max(len(arm.done) for arm in study.arms)
    return " ".join([*sentences, *(_power(study, done) if 0 < done < MIN_SEEDS else [])])


def _with_verdict(study: StudyResults, verdict: str) -> list[ArmSummary]:
    return [arm for arm in study.variants if arm.verdict == verdict]


def _listed(arms: Sequence[ArmSummary], *, difference: bool) -> str:
    gains = [f" ({typeset(signed(arm.difference().mean))} points)" if difference else "" for arm in arms]
    names = [arm.name + gain for arm, gain in zip(arms, gains, strict=True)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warnings(study: StudyResults) -> list[str]:
    """Return that the results are interim, if they are, and all deviations from the plan."""
    interim = [f"Interim: {_finished(study)}; verdicts follow when all are."] if study.unfinished else []
    return [*interim, *deviations(study)]


def deviations(study: StudyResults) -> list[str]:
    """Return deviations from the plan and inequalities between the arms."""
    return [*_not_learned(study), *_failures(study), *_unequal_epochs(study), *_transfer(study)]


def _not_learned(study: StudyResults) -> list[str]:
    """Return the runs that have not learned, with the main metric that they reach by chance."""
    found = [(arm, [run for run in arm.done if run.learnt is False]) for arm in study.arms]
    if not any(runs for _, runs in found):
        return []
    names = "; ".join(f"{arm.name} ({_seeds_and_chance(arm, runs)})" for arm, runs in found if runs)
    everywhere = all(len(runs) == len(arm.done) for arm, runs in found)
    return [
        f"{'Nothing was learned' if everywhere else 'Not learned'}: {names}. The predictions of these runs fit the "
        f"labels of other images as well as those of their own.{' There are therefore no verdicts.' * everywhere} "
        "Train longer, or check the learning rate, the labels and the initial weights."
    ]


def _seeds_and_chance(arm: ArmSummary, runs: Sequence[RunSummary]) -> str:
    """Return the seeds of runs, with their main metric and what chance reaches."""
    seeds = "all seeds" if len(runs) == len(arm.done) > 1 else f"seed {', '.join(str(run.seed) for run in runs)}"
    values = [value for run in runs if (value := run.metrics.get(arm.main)) is not None]
    chance = [run.chance for run in runs if run.chance is not None]
    if not values or not chance:
        return seeds
    return f"{seeds}: {arm.main} {points(fmean(values))}, by chance {points(fmean(chance))}"


def _failures(study: StudyResults) -> list[str]:
    seeds: dict[tuple[str, str, str | None], list[int]] = {}
    for arm, run in study.undone:
        seeds.setdefault((arm.name, run.status, run.error), []).append(run.seed)
    return [_failure(*outcome, which) for outcome, which in seeds.items()]


def _failure(name: str, status: str, error: str | None, seeds: Sequence[int]) -> str:
    of = "seed" if len(seeds) == 1 else "seeds"
    return f"{name}, {of} {', '.join(map(str, seeds))}: {status}{f': {error}' if error else ''}"


def _finished(study: StudyResults) -> str:
    return f"{study.total - study.unfinished} of {counted(study.total, 'run')} finished"


def _unequal_epochs(study: StudyResults) -> list[str]:
    trained = [(arm.name, run.epochs) for arm in study.arms for run in arm.done if run.epochs is not None]
    usual, _ = Counter(epochs for _, epochs in trained).most_common(1)[0] if trained else (0, 0)
    others: dict[str, set[int]] = {}
    for name, epochs in trained:
        if epochs != usual:
            others.setdefault(name, set()).add(epochs)
    lines = [f"{name} has runs of {' and '.join(map(str, sorted(epochs)))} epochs" for name, epochs in others.items()]
    return [f"Unequal training: {'; '.join(lines)}; all others have {usual}."] if lines else []


def _transfer(study: StudyResults) -> list[str]:
    return [
        f"{arm.name}: {arm.transferred[0]} of {arm.transferred[1]} tensors of the base "
        f"({100 * arm.transferred[0] / arm.transferred[1]:.0f}%) have the base's initial weights; the rest are "
        f"initialized {'separately' if study.info.untrained else 'randomly'}."
        for arm in study.arms
        if arm.transferred and arm.transferred[0] < arm.transferred[1]
    ]
