"""What a reader must know beside the numbers: how to read them, and what went differently from what was planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from yolo_attn.errors import counted
from yolo_attn.study.report.formats import points, signed, typeset
from yolo_attn.study.report.view import MAIN, Arm, Run, StudyView

__all__ = ["answer", "faults", "reading_notes", "warnings"]

_ENOUGH = 3  # seeds; below it there is no verdict


def reading_notes(study: StudyView) -> list[str]:
    """Return how to read the table, and what this study can and cannot show."""
    done = max(len(arm.done) for arm in study.arms)
    return [_units(study), *_strength(study, done), *study.notes]


def _units(study: StudyView) -> str:
    intervals = any(arm.metric(MAIN).half is not None for arm in study.arms)
    half = ", mean ± half of its 95% interval" if intervals else ""
    return f"mAP in points{half}, of last.pt. vs base: difference in {MAIN} over common seeds."


def _strength(study: StudyView, done: int) -> list[str]:
    if study.waiting:
        return []
    if done == 1:
        return ["Single runs: differences of this size are usually noise. Give more seeds, such as seeds=3."]
    if 1 < done < _ENOUGH:
        return [f"{counted(done, 'seed')}: too few for a verdict. Give more, such as seeds=3."]
    lines = []
    if any(arm.verdict for arm in study.others):
        lines.append(
            "Verdict: better or worse where p < 0.05, corrected over the variants (Holm); not shown is not equal."
        )
    detectable = study.detectable.get(MAIN)
    if detectable:
        lines.append(
            f"A true difference of {points(detectable)} points in one variant would be shown with a probability of 80%."
        )
    return lines


def answer(study: StudyView) -> str:
    """Return what the study says about its variants, in one or two sentences."""
    if not study.variants:
        return "There is no variant to compare."
    if study.waiting:
        return f"Interim results: {_finished(study)}. There are no verdicts before all are."
    groups = {verdict: [arm for arm in study.variants if arm.verdict == verdict] for verdict in ("better", "worse")}
    said = [f"Shown to be {verdict}: {_listed(arms)}." for verdict, arms in groups.items() if arms]
    rest = [arm for arm in study.variants if arm.verdict == "not shown"]
    if rest:
        said.append(f"No difference was shown for {_listed(rest, difference=False)}.")
    unlearnt = [arm for arm in study.variants if arm.verdict is None and arm.learnt is False]
    if unlearnt:
        said.append(f"There is no verdict on {_listed(unlearnt, difference=False)}: nothing was learnt.")
    unknown = [arm for arm in study.variants if arm.verdict is None and arm not in unlearnt]
    if unknown:
        said.append(f"There is no verdict on {_listed(unknown, difference=False)}.")
    done = max(len(arm.done) for arm in study.arms)
    if 0 < done < _ENOUGH:
        said += _strength(study, done)
    return " ".join(said)


def _listed(arms: list[Arm], *, difference: bool = True) -> str:
    gains = [f" ({typeset(signed(arm.delta(MAIN).mean))} points)" if difference else "" for arm in arms]
    names = [arm.name + gain for arm, gain in zip(arms, gains, strict=True)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warnings(study: StudyView) -> list[str]:
    """Return that the results are interim where they are, and what was not as planned or not equal between the arms."""
    interim = [f"Interim: {_finished(study)}; there are no verdicts before all are."] if study.waiting else []
    return [*interim, *faults(study)]


def faults(study: StudyView) -> list[str]:
    """Return what was not as planned or not equal between the arms."""
    return [*_not_learnt(study), *_failures(study), *_unequal_epochs(study), *_transfer(study)]


def _not_learnt(study: StudyView) -> list[str]:
    """Return which runs have learnt nothing, beside what they reach by chance."""
    found = [(arm, [run for run in arm.done if run.learnt is False]) for arm in study.arms]
    if not any(runs for _, runs in found):
        return []
    names = "; ".join(f"{arm.name} ({_which(arm, runs)})" for arm, runs in found if runs)
    everywhere = all(len(runs) == len(arm.done) for arm, runs in found)
    end = " So there are no verdicts, and no difference that could be shown." if everywhere else ""
    what = "Nothing was learnt" if everywhere else "Not learnt"
    return [
        f"{what}: {names}. The detections of these runs fit the objects of other images as well "
        f"as those of their own.{end} Train longer, or look at the learning rate, the labels and the start weights."
    ]


def _which(arm: Arm, runs: Sequence[Run]) -> str:
    """Return the seeds of runs, and what they reach beside what is reached by chance."""
    seeds = "all seeds" if len(runs) == len(arm.done) > 1 else f"seed {', '.join(str(run.seed) for run in runs)}"
    own = [value for run in runs if (value := run.metrics.get(MAIN)) is not None]
    chance = [run.chance for run in runs if run.chance is not None]
    if not own or not chance:
        return seeds
    return f"{seeds}: {MAIN} {points(fmean(own))}, by chance {points(fmean(chance))}"


def _failures(study: StudyView) -> list[str]:
    seeds: dict[tuple[str, str, str | None], list[int]] = {}
    for arm, run in study.undone:
        seeds.setdefault((arm.name, run.status, run.error), []).append(run.seed)
    return [_undone(*what, which) for what, which in seeds.items()]


def _finished(study: StudyView) -> str:
    return f"{study.total - study.waiting} of {counted(study.total, 'run')} finished"


def _undone(name: str, status: str, error: str | None, seeds: list[int]) -> str:
    of = "seed" if len(seeds) == 1 else "seeds"
    return f"{name}, {of} {', '.join(map(str, seeds))}: {status}{f': {error}' if error else ''}"


def _unequal_epochs(study: StudyView) -> list[str]:
    trained = [(arm.name, run.epochs) for arm in study.arms for run in arm.done if run.epochs is not None]
    usual, _ = Counter(epochs for _, epochs in trained).most_common(1)[0] if trained else (0, 0)
    others: dict[str, set[int]] = {}
    for name, epochs in trained:
        if epochs != usual:
            others.setdefault(name, set()).add(epochs)
    told = [f"{name}: a run of {' and of '.join(map(str, sorted(epochs)))} epochs" for name, epochs in others.items()]
    return [f"Unequal training: {'; '.join(told)}; the others have {usual}."] if told else []


def _transfer(study: StudyView) -> list[str]:
    came, rest = ("start with the base's numbers", "with their own") if study.untrained else ("arrived", "untrained")
    return [
        f"{arm.name}: {arm.transferred[0]} of {arm.transferred[1]} tensors of the base {came} "
        f"({100 * arm.transferred[0] / arm.transferred[1]:.0f}%); the rest start {rest}."
        for arm in study.arms
        if arm.transferred and arm.transferred[0] < arm.transferred[1]
    ]
